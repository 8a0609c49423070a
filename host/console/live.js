// What the host tells without being asked: one connection for each page, and only while somebody looks at it.

import { Refused, events, get, isSignedIn } from "./api.js";

// Samples of 15 minutes, as many as the host keeps.
const SAMPLES = 180;

// The newest overview, each service's samples, and whether the connection stands.
export const state = { overview: null, samples: new Map(), connected: false, error: "" };

const readers = new Set();
let connection = null;

// Calls a function after each change. Returns a function that ends that.
export function onChange(reader) {
  readers.add(reader);
  return () => readers.delete(reader);
}

function changed() {
  for (const reader of [...readers]) reader();
}

function take(overview) {
  state.overview = overview;
  for (const { service, sample } of overview.services) {
    const samples = state.samples.get(service) ?? [];
    if (sample && samples.at(-1)?.at !== sample.at) samples.push(sample);
    state.samples.set(service, samples.slice(-SAMPLES));
  }
}

async function listen(signal) {
  // An open connection has the samples since then. Those from before, or from a pause, come at once.
  state.samples = new Map(Object.entries((await get("/traffic", { signal })).services));
  for await (const overview of events(signal)) {
    take(overview);
    state.connected = true;
    state.error = "";
    changed();
  }
}

async function connect(signal) {
  while (!signal.aborted && isSignedIn()) {
    try {
      await listen(signal);
    } catch (error) {
      if (signal.aborted) return;
      state.error = error instanceof Refused ? error.message : "The host does not answer";
    }
    state.connected = false;
    changed();
    await new Promise((wake) => setTimeout(wake, 2000));
  }
}

// Connects while the page is visible. A browser allows only six connections to a host, and hidden pages need none.
export function start() {
  stop();
  if (document.hidden) return;
  connection = new AbortController();
  connect(connection.signal);
}

export function stop() {
  connection?.abort();
  connection = null;
  state.connected = false;
}

document.addEventListener("visibilitychange", () => {
  if (!isSignedIn()) return;
  if (document.hidden) stop();
  else start();
});
