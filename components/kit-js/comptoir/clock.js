// The time, from the host.
//
// A component is built without the engine's clock, because the engine looks at it for every request, and then the host could cache no
// reply. Without this module, `Date.now()` would be the time of the build. A reply is not cached if its handler asks for the time.

import { now } from "wasi:clocks/wall-clock@0.2.12";

/** The milliseconds since 1970. */
function milliseconds() {
  const { seconds, nanoseconds } = now();
  return Number(seconds) * 1000 + Math.floor(nanoseconds / 1_000_000);
}

const HostDate = new Proxy(Date, {
  construct: (date, parameters, target) =>
    Reflect.construct(date, parameters.length === 0 ? [milliseconds()] : parameters, target),
  apply: () => new HostDate().toString(),
  get: (date, name) => (name === "now" ? milliseconds : Reflect.get(date, name)),
});
HostDate.prototype.constructor = HostDate;
globalThis.Date = HostDate;
