// Errors: those that a service throws as a reply, and those of the database.

/**
 * An error reply: `{"success":false,"error":{"code":…,"message":…}}`. Throw it from a handler.
 *
 * The client sees all of its fields.
 */
export class HttpError extends Error {
  /**
   * @param {number} status 400 to 599
   * @param {string} code for programs, such as `TODO_NOT_FOUND`
   * @param {string} message for people
   * @param {{ details?: unknown, retryAfter?: number, headers?: Record<string, string> }} [more] `details` is more data for
   *   programs, `retryAfter` the seconds after which a retry makes sense. Names of headers are in lower case.
   */
  constructor(status, code, message, more = {}) {
    super(message);
    this.name = "HttpError";
    this.status = status;
    this.code = code;
    this.details = more.details;
    this.retryAfter = more.retryAfter;
    this.headers = more.headers ?? {};
  }
}

/**
 * Why a statement had no effect. A handler that does not catch it answers 503 or 500. The text is for the log alone.
 */
export class StorageError extends Error {
  /**
   * @param {{ tag: string, val?: string }} cause the variant `error` of `wit/storage.wit`
   */
  constructor({ tag, val }) {
    super(val === undefined ? tag : `${tag}: ${val}`);
    this.name = "StorageError";
    /** `constraint`, `busy`, `denied`, `too-large`, `timed-out`, `invalid` or `unavailable`. */
    this.kind = tag;
    /**
     * The constraint that a write violates: `unique`, `foreign-key`, `check`, `not-null` or `other`. Null for other kinds.
     *
     * @type {string | null}
     */
    this.constraint = tag === "constraint" ? (val ?? null) : null;
  }
}

/**
 * The replies to storage errors for which a retry makes sense.
 *
 * @type {Record<string, [string, string, number]>}
 */
const RETRIES = {
  busy: ["STORAGE_BUSY", "Too many writes are waiting. Try again.", 1],
  "timed-out": ["STORAGE_TIMED_OUT", "The database took too long.", 1],
  unavailable: ["STORAGE_UNAVAILABLE", "The database is not available now.", 5],
};

/**
 * The error reply for whatever a handler throws. Logs the cause of a 500.
 *
 * @param {unknown} error
 * @returns {HttpError}
 */
export function httpErrorOf(error) {
  if (error instanceof HttpError) return error;
  const retry = error instanceof StorageError ? RETRIES[error.kind] : undefined;
  if (retry !== undefined) return new HttpError(503, retry[0], retry[1], { retryAfter: retry[2] });
  console.error(`internal error: ${described(error)}`);
  return new HttpError(500, "INTERNAL_ERROR", "The service failed. Your request is not the cause.");
}

/**
 * An error for the log, in one line: its type, its message, and where it was thrown.
 *
 * Quoted texts are left out of the messages of unknown errors, because an engine quotes values, and those can be secrets.
 *
 * @param {unknown} error
 */
function described(error) {
  if (!(error instanceof Error)) return `the service threw a value of type ${typeof error}`;
  const message = error instanceof StorageError ? error.message : error.message.replace(/(["'`]).*?\1/gs, "$1…$1");
  return [`${error.name}: ${message.slice(0, 500)}`, ...places(error)].join(" at ").replace(CONTROLS, " ");
}

/** The engine does not know `\p{Cc}`. */
const CONTROLS = /[\u0000-\u001f\u007f-\u009f]+/g;

/**
 * The places in the author's files that led to an error, innermost first.
 *
 * @param {Error} error
 */
function places(error) {
  // Node.js begins each line with `at`, the component's engine does not.
  const lines = (error.stack ?? "").split("\n").map((line) => line.trim().replace(/^at /, ""));
  return lines.filter((line) => /\.js:\d+/.test(line) && !line.includes("initializer.js")).slice(0, 5);
}
