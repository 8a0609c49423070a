// Types of bodies and queries. Each checks values, and describes itself as a JSON Schema for the OpenAPI document.

import { HttpError } from "./error.js";

/** A value that does not fit its type. */
class Misfit extends Error {
  /**
   * @param {string} path of the field, such as `items[0].id`. Empty for the whole value
   * @param {string} why continues a sentence such as "The field title …"
   */
  constructor(path, why) {
    super(why);
    this.path = path;
  }
}

/** A type of a body, a field or a query parameter. The functions of this file make one. */
export class Type {
  /**
   * @param {Record<string, unknown>} schema
   * @param {(value: any, path: string) => any} check returns the value that the handler sees, or throws a `Misfit`
   * @param {(text: string) => unknown} [parse] the value of a text in a query
   */
  constructor(schema, check, parse = (text) => text) {
    this.schema = schema;
    this.check = check;
    this.parse = parse;
    /** @type {Record<string, Type> | null} the fields of an object */
    this.fields = null;
    /** @type {Type[]} the types that the schema refers to */
    this.parts = [];
    /** @type {string | null} the name in the document */
    this.name = null;
    this.isOptional = false;
    /** @type {any} the value of an absent field */
    this.fallback = null;
  }
}

/**
 * A text with a number of characters from `minimum` to `maximum`, without U+0000, which PostgreSQL cannot store.
 *
 * @param {number} [minimum]
 * @param {number} [maximum]
 */
export function text(minimum = 0, maximum = Infinity) {
  return new Type(
    { type: "string", ...(minimum > 0 && { minLength: minimum }), ...(maximum < Infinity && { maxLength: maximum }) },
    (value, path) => {
      refuseIf(typeof value !== "string", path, "must be a string");
      refuseIf(value.includes("\0"), path, "must not contain U+0000");
      refuseIf(!value.isWellFormed(), path, "must not contain unpaired surrogates");
      const length = [...value].length;
      refuseIf(length === 0 && minimum === 1, path, "must not be empty");
      refuseIf(length < minimum, path, `must have at least ${minimum} characters`);
      refuseIf(length > maximum, path, `must have at most ${maximum} characters`);
      return value;
    },
  );
}

/**
 * An integer from `minimum` to `maximum`, by default of 64 bits. It is a BigInt only beyond 2^53.
 *
 * @param {number | bigint} [minimum]
 * @param {number | bigint} [maximum]
 */
export function int(minimum, maximum) {
  const isInteger = (/** @type {unknown} */ value) => typeof value === "bigint" || Number.isSafeInteger(value);
  const isInRange = (/** @type {number | bigint} */ value) =>
    value >= (minimum ?? -(2n ** 63n)) && value <= (maximum ?? 2n ** 63n - 1n);
  return new Type(
    { type: "integer", ...limits({ format: "int64", minimum, maximum }) },
    (value, path) => {
      refuseIf(!isInteger(value) || !isInRange(value), path, `must be an integer${range(minimum, maximum)}`);
      return value;
    },
    (text) => (/^-?\d{1,20}$/.test(text) ? integerOf(BigInt(text)) : text),
  );
}

/** @param {bigint} integer */
function integerOf(integer) {
  return Number.isSafeInteger(Number(integer)) ? Number(integer) : integer;
}

/**
 * @param {number | bigint} [minimum]
 * @param {number | bigint} [maximum]
 */
function range(minimum, maximum) {
  if (minimum === undefined) return maximum === undefined ? "" : ` of at most ${maximum}`;
  return maximum === undefined ? ` of at least ${minimum}` : ` from ${minimum} to ${maximum}`;
}

/** @param {Record<string, unknown>} members */
function limits(members) {
  return Object.fromEntries(Object.entries(members).filter(([, limit]) => limit !== undefined));
}

/**
 * A finite number from `minimum` to `maximum`.
 *
 * @param {number} [minimum]
 * @param {number} [maximum]
 */
export function number(minimum, maximum) {
  const isNumber = (/** @type {any} */ value) => typeof value === "bigint" || Number.isFinite(value);
  const isInRange = (/** @type {any} */ value) => value >= (minimum ?? -Infinity) && value <= (maximum ?? Infinity);
  return new Type(
    { type: "number", ...limits({ minimum, maximum }) },
    (value, path) => {
      refuseIf(!isNumber(value) || !isInRange(value), path, `must be a number${range(minimum, maximum)}`);
      return Number(value);
    },
    (text) => (/^-?\d+(\.\d+)?(e[+-]?\d+)?$/i.test(text) ? Number(text) : text),
  );
}

/** True or false. SQL stores it as 1 or 0. */
export function boolean() {
  return new Type(
    { type: "boolean" },
    (value, path) => {
      refuseIf(typeof value !== "boolean", path, "must be a boolean");
      return value;
    },
    (text) => (text === "true" ? true : text === "false" ? false : text),
  );
}

/**
 * One of some texts.
 *
 * @param {string[]} values
 */
export function oneOf(...values) {
  return new Type({ type: "string", enum: values }, (value, path) => {
    refuseIf(typeof value !== "string", path, "must be a string");
    refuseIf(!values.includes(value), path, `must be one of ${values.join(", ")}`);
    return value;
  });
}

/**
 * An array with a number of items from `minimum` to `maximum`.
 *
 * @param {Type} item
 * @param {number} [minimum]
 * @param {number} [maximum]
 */
export function array(item, minimum = 0, maximum = Infinity) {
  const sizes = { ...(minimum > 0 && { minItems: minimum }), ...(maximum < Infinity && { maxItems: maximum }) };
  const schema = { type: "array", items: reference(item), ...sizes };
  const type = new Type(schema, (value, path) => {
    refuseIf(!Array.isArray(value), path, "must be an array");
    refuseIf(value.length < minimum, path, `must have at least ${minimum} items`);
    refuseIf(value.length > maximum, path, `must have at most ${maximum} items`);
    return value.map((/** @type {unknown} */ each, /** @type {number} */ index) => item.check(each, `${path}[${index}]`));
  });
  type.parts = [item];
  return type;
}

/**
 * An object with these fields and no others. The name stands for it in the OpenAPI document.
 *
 * @param {string} name
 * @param {Record<string, Type>} fields
 */
export function object(name, fields) {
  const required = Object.keys(fields).filter((field) => !fields[field].isOptional);
  const properties = Object.fromEntries(Object.entries(fields).map(([field, type]) => [field, reference(type)]));
  const schema = { type: "object", properties, additionalProperties: false, ...(required.length > 0 && { required }) };
  const type = new Type(schema, (value, path) => checkFields(fields, value, path));
  return Object.assign(type, { name, fields, parts: Object.values(fields) });
}

/**
 * A field that may be absent or null. Then it has the value `fallback`.
 *
 * @param {Type} type
 * @param {unknown} [fallback]
 */
export function optional(type, fallback = null) {
  const schema = { anyOf: [reference(type), { type: "null" }] };
  const isAbsent = (/** @type {unknown} */ value) => value === null || value === undefined;
  const other = new Type(schema, (value, path) => (isAbsent(value) ? fallback : type.check(value, path)), type.parse);
  return Object.assign(other, { isOptional: true, fallback, parts: [type] });
}

/**
 * The schema of a type within another schema.
 *
 * @param {Type} type
 */
export function reference(type) {
  return type.name === null ? type.schema : { $ref: `#/components/schemas/${type.name}` };
}

/**
 * What is missing comes first, because a client has to add it in any case. Unknown fields come last.
 *
 * @param {Record<string, Type>} fields
 * @param {any} value
 * @param {string} path
 */
function checkFields(fields, value, path) {
  refuseIf(typeof value !== "object" || value === null || Array.isArray(value), path, "must be an object");
  const within = (/** @type {string} */ field) => (path === "" ? shown(field) : `${path}.${shown(field)}`);
  const missing = Object.keys(fields).find((field) => !fields[field].isOptional && !Object.hasOwn(value, field));
  if (missing !== undefined) throw new Misfit(within(missing), "is missing");
  const read = (/** @type {string} */ field) => (Object.hasOwn(value, field) ? value[field] : undefined);
  const checked = Object.entries(fields).map(([field, type]) => [field, type.check(read(field), within(field))]);
  const unknown = Object.keys(value).find((field) => !Object.hasOwn(fields, field));
  if (unknown !== undefined) throw new Misfit(within(unknown), "is unknown");
  return Object.fromEntries(checked);
}

/**
 * A field's name in a path: at most 64 characters, without control characters.
 *
 * @param {string} field
 */
function shown(field) {
  return [...field].slice(0, 64).join("").replace(/[\u0000-\u001f\u007f-\u009f]/g, "?");
}

/**
 * @param {boolean} isWrong
 * @param {string} path
 * @param {string} why
 */
function refuseIf(isWrong, path, why) {
  if (isWrong) throw new Misfit(path, why);
}

/**
 * A body as its type.
 *
 * @param {Type} type
 * @param {unknown} value
 */
export function checkBody(type, value) {
  return checkedAs(type, value, 422, "INVALID_FIELD", "The field");
}

/**
 * A query as its type, an object. The parameters are texts.
 *
 * @param {Type} type
 * @param {URLSearchParams} query
 */
export function checkQuery(type, query) {
  const names = [...new Set(query.keys())];
  const twice = names.find((name) => query.getAll(name).length > 1);
  const fields = new Map(Object.entries(type.fields ?? {}));
  const values = names.map((name) => [name, fields.get(name)?.parse(query.get(name) ?? "") ?? query.get(name)]);
  const once = new Type({}, (value, path) => {
    if (twice !== undefined) throw new Misfit(shown(twice), "is given twice");
    return type.check(value, path);
  });
  return checkedAs(once, Object.fromEntries(values), 400, "INVALID_QUERY", "The query parameter");
}

/**
 * @param {Type} type
 * @param {unknown} value
 * @param {number} status
 * @param {string} code
 * @param {string} subject
 */
function checkedAs(type, value, status, code, subject) {
  try {
    return type.check(value, "");
  } catch (error) {
    if (!(error instanceof Misfit)) throw error;
    if (error.path === "") throw new HttpError(status, code, `The body ${error.message}.`);
    throw new HttpError(status, code, `${subject} ${error.path} ${error.message}.`, { details: { field: error.path } });
  }
}
