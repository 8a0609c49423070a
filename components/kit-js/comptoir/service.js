// A service: its description for the host, and the dispatch of requests to its routes.

import { documentation } from "./documentation.js";
import { HttpError, httpErrorOf } from "./error.js";
import { bySpecificity, matches } from "./path.js";
import { Reply, bare, failed } from "./reply.js";
import { Request } from "./request.js";
import { query } from "./storage.js";

/** @typedef {import("./route.js").Route} Route */
/** @typedef {import("./request.js").Raw} Raw */
/** @typedef {{ method: string, path: string, caller?: string, body?: string }} Probe */

/**
 * What a service consists of.
 *
 * @typedef {object} Definition
 * @property {string} name in the health response
 * @property {string} [version] for people
 * @property {string} [health] the path of the health response
 * @property {string[]} [migrations] the SQL of schema version 1, 2, … A service without migrations has no database
 * @property {[number, number]} [schema] the schema versions that the code works with. By default only the last migration's
 * @property {Probe[]} [probes] requests that must succeed before a new revision serves. The host rolls their writes back
 * @property {Route[]} routes all routes except health
 */

/**
 * Defines a service. `app.js` exports what this returns, under the same names.
 *
 * @param {Definition} definition
 */
export function defineService(definition) {
  checkRoutes(definition.routes);
  const description = describe(definition);
  return {
    service: { describe: () => description },
    handler: { handle: (/** @type {Raw} */ raw) => answer(definition, raw) },
  };
}

/**
 * A GET that must succeed (2xx) before a new revision serves.
 *
 * @param {string} path
 * @param {{ caller?: string }} [options] the username of a caller with the role `user`
 * @returns {Probe}
 */
export function getProbe(path, { caller } = {}) {
  return { method: "get", path, caller };
}

/**
 * A POST with a JSON body that must succeed (2xx) before a new revision serves. The host rolls its writes back.
 *
 * @param {string} path
 * @param {unknown} body
 * @param {{ caller?: string }} [options] the username of a caller with the role `user`
 * @returns {Probe}
 */
export function postProbe(path, body, { caller } = {}) {
  return { method: "post", path, caller, body: JSON.stringify(body) };
}

/** @param {Route[]} routes */
function checkRoutes(routes) {
  const names = routes.map((route) => route.name.replace(/\{[^/]*\}/g, "{}"));
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new TypeError(`two routes are ${twice}`);
}

/**
 * The record `description` of `wit/service.wit`.
 *
 * @param {Definition} definition
 */
function describe({ name, version = "0.1.0", health = "/health", migrations = [], schema, probes = [], routes }) {
  const [minimum, maximum] = schema ?? [migrations.length, migrations.length];
  return {
    name,
    version,
    health,
    routes: routes.map(({ method, path, access, options }) => ({ method, path, access, headers: options.headers ?? [] })),
    migrations: migrations.map((sql, index) => ({ version: index + 1, sql })),
    schema: { minimum, maximum },
    probes,
    documentation: documentation(routes, migrations.length > 0),
  };
}

/**
 * The record `response` of `wit/handler.wit`.
 *
 * @param {Definition} definition
 * @param {Raw} raw
 */
async function answer(definition, raw) {
  const path = raw.target.split("?", 1)[0];
  if (raw.method === "get" && path === (definition.health ?? "/health")) return healthReply(definition).toRecord();
  try {
    const route = find(definition.routes, raw.method, path);
    return recordOf(route, await route.handler(new Request(raw, route)));
  } catch (error) {
    return failed(httpErrorOf(error)).toRecord();
  }
}

/**
 * @param {Route} route
 * @param {unknown} reply
 */
function recordOf(route, reply) {
  if (reply instanceof Reply) return reply.toRecord();
  throw new TypeError(`the handler of ${route.name} returned no reply, such as ok(data) or empty()`);
}

/**
 * The most specific route for a method and a path. Throws 404 or 405.
 *
 * @param {Route[]} routes
 * @param {string} method
 * @param {string} path
 * @returns {Route}
 */
function find(routes, method, path) {
  const here = routes.filter((route) => matches(route.path, path));
  const [best] = here.filter((route) => route.method === method).sort((one, other) => bySpecificity(one.path, other.path));
  if (best !== undefined) return best;
  if (here.length === 0) throw new HttpError(404, "NOT_FOUND", "There is no route for this path.");
  const allow = [...new Set(here.map((route) => (route.method === "get" ? "GET, HEAD" : route.method.toUpperCase())))].join(", ");
  throw new HttpError(405, "METHOD_NOT_ALLOWED", "This path does not support this method.", { headers: { allow } });
}

/**
 * A service with a database is healthy if the database responds.
 *
 * @param {Definition} definition
 */
function healthReply({ name, migrations = [] }) {
  try {
    if (migrations.length > 0) query("SELECT 1");
    return bare(200, { status: "healthy", service: name });
  } catch (error) {
    console.error(`health check failed: the database does not respond: ${error}`);
    return bare(503, { status: "unhealthy", service: name });
  }
}
