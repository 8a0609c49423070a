// The kit for Comptoir services in JavaScript. `components/examples/todo-js` is a service that uses all of it.
//
// Every JSON reply has the envelope: `{"success":true,…}` or `{"success":false,"error":{…}}`. The cause of a 5xx goes to the
// log (stderr), never into the reply.

import "./clock.js";

export { HttpError, StorageError } from "./error.js";
export { created, empty, list, message, ok, raw, redirect } from "./reply.js";
export { del, get, patch, post, put } from "./route.js";
export { defineService, getProbe, postProbe } from "./service.js";
export { begin, execute, query, queryOne, real, transaction } from "./storage.js";
export { array, boolean, int, number, object, oneOf, optional, text } from "./type.js";
