import assert from "node:assert/strict";
import { test } from "node:test";

import {
  HttpError, StorageError, created, defineService, del, empty, get, list, message, ok, post, put, query, raw, redirect,
} from "../comptoir/index.js";
import { logOf, serve } from "./helper.js";

test("replies have the envelope of the Rust kit", async () => {
  const replies = {
    ok: () => ok({ id: 1 }),
    list: () => list(["a", "b"]),
    message: () => message("Gone."),
    created: () => created(1).withMessage('It is "new".'),
    raw: () => raw("text/csv", "a,b\n"),
    bytes: () => raw("image/png", new Uint8Array([255])),
    empty: () => empty(),
    redirect: () => redirect("/ok"),
  };
  const app = serve(...Object.entries(replies).map(([name, reply]) => get(`/${name}`, "public", reply)));
  const seen = async (path) => {
    const { status, headers, text } = await app.get(path);
    return [status, headers["content-type"], text];
  };
  assert.deepEqual(await seen("/ok"), [200, "application/json", '{"success":true,"data":{"id":1}}']);
  assert.deepEqual(await seen("/list"), [200, "application/json", '{"success":true,"data":["a","b"],"count":2}']);
  assert.deepEqual(await seen("/message"), [200, "application/json", '{"success":true,"message":"Gone."}']);
  assert.deepEqual(await seen("/created"), [201, "application/json", '{"success":true,"data":1,"message":"It is \\"new\\"."}']);
  assert.deepEqual(await seen("/raw"), [200, "text/csv", "a,b\n"]);
  assert.deepEqual((await app.get("/bytes")).bytes, new Uint8Array([255]));
  assert.deepEqual(await seen("/empty"), [204, undefined, ""]);
  assert.deepEqual((await app.get("/redirect")).headers, { location: "/ok" });
});

test("a handler may be async, and a cookie is safe by default", async () => {
  const app = serve(get("/cat", "public", async () => ok(1).withCookie("cat", "Tom; é", { maxAge: 60 }).withStatus(202)));
  const { status, headers } = await app.get("/cat");
  assert.equal(status, 202);
  assert.equal(headers["set-cookie"], "cat=Tom%3B%20%C3%A9; Path=/; Secure; SameSite=Lax; HttpOnly; Max-Age=60");
});

test("an error has the envelope, and a 401 its challenge", async () => {
  const app = serve(
    get("/gone", "public", () => { throw new HttpError(404, "NO_CAT", "There is no such cat.", { details: { cat: 7 } }); }),
    get("/who", "public", () => { throw new HttpError(401, "NO_NAME", "Who are you?"); }),
    get("/later", "public", () => { throw new HttpError(503, "LATER", "Later.", { retryAfter: 7, headers: { "x-cat": "1" } }); }),
  );
  const { status, text } = await app.get("/gone");
  assert.equal(status, 404);
  assert.equal(text, '{"success":false,"error":{"code":"NO_CAT","message":"There is no such cat.","details":{"cat":7}}}');
  assert.equal((await app.get("/who")).headers["www-authenticate"], "Bearer");
  const { headers } = await app.get("/later");
  assert.deepEqual([headers["retry-after"], headers["x-cat"]], ["7", "1"]);
});

test("the client sees no text of a storage error", async () => {
  const table = [
    ["busy", 503, "STORAGE_BUSY", "1"],
    ["timed-out", 503, "STORAGE_TIMED_OUT", "1"],
    ["unavailable", 503, "STORAGE_UNAVAILABLE", "5"],
    ["constraint", 500, "INTERNAL_ERROR", undefined],
    ["denied", 500, "INTERNAL_ERROR", undefined],
    ["too-large", 500, "INTERNAL_ERROR", undefined],
    ["invalid", 500, "INTERNAL_ERROR", undefined],
  ];
  for (const [tag, status, code, retryAfter] of table) {
    const app = serve(get("/x", "public", () => { throw new StorageError({ tag, val: "the text" }); }));
    const lines = await logOf(async () => {
      const reply = await app.get("/x");
      assert.deepEqual([...reply.outcome, reply.headers["retry-after"]], [status, code, retryAfter]);
      assert.equal(reply.text.includes("the text"), false);
    });
    assert.equal(lines.length, status === 500 ? 1 : 0);
    if (status === 500) assert.match(lines[0], /the text/);
  }
});

test("an unknown error is a 500, and the log has its place but no quoted value", async () => {
  const app = serve(
    get("/text", "public", () => { throw "secret"; }),
    get("/bug", "public", () => JSON.parse('"secret').length),
    get("/nothing", "public", () => undefined),
    get("/big", "public", () => ok({ toJSON() { throw new Error("no JSON"); } })),
  );
  const failed = async (path) => {
    const lines = await logOf(async () => assert.deepEqual((await app.get(path)).outcome, [500, "INTERNAL_ERROR"]));
    assert.equal(lines.length, 1);
    return lines[0];
  };
  assert.equal(await failed("/text"), "internal error: the service threw a value of type string");
  const bug = await failed("/bug");
  assert.match(bug, /^internal error: SyntaxError: .*service\.test\.js:\d+/);
  assert.equal(/secret|\n/.test(bug), false, bug);
  assert.match(await failed("/nothing"), /the handler of GET \/nothing returned no reply/);
  assert.match(await failed("/big"), /no JSON/);
});

test("the most specific route answers, and other methods get a 405", async () => {
  const name = (text) => () => ok(text);
  const app = serve(
    get("/a/{x}", "public", (request) => ok(request.param("x"))),
    get("/a/b", "public", name("b")),
    put("/a/{x}", "public", name("put")),
    del("/a/{x}", "public", name("del")),
  );
  assert.equal((await app.get("/a/b")).body.data, "b");
  assert.equal((await app.get("/a/c%20d?x=1")).body.data, "c d");
  assert.equal((await app.get("/a/%ff")).body.data, null);
  assert.equal((await app.put("/a/b", {})).body.data, "put");
  const refused = await app.post("/a/b", {});
  assert.deepEqual([...refused.outcome, refused.headers.allow], [405, "METHOD_NOT_ALLOWED", "GET, HEAD, PUT, DELETE"]);
  assert.deepEqual((await app.get("/a/")).outcome, [404, "NOT_FOUND"]);
});

test("a row id is digits of 64 bits", async () => {
  const app = serve(get("/a/{id}", "public", (request) => ok(typeof request.id("id"))));
  const type = async (id) => (await app.get(`/a/${id}`)).body.data;
  assert.deepEqual([await type("7"), await type("9223372036854775807")], ["number", "bigint"]);
  for (const id of ["abc", "-1", "1.0", "%D9%A3", "9223372036854775808"]) assert.equal(await type(id), "object", id);
});

test("the stand-in enforces the access of each route", async () => {
  const name = (request) => ok(request.caller?.username ?? request.callingService);
  const app = serve(...["public", "user", "admin", "internal"].map((access) => get(`/${access}`, access, name)));
  const outcome = async (path, options) => (await app.get(path, options)).outcome[0];
  const [ada, root, peer] = [{ by: "ada" }, { by: "root", role: "admin" }, { service: "orders" }];
  const outcomes = async (path) => Promise.all([undefined, ada, root, peer].map((options) => outcome(path, options)));
  assert.deepEqual(await outcomes("/public"), [200, 200, 200, 403]);
  assert.deepEqual(await outcomes("/user"), [401, 200, 200, 403]);
  assert.deepEqual(await outcomes("/admin"), [401, 403, 200, 403]);
  assert.deepEqual(await outcomes("/internal"), [404, 404, 404, 200]);
});

test("a route sees its caller, and of other headers those that it declares", async () => {
  const app = serve(
    get("/me", "public", (request) => ok(request.user)),
    get("/one", "public", (request) => ok([request.header("x-a"), request.header("x-b"), request.cookie("cat")]), {
      headers: ["x-a", "cookie"],
    }),
  );
  const caller = { username: "ada", role: "user", session: null, isAdmin: false };
  assert.deepEqual((await app.get("/me", { by: "ada" })).body.data, caller);
  assert.deepEqual((await app.get("/me")).outcome, [401, "MISSING_TOKEN"]);
  const headers = { "x-a": "1", "x-b": "2", cookie: "cats=1; cat=Tom=2 ;x" };
  assert.deepEqual((await app.get("/one", { headers })).body.data, ["1", null, "Tom=2"]);
});

test("a session that has ended writes nothing", async () => {
  const write = (request) => ok(request.transaction((open) => open.execute("INSERT INTO things (name) VALUES ('a')")));
  const app = serve(post("/things", "user", write), get("/things", "public", () => list(query("SELECT * FROM things"))));
  assert.deepEqual((await app.post("/things", {}, { by: "ada", sessionEnded: true })).outcome, [401, "INVALID_TOKEN"]);
  assert.equal((await app.get("/things")).body.count, 0);
  assert.deepEqual((await app.post("/things", {}, { by: "ada" })).outcome, [200]);
});

test("the health request asks the database", async () => {
  const app = serve();
  assert.deepEqual((await app.get("/health")).body, { status: "healthy", service: "things" });
  app.database.close();
  const lines = await logOf(async () => assert.equal((await app.get("/health")).status, 503));
  assert.match(lines[0], /^health check failed/);
});

test("a wrong route table fails at the build and names the route", () => {
  const handler = () => empty();
  const define = (...routes) => () => defineService({ name: "x", routes });
  assert.throws(() => get("todos", "public", handler), /GET todos: the path of a route begins with \//);
  assert.throws(() => get("/todos", "everyone", handler), /GET \/todos: the access is everyone, but must be/);
  assert.throws(() => post("/todos", "user"), /POST \/todos: the handler is not a function/);
  assert.throws(define(get("/a/{x}", "user", handler), get("/a/{y}", "user", handler)), /two routes are GET \/a\/\{\}/);
});

test("the time is the host's, and dates stay dates", () => {
  const [before, now, after] = [performance.timeOrigin + performance.now(), Date.now(), new Date()];
  assert.equal(Math.abs(now - before) < 60_000 && after - now >= 0, true);
  assert.equal(new Date("2024-02-29T12:00:00Z").toISOString(), "2024-02-29T12:00:00.000Z");
  const first = new Date(0);
  assert.deepEqual([first instanceof Date, first.constructor === Date, Date.UTC(1970, 0)], [true, true, 0]);
  assert.equal(typeof Date(), "string");
});
