// A stand-in for the host, for tests of a service in Node, from request to row: `node --import ./comptoir/native.js --test`.
//
// It has an SQLite database in memory (package `node-sqlite3-wasm`), enforces the access of each route, and hides undeclared headers.
// It has no limits: the host's own tests cover those. It keeps one service at a time.

import * as loader from "node:module";

import { admit } from "./native/gate.js";
import { resolve } from "./native/resolve.js";

// Node 22 resolves in this thread, an older one in another.
const { registerHooks } = /** @type {any} */ (loader);
if (registerHooks) registerHooks({ resolve });
else loader.register("./native/resolve.js", import.meta.url);

const storage = await import("./native/storage.js");
const session = await import("./native/session.js");

/** @typedef {{ service: { describe(): any }, handler: { handle(request: any): Promise<any> } }} Service what `app.js` exports */

/**
 * How a test request is sent.
 *
 * @typedef {object} Options
 * @property {string} [by] the caller's username
 * @property {string} [role] `user` by default
 * @property {string} [service] another service of the host as the caller. Only a service can call an internal route
 * @property {boolean} [sessionEnded] whether the caller's session ends after the host admitted the request
 * @property {Record<string, string>} [headers] with names in lower case
 */

/** A reply of the service. */
export class TestReply {
  /** @param {{ status: number, headers: [string, Uint8Array][], body: Uint8Array }} record */
  constructor({ status, headers, body }) {
    this.status = status;
    /** @type {Record<string, string>} */
    this.headers = Object.fromEntries(headers.map(([name, value]) => [name, new TextDecoder().decode(value)]));
    this.bytes = body;
    this.text = new TextDecoder().decode(body);
    /** @type {any} the body as JSON. Undefined for another content type */
    this.body = this.headers["content-type"] === "application/json" ? JSON.parse(this.text) : undefined;
  }

  /** The status, and the code of an error. */
  get outcome() {
    return this.body?.error === undefined ? [this.status] : [this.status, this.body.error.code];
  }
}

/** A service with its database. */
class Installed {
  /** @param {Service} app */
  constructor(app) {
    this.app = app;
    this.description = app.service.describe();
    /** The database, so that a test can read and change rows directly. */
    this.database = storage.install(this.description.migrations.map((/** @type {any} */ { sql }) => sql));
  }

  /**
   * @param {string} path
   * @param {Options} [options]
   */
  get(path, options) {
    return this.send("get", path, undefined, options);
  }

  /**
   * @param {string} path
   * @param {unknown} body becomes JSON
   * @param {Options} [options]
   */
  post(path, body, options) {
    return this.send("post", path, body, options);
  }

  /**
   * @param {string} path
   * @param {unknown} body becomes JSON
   * @param {Options} [options]
   */
  put(path, body, options) {
    return this.send("put", path, body, options);
  }

  /**
   * @param {string} path
   * @param {unknown} body becomes JSON
   * @param {Options} [options]
   */
  patch(path, body, options) {
    return this.send("patch", path, body, options);
  }

  /**
   * @param {string} path
   * @param {Options} [options]
   */
  del(path, options) {
    return this.send("delete", path, undefined, options);
  }

  /**
   * Sends a request. A string or bytes as the body are sent unchanged, without a content type.
   *
   * @param {string} method
   * @param {string} target the path, with the query
   * @param {unknown} body
   * @param {Options} [options]
   */
  async send(method, target, body, options = {}) {
    session.setEnded(options.sessionEnded ?? false);
    const headers = Object.entries({ ...contentType(body), ...callerHeaders(options), ...options.headers });
    const encoded = headers.map(([name, value]) => [name, new TextEncoder().encode(value)]);
    const request = { method, target, headers: encoded, body: bytesOf(body) };
    return new TestReply(admit(this.description, request) ?? (await this.app.handler.handle(request)));
  }
}

/**
 * Installs a service with a new database, and runs its migrations: `const app = install(await import("./app.js"))`.
 *
 * @param {Service} app
 */
export function install(app) {
  return new Installed(app);
}

/** @param {unknown} body */
function isRaw(body) {
  return body === undefined || typeof body === "string" || body instanceof Uint8Array;
}

/** @param {unknown} body */
function contentType(body) {
  return isRaw(body) ? {} : { "content-type": "application/json" };
}

/** @param {unknown} body */
function bytesOf(body) {
  if (body instanceof Uint8Array) return body;
  return new TextEncoder().encode(isRaw(body) ? /** @type {string} */ (body ?? "") : JSON.stringify(body));
}

/** @param {Options} options */
function callerHeaders({ by, role = "user", service }) {
  return { ...(by && { "x-user-id": by, "x-user-role": role }), ...(service && { "x-comptoir-caller": service }) };
}
