// JSON with exact integers: a BigInt for those beyond 2^53, in both directions.

/** An integer of 16 or more digits may be one that a number cannot hold. */
const LONG_INTEGER = /\d{16}/;

/**
 * Parses a JSON text. If a key occurs twice, the last value counts.
 *
 * @param {string} text
 * @returns {any}
 */
export function parse(text) {
  return LONG_INTEGER.test(text) ? JSON.parse(text, /** @type {any} */ (exact)) : JSON.parse(text);
}

/**
 * @param {string} _key
 * @param {any} value
 * @param {{ source?: string }} [context] the literal in the text, if the engine gives it
 */
function exact(_key, value, context) {
  const isInexact = typeof value === "number" && !Number.isSafeInteger(value);
  return isInexact && /^-?\d+$/.test(context?.source ?? "") ? BigInt(/** @type {any} */ (context).source) : value;
}

/**
 * Writes a value as JSON.
 *
 * @param {unknown} value
 * @returns {string}
 */
export function stringify(value) {
  const json = JSON.stringify(value, (_key, member) => (typeof member === "bigint" ? digits(member) : member));
  if (json === undefined) throw new TypeError(`cannot write ${typeof value} as JSON`);
  return json;
}

/**
 * @param {bigint} integer
 * @returns {unknown}
 */
function digits(integer) {
  const { rawJSON } = /** @type {any} */ (JSON);
  if (Number.isSafeInteger(Number(integer))) return Number(integer);
  if (rawJSON === undefined) throw new TypeError("this engine cannot write a BigInt as JSON: use Node 22");
  return rawJSON(String(integer));
}
