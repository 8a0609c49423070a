// A host in a process and a folder of its own, and traffic for it.

import { spawn } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { get as request } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "../../..");
const program = process.env.COMPTOIR ?? join(root, "target/debug/comptoir");
const components = join(root, "target/wasm32-wasip2/component");

// The shop, on ports that the system picks.
function manifest() {
  const text = readFileSync(join(root, "host/comptoir.toml"), "utf8");
  return text.replace(/127\.0\.0\.1:80\d\d/g, "127.0.0.1:0").replaceAll("../target/wasm32-wasip2/component/", "")
    .replace('watch = "30s"', 'watch = "5m"')
    // On a busy machine nothing is refused because it waits: only something that never happens takes that long.
    .replace('time = "30s" ', 'time = "5m" ').replace('cpu = "1s" ', 'cpu = "5m" ').replace('queue_time = "1s" ', 'queue_time = "5m" ')
    .replace("# [passwords]", "[passwords]").replace('# queue_time = "5s"', 'queue_time = "5m"')
    .replace('# probe_time = "5s"', 'probe_time = "5m"').replace('# compile_time = "1m"', 'compile_time = "10m"');
}

// The file of a component, or a copy that differs in a custom section and so has another digest.
export function component(name, variant) {
  const bytes = readFileSync(join(components, `${name}.wasm`));
  if (variant === undefined) return bytes;
  const text = Buffer.from(`variant${variant}`);
  return Buffer.concat([bytes, Buffer.from([0, text.length + 1, 7]), text]);
}

// Starts a host and waits until it serves.
export async function start() {
  const folder = mkdtempSync(join(tmpdir(), "comptoir-browser-"));
  const file = join(folder, "comptoir.toml");
  writeFileSync(file, manifest());
  for (const name of ["auth", "user", "orders", "front"]) copyFileSync(join(components, `${name}.wasm`), join(folder, `${name}.wasm`));
  const arguments_ = ["serve", "--log", "error", "--manifest", file, "--data", join(folder, "data")];
  if (process.env.COMPTOIR_CACHE) arguments_.push("--cache", process.env.COMPTOIR_CACHE);
  const child = spawn(program, arguments_, { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise((end) => child.once("exit", end));
  const { gateway, admin } = await addresses(child, ended);
  const token = readFileSync(join(folder, "data/admin.token"), "utf8").trim();
  const stop = async () => {
    child.kill("SIGTERM");
    await ended;
    rmSync(folder, { recursive: true });
  };
  const api = async (method, path, body) => {
    const response = await fetch(admin + path, { method, body, headers: { authorization: `Bearer ${token}` } });
    const answer = await response.json();
    if (!response.ok) throw new Error(`${method} ${path}: ${JSON.stringify(answer)}`);
    return answer.data;
  };
  return { gateway, admin, token, api, stop };
}

async function addresses(child, ended) {
  let said = "";
  const found = (name) => said.match(new RegExp(`^\\s*${name}\\s.*?(http://[0-9.:]+)`, "m"))?.[1];
  child.stdout.setEncoding("utf8");
  const read = new Promise((done) => child.stdout.on("data", (text) => {
    said += text;
    if (found("gateway") && found("admin") && said.endsWith("\n")) done();
  }));
  await Promise.race([read, ended.then(() => { throw new Error(`the host ended before it served: ${said}`); })]);
  return { gateway: found("gateway"), admin: found("admin") };
}

// Sends requests like those of a shop until it is stopped.
export function traffic(host) {
  let running = true;
  // From many addresses, so that a canary gets its share of the callers.
  const get = (path, caller) => new Promise((done) => {
    const sent = request(host.gateway + path, { localAddress: `127.0.0.${1 + caller % 200}` }, (response) => response.resume().on("end", done));
    sent.on("error", done);
  });
  const done = (async () => {
    for (let turn = 0; running; turn++) {
      const paths = ["/products", "/products?limit=10", `/products/${1 + turn % 5}`, "/products/none", "/orders", "/nowhere"];
      await Promise.all(paths.slice(0, 1 + turn % paths.length).map((path, index) => get(path, turn + 37 * index)));
      await new Promise((wake) => setTimeout(wake, 40 + 60 * (1 + Math.sin(turn / 25))));
    }
  })();
  return async () => {
    running = false;
    await done;
  };
}
