// A request, with its caller as the host verified it.

import * as session from "comptoir:platform/session@0.1.0";

import { HttpError } from "./error.js";
import { parse } from "./json.js";
import { id, parameter } from "./path.js";
import { transaction } from "./storage.js";
import { checkBody, checkQuery } from "./type.js";

/** @typedef {{ method: string, target: string, headers: [string, Uint8Array][], body: Uint8Array }} Raw `wit/handler.wit` */
/** @typedef {{ username: string, role: string, session: string | null, isAdmin: boolean }} Caller */

/** The longest JSON body, in bytes. */
const JSON_LIMIT = 1 << 20;

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** A request to one handler. */
export class Request {
  /** @type {Raw} */
  #raw;
  /** @type {import("./route.js").Route} */
  #route;

  /**
   * @param {Raw} raw
   * @param {import("./route.js").Route} route
   */
  constructor(raw, route) {
    this.#raw = raw;
    this.#route = route;
  }

  /** The path without the query, still percent-encoded. */
  get path() {
    return this.#raw.target.split("?", 1)[0];
  }

  /** All query parameters, decoded. */
  get query() {
    return new URLSearchParams(this.#raw.target.slice(this.path.length));
  }

  /**
   * The query as the type that the route declares as `query`. Throws 400 `INVALID_QUERY`, which names the parameter.
   *
   * @returns {Record<string, any>}
   */
  queryFields() {
    const { query } = this.#route.options;
    if (query === undefined) throw new TypeError(`${this.#route.name} declares no query`);
    return checkQuery(query, this.query);
  }

  /**
   * The path parameter `{name}` of the route, decoded. Null if its encoding is invalid.
   *
   * @param {string} name
   */
  param(name) {
    return parameter(this.#route.path, this.path, name);
  }

  /**
   * A path parameter that is a row id. Null if it cannot be one: then reply as for a missing row.
   *
   * @param {string} name
   */
  id(name) {
    return id(this.param(name));
  }

  /**
   * The first value of a header. Null if it is absent, not UTF-8, or not declared by the route.
   *
   * @param {string} name in lower case
   */
  header(name) {
    const found = this.#raw.headers.find(([key]) => key === name);
    return found === undefined ? null : decoded(found[1]);
  }

  /**
   * The first value of a cookie, not decoded. The route must declare that it reads `cookie`.
   *
   * @param {string} name
   */
  cookie(name) {
    const pairs = this.#raw.headers.filter(([key]) => key === "cookie").flatMap(([, value]) => (decoded(value) ?? "").split(";"));
    const found = pairs.map((pair) => pair.trim()).find((pair) => pair.startsWith(`${name}=`));
    return found === undefined ? null : found.slice(name.length + 1).trim();
  }

  /**
   * The caller. Null on a public route without a valid token.
   *
   * @returns {Caller | null}
   */
  get caller() {
    const username = this.header("x-user-id");
    if (username === null || username === "") return null;
    const role = this.header("x-user-role") ?? "";
    return { username, role, session: this.header("x-session-id"), isAdmin: role === "admin" };
  }

  /**
   * The caller of a route that requires one. Without a caller it throws 401, which only happens on a public route, because the host
   * refuses such requests to other routes.
   *
   * @returns {Caller}
   */
  get user() {
    if (this.caller === null) throw new HttpError(401, "MISSING_TOKEN", "This request needs a bearer token.");
    return this.caller;
  }

  /** The name of the calling service on this host. Null for a request from outside. */
  get callingService() {
    return this.header("x-comptoir-caller");
  }

  /** Whether the caller's session has ended since the host admitted the request. */
  sessionHasEnded() {
    return session.hasEnded();
  }

  /**
   * Does some work in a transaction for the caller, and commits. If the work throws, nothing was written.
   *
   * If the caller's session ended while the request waited for the database's writer, it throws 401 `INVALID_TOKEN` and does nothing.
   * So an ended session writes nothing more.
   *
   * @template T
   * @param {(transaction: import("./storage.js").Transaction) => T} work not async, because other writers wait for it
   * @returns {T}
   */
  transaction(work) {
    return transaction((open) => {
      if (this.sessionHasEnded()) throw new HttpError(401, "INVALID_TOKEN", "The token is invalid or has expired");
      return work(open);
    });
  }

  /** The whole body, of any content type. */
  get body() {
    return this.#raw.body;
  }

  /** The content type of the body, with its parameters. */
  get contentType() {
    return this.header("content-type");
  }

  /**
   * The JSON body, as the type that the route declares as `body`. Without a type, any JSON is accepted.
   *
   * Throws 400 `INVALID_BODY` if the body is not JSON, 413 `BODY_TOO_LARGE` beyond 1 MiB, and 422 `INVALID_FIELD`, which names the
   * field by its path.
   *
   * @returns {any}
   */
  json() {
    checkContentType(this.contentType);
    if (this.body.length > JSON_LIMIT) {
      throw new HttpError(413, "BODY_TOO_LARGE", "The body is longer than 1 MiB.");
    }
    const value = parsed(this.body);
    const { body } = this.#route.options;
    return body === undefined ? value : checkBody(body, value);
  }
}

/** @param {Uint8Array} bytes */
function decoded(bytes) {
  try {
    return utf8.decode(bytes);
  } catch {
    return null;
  }
}

/** @param {Uint8Array} body */
function parsed(body) {
  if (body.length === 0) throw invalidBody("The body is empty. Send a JSON object.");
  try {
    return parse(utf8.decode(body));
  } catch {
    throw invalidBody("The body is not JSON.");
  }
}

/**
 * Accepts `application/json` and `application/…+json` in any case and with any parameters.
 *
 * @param {string | null} contentType
 */
function checkContentType(contentType) {
  if (contentType === null) throw invalidBody("The body has no Content-Type. Send application/json.");
  const essence = contentType.split(";", 1)[0].trim();
  if (!/^application\/(json|.+\+json)$/i.test(essence)) {
    const shown = essence.slice(0, 64).replace(/[^ -~]/g, "?");
    throw invalidBody(`The body's Content-Type is "${shown}". Send application/json.`);
  }
}

/** @param {string} why */
function invalidBody(why) {
  return new HttpError(400, "INVALID_BODY", why);
}
