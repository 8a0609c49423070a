// The host's gate, as far as a service can see it: the access of routes, and undeclared headers.

import { HttpError } from "../error.js";
import { bySpecificity, matches } from "../path.js";
import { failed } from "../reply.js";

/** The headers that every route sees. */
const ALWAYS = ["x-user-id", "x-user-role", "x-session-id", "x-comptoir-caller", "content-type", "content-length"];

/**
 * The reply to a caller whom the route does not admit. Undefined if it does: then removes the headers that it does not declare.
 *
 * Health and unknown routes pass, because the service answers those itself.
 *
 * @param {any} description
 * @param {any} request
 */
export function admit(description, request) {
  const path = request.target.split("?", 1)[0];
  const fits = (/** @type {any} */ route) => route.method === request.method && matches(route.path, path);
  const here = description.routes.filter(fits);
  const [route] = here.sort((/** @type {any} */ one, /** @type {any} */ other) => bySpecificity(one.path, other.path));
  if (route === undefined || path === description.health) return undefined;
  const names = new Map(request.headers);
  const refusal = refusalOf(route.access, names);
  if (refusal !== undefined) return failed(refusal).toRecord();
  request.headers = request.headers.filter((/** @type {any} */ [name]) => ALWAYS.includes(name) || route.headers.includes(name));
  return undefined;
}

/**
 * @param {string} access
 * @param {Map<any, any>} headers
 */
function refusalOf(access, headers) {
  const role = new TextDecoder().decode(headers.get("x-user-role"));
  const isService = headers.has("x-comptoir-caller");
  if (access === "internal") return isService ? undefined : new HttpError(404, "NOT_FOUND", "There is no route for this path.");
  if (isService) return new HttpError(403, "FORBIDDEN", "Services may call internal routes only.");
  if (access === "public") return undefined;
  if (!headers.has("x-user-id")) return new HttpError(401, "MISSING_TOKEN", "This request needs a bearer token.");
  if (access === "admin" && role !== "admin") return new HttpError(403, "FORBIDDEN", "This request needs the role admin.");
  return undefined;
}
