// The route table. The host routes and checks access by it, and the kit dispatches by it.

/** @typedef {"public" | "user" | "admin" | "internal"} Access */
/** @typedef {import("./request.js").Request} Request */
/** @typedef {import("./reply.js").Reply} Reply */
/** @typedef {import("./type.js").Type} Type */
/** @typedef {(request: Request) => Reply | Promise<Reply>} Handler */

/**
 * What a route reads and answers, for the checks and for the OpenAPI document.
 *
 * @typedef {object} Options
 * @property {string[]} [headers] the request headers that the route reads, in lower case. The host removes all others, except those
 *   about the caller and the body
 * @property {string} [summary] a few words. By default, those of the handler's name
 * @property {string} [description]
 * @property {Type} [body] the type of the JSON body: `request.json()` checks it
 * @property {Type} [query] the type of the query, an object: `request.queryFields()` checks it
 * @property {Type} [gives] 200 with `data` of this type
 * @property {Type} [creates] 201 with `data` of this type
 * @property {Type} [lists] 200 with a list of this type as `data`, and `count`
 * @property {Record<number, Record<string, string>>} [errors] the error codes of the route by status, with their meanings
 */

/** One method of one path, with its access and its handler. */
export class Route {
  /**
   * @param {string} method
   * @param {string} path
   * @param {Access} access
   * @param {Handler} handler
   * @param {Options} [options]
   */
  constructor(method, path, access, handler, options = {}) {
    this.method = method;
    this.path = path;
    this.access = access;
    this.handler = handler;
    this.options = options;
    this.check();
  }

  /** For messages and for the document, such as `POST /todos`. */
  get name() {
    return `${this.method.toUpperCase()} ${this.path}`;
  }

  /** Fails at the build, not at the first request. */
  check() {
    if (typeof this.path !== "string" || !this.path.startsWith("/")) {
      throw new TypeError(`${this.name}: the path of a route begins with /`);
    }
    if (!["public", "user", "admin", "internal"].includes(this.access)) {
      throw new TypeError(`${this.name}: the access is ${this.access}, but must be public, user, admin or internal`);
    }
    if (typeof this.handler !== "function") throw new TypeError(`${this.name}: the handler is not a function`);
  }
}

/**
 * A route for GET. It also serves HEAD: the host sends the reply without its body.
 *
 * `{id}` in the path matches any segment, and is `request.param("id")`.
 *
 * @param {string} path
 * @param {Access} access
 * @param {Handler} handler
 * @param {Options} [options]
 */
export function get(path, access, handler, options) {
  return new Route("get", path, access, handler, options);
}

/**
 * A route for POST.
 *
 * @param {string} path
 * @param {Access} access
 * @param {Handler} handler
 * @param {Options} [options]
 */
export function post(path, access, handler, options) {
  return new Route("post", path, access, handler, options);
}

/**
 * A route for PUT.
 *
 * @param {string} path
 * @param {Access} access
 * @param {Handler} handler
 * @param {Options} [options]
 */
export function put(path, access, handler, options) {
  return new Route("put", path, access, handler, options);
}

/**
 * A route for PATCH.
 *
 * @param {string} path
 * @param {Access} access
 * @param {Handler} handler
 * @param {Options} [options]
 */
export function patch(path, access, handler, options) {
  return new Route("patch", path, access, handler, options);
}

/**
 * A route for DELETE, which is a reserved word of the language.
 *
 * @param {string} path
 * @param {Access} access
 * @param {Handler} handler
 * @param {Options} [options]
 */
export function del(path, access, handler, options) {
  return new Route("delete", path, access, handler, options);
}
