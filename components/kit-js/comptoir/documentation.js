// The OpenAPI description of the routes. `wit/service.wit` describes the format.

import { stringify } from "./json.js";
import { reference } from "./type.js";

/** @typedef {import("./route.js").Route} Route */
/** @typedef {import("./type.js").Type} Type */

/** The errors of every route of a service with a database. */
const STORAGE_ERRORS = {
  503: {
    STORAGE_BUSY: "Too many writes are waiting.",
    STORAGE_TIMED_OUT: "The database took too long.",
    STORAGE_UNAVAILABLE: "The database is not available now.",
  },
};

const BODY_ERRORS = {
  400: { INVALID_BODY: "The body is not JSON." },
  413: { BODY_TOO_LARGE: "The body is longer than 1 MiB." },
  422: { INVALID_FIELD: "A field is missing, unknown or wrong. `details.field` is its path." },
};

const QUERY_ERRORS = {
  400: { INVALID_QUERY: "A parameter is missing, unknown or wrong. `details.field` is its name." },
};

/**
 * The document of a service, as a JSON text.
 *
 * @param {Route[]} routes
 * @param {boolean} hasDatabase
 */
export function documentation(routes, hasDatabase) {
  const open = routes.filter((route) => route.access !== "internal");
  /** @type {Record<string, Type>} */
  const named = {};
  open.flatMap(typesOf).forEach((type) => collect(type, named));
  return stringify({
    operations: Object.fromEntries(open.map((route) => [route.name, operation(route)])),
    schemas: Object.fromEntries(Object.entries(named).map(([name, type]) => [name, type.schema])),
    errors: hasDatabase ? STORAGE_ERRORS : {},
  });
}

/** @param {Route} route */
function typesOf({ options: { body, query, gives, creates, lists } }) {
  const types = [body, gives, creates, lists, ...Object.values(query?.fields ?? {})];
  return types.filter((type) => type !== undefined);
}

/**
 * Collects the named types within a type.
 *
 * @param {Type} type
 * @param {Record<string, Type>} named
 */
function collect(type, named) {
  if (type.name !== null) {
    const other = named[type.name];
    if (other !== undefined && other !== type) throw new TypeError(`there are two types ${type.name}: rename one of them`);
    named[type.name] = type;
  }
  type.parts.forEach((part) => collect(part, named));
}

/** @param {Route} route */
function operation(route) {
  const { summary, description, body, query } = route.options;
  return {
    operationId: operationId(route),
    summary: summary ?? words(operationId(route)),
    description,
    parameters: query && Object.entries(query.fields ?? {}).map(parameterOf),
    requestBody: body && { required: true, content: json(reference(body)) },
    responses: success(route),
    errors: errorsOf(route),
  };
}

/** @param {[string, Type]} field */
function parameterOf([name, type]) {
  const [inner] = type.isOptional ? type.parts : [type];
  return { name, in: "query", required: !type.isOptional, schema: reference(inner) };
}

/** @param {Route} route */
function errorsOf({ options: { body, query, errors = {} } }) {
  /** @type {Record<string, Record<string, string>>} */
  const all = {};
  for (const codes of [body && BODY_ERRORS, query && QUERY_ERRORS, errors]) {
    for (const [status, meanings] of Object.entries(codes ?? {})) all[status] = { ...all[status], ...meanings };
  }
  return all;
}

/**
 * The name of the handler. Without one, the words of method and path.
 *
 * @param {Route} route
 */
function operationId({ handler, method, path }) {
  const parts = path.split(/[^A-Za-z0-9]+/).filter((part) => part !== "");
  return handler.name || method + parts.map((part) => part[0].toUpperCase() + part.slice(1)).join("");
}

/**
 * `createTodo` as "Create todo".
 *
 * @param {string} name
 */
function words(name) {
  const spaced = name.replace(/([a-z0-9])([A-Z])/g, "$1 $2").replaceAll("_", " ").toLowerCase();
  return spaced[0].toUpperCase() + spaced.slice(1);
}

/** @param {Route} route */
function success({ options: { gives, creates, lists } }) {
  if (creates !== undefined) return { 201: { description: "Created.", content: json(envelope({ data: reference(creates) })) } };
  if (gives !== undefined) return { 200: { description: "Success.", content: json(envelope({ data: reference(gives) })) } };
  if (lists === undefined) return { "2XX": { description: "Success." } };
  const count = { type: "integer", minimum: 0, description: "Number of items in data." };
  const members = { data: { type: "array", items: reference(lists) }, count };
  return { 200: { description: "A list.", content: json(envelope(members)) } };
}

/**
 * The envelope of a success with these members. It may have a `message`.
 *
 * @param {Record<string, unknown>} members
 */
function envelope(members) {
  const properties = { success: { const: true }, ...members, message: { type: "string" } };
  return { type: "object", required: ["success", ...Object.keys(members)], additionalProperties: false, properties };
}

/** @param {unknown} schema */
function json(schema) {
  return { "application/json": { schema } };
}
