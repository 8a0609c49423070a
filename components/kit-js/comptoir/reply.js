// Replies: a status, headers, and a body, usually JSON in the envelope.

import { stringify } from "./json.js";

const utf8 = new TextEncoder();

/** A reply of a handler. */
export class Reply {
  /**
   * @param {number} status
   * @param {string | null} contentType null without a body
   * @param {Uint8Array | string} body
   */
  constructor(status, contentType, body) {
    this.status = status;
    this.contentType = contentType;
    this.body = body;
    /** @type {[string, string][]} */
    this.headers = [];
    /** @type {Record<string, unknown> | null} the envelope of a success */
    this.envelope = null;
  }

  /**
   * Changes the status.
   *
   * @param {number} status
   */
  withStatus(status) {
    this.status = status;
    return this;
  }

  /**
   * Adds a header. The name is in lower case, and neither `content-type` nor `content-length`.
   *
   * @param {string} name
   * @param {string} value
   */
  withHeader(name, value) {
    this.headers.push([name, value]);
    return this;
  }

  /**
   * Adds a `message` to the envelope.
   *
   * @param {string} text
   */
  withMessage(text) {
    if (this.envelope === null) throw new TypeError("only a reply with the envelope has a message");
    this.envelope.message = text;
    return this;
  }

  /**
   * Sets a cookie for all paths and percent-encodes its value. A reply with a cookie is not cached.
   *
   * The browser sends it over TLS alone, hides it from scripts, and does not send it with requests that other sites start.
   * `maxAge` is in seconds: without it, the browser deletes the cookie when it closes, and with 0 at once.
   *
   * @param {string} name
   * @param {string} value
   * @param {{ maxAge?: number, forScripts?: boolean }} [options]
   */
  withCookie(name, value, { maxAge, forScripts = false } = {}) {
    const parts = [`${name}=${encodeURIComponent(value)}`, "Path=/", "Secure", "SameSite=Lax"];
    if (!forScripts) parts.push("HttpOnly");
    if (maxAge !== undefined) parts.push(`Max-Age=${maxAge}`);
    return this.withHeader("set-cookie", parts.join("; "));
  }

  /** The record `response` of `wit/handler.wit`. */
  toRecord() {
    const body = this.envelope === null ? this.body : stringify(this.envelope);
    const type = this.contentType === null ? [] : [["content-type", this.contentType]];
    return {
      status: this.status,
      headers: [...type, ...this.headers].map(([name, value]) => [name, utf8.encode(value)]),
      body: typeof body === "string" ? utf8.encode(body) : body,
    };
  }
}

/**
 * JSON with the envelope of a success.
 *
 * @param {number} status
 * @param {Record<string, unknown>} members
 */
function success(status, members) {
  const reply = new Reply(status, "application/json", "");
  reply.envelope = { success: true, ...members };
  return reply;
}

/**
 * 200 with `data`.
 *
 * @param {unknown} data
 */
export function ok(data) {
  return success(200, { data });
}

/**
 * 201 with `data`.
 *
 * @param {unknown} data
 */
export function created(data) {
  return success(201, { data });
}

/**
 * 200 with a list as `data` and its length as `count`.
 *
 * @param {unknown[]} items
 */
export function list(items) {
  return success(200, { data: items, count: items.length });
}

/**
 * 200 with a `message` and no `data`.
 *
 * @param {string} text
 */
export function message(text) {
  return success(200, { message: text });
}

/** 204 without a body. */
export function empty() {
  return new Reply(204, null, "");
}

/**
 * 303: the client continues with a GET of `location` (RFC 9110, section 15.4.4).
 *
 * Never pass a text from a client without a check: it could lead to another site.
 *
 * @param {string} location
 */
export function redirect(location) {
  return new Reply(303, null, "").withHeader("location", location);
}

/**
 * 200 with any body and content type, without the envelope: `raw("text/csv", rows)`.
 *
 * @param {string} contentType
 * @param {string | Uint8Array} body
 */
export function raw(contentType, body) {
  return new Reply(200, contentType, body);
}

/**
 * JSON without the envelope.
 *
 * @param {number} status
 * @param {unknown} value
 */
export function bare(status, value) {
  return new Reply(status, "application/json", stringify(value));
}

/**
 * The reply to an error.
 *
 * @param {import("./error.js").HttpError} error
 */
export function failed({ status, code, message, details, retryAfter, headers }) {
  const reply = bare(status, { success: false, error: { code, message, details } });
  if (status === 401) reply.withHeader("www-authenticate", "Bearer");
  if (retryAfter !== undefined) reply.withHeader("retry-after", String(retryAfter));
  for (const [name, value] of Object.entries(headers)) reply.withHeader(name, value);
  return reply;
}
