// Paths: patterns like `/todos/{id}`, and their parameters.

/**
 * The name of a segment in braces. Null for a literal segment.
 *
 * @param {string} segment
 */
function parameterName(segment) {
  return segment.startsWith("{") && segment.endsWith("}") ? segment.slice(1, -1) : null;
}

/**
 * Whether a path matches a pattern. A segment in braces matches any segment that is not empty.
 *
 * @param {string} pattern
 * @param {string} path
 */
export function matches(pattern, path) {
  const [expected, found] = [pattern.split("/"), path.split("/")];
  const fits = (/** @type {string} */ segment, /** @type {number} */ index) =>
    parameterName(segment) === null ? segment === found[index] : found[index] !== "";
  return expected.length === found.length && expected.every(fits);
}

/**
 * Sorts patterns that match the same path, the most specific one first. The first segment that is literal in one pattern and a
 * parameter in the other decides.
 *
 * @param {string} first
 * @param {string} second
 */
export function bySpecificity(first, second) {
  const ranks = (/** @type {string} */ pattern) =>
    pattern.split("/").map((segment) => (parameterName(segment) === null ? "0" : "1")).join("");
  return ranks(first) < ranks(second) ? -1 : Number(ranks(first) !== ranks(second));
}

/**
 * The segment of a path at the pattern's `{name}`, decoded. Null if there is none, or if its encoding is invalid.
 *
 * @param {string} pattern
 * @param {string} path
 * @param {string} name
 * @returns {string | null}
 */
export function parameter(pattern, path, name) {
  const index = pattern.split("/").findIndex((segment) => parameterName(segment) === name);
  return index < 0 ? null : decode(path.split("/")[index] ?? "");
}

/**
 * @param {string} segment
 * @returns {string | null}
 */
function decode(segment) {
  try {
    return decodeURIComponent(segment);
  } catch {
    return null;
  }
}

/**
 * Reads a row id: only digits, and at most 2^63 - 1. A BigInt beyond 2^53.
 *
 * @param {string | null} digits
 * @returns {number | bigint | null}
 */
export function id(digits) {
  if (digits === null || !/^[0-9]{1,40}$/.test(digits)) return null;
  const value = BigInt(digits);
  if (value >= 2n ** 63n) return null;
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}
