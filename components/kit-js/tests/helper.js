// A service of the given routes, and the log of what it does.

import { defineService } from "../comptoir/index.js";
import { install } from "../comptoir/native.js";

export const TABLE = "CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, size REAL, raw BLOB) STRICT";

export function serve(...routes) {
  return install(defineService({ name: "things", migrations: [TABLE], routes }));
}

// The lines that the work writes to stderr.
export async function logOf(work) {
  const [before, lines] = [console.error, []];
  console.error = (line) => lines.push(line);
  try {
    await work();
  } finally {
    console.error = before;
  }
  return lines;
}
