// Speaks the admin API of the host that served this page.

// The page's half of the session. The other half is a cookie that no script can read, and neither is enough alone.
const KEY = "comptoir-console-key";

// The host refused a request. `code` is the one of the envelope.
export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `The host answered ${status}`);
    this.status = status;
    this.code = error?.code ?? "";
    this.step = error?.details?.step ?? null;
  }
}

export function isSignedIn() {
  return localStorage.getItem(KEY) !== null;
}

export async function signIn(token) {
  const headers = { authorization: `Bearer ${token}` };
  const { key } = await read(await fetch("/session", { method: "POST", headers }));
  localStorage.setItem(KEY, key);
}

export async function signOut() {
  try {
    await call("DELETE", "/session");
  } finally {
    forget();
  }
}

function forget() {
  localStorage.removeItem(KEY);
  dispatchEvent(new Event("signed-out"));
}

function send(method, path, options = {}) {
  const headers = { ...options.headers, "x-comptoir-console": localStorage.getItem(KEY) ?? "" };
  const query = new URLSearchParams(Object.entries(options.query ?? {}).filter(([, value]) => value !== undefined));
  const target = query.size > 0 ? `${path}?${query}` : path;
  return fetch(target, { method, headers, body: options.body, signal: options.signal });
}

async function read(response) {
  const answer = await response.json().catch(() => null);
  if (response.ok && answer?.success) return answer.data;
  throw new Refused(response.status, answer?.error);
}

// Sends a request and returns `data` of the answer.
export async function call(method, path, options) {
  try {
    return await read(await send(method, path, options));
  } catch (error) {
    if (error.code === "SESSION_ENDED") forget();
    throw error;
  }
}

export const get = (path, options) => call("GET", path, options);

// Reads server-sent events until the connection ends. A browser's `EventSource` cannot send the header with the key.
export async function* events(signal) {
  const response = await send("GET", "/events", { signal });
  if (!response.ok) {
    const { error } = (await response.json().catch(() => null)) ?? {};
    if (error?.code === "SESSION_ENDED") forget();
    throw new Refused(response.status, error);
  }
  let rest = "";
  for await (const text of texts(response.body)) {
    const blocks = (rest + text).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
      if (data.length > 0) yield JSON.parse(data.join("\n"));
    }
  }
}

async function* texts(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
