import assert from "node:assert/strict";
import { test } from "node:test";

import { array, boolean, get, int, number, object, ok, oneOf, optional, post, text } from "../comptoir/index.js";
import { serve } from "./helper.js";

const Line = object("Line", { id: int(), pieces: int(1, 255) });
const Order = object("Order", {
  items: array(Line, 0, 2),
  note: optional(text(0, 5)),
  colour: optional(oneOf("red", "blue"), "red"),
});

const order = () => serve(post("/orders", "public", (request) => ok(request.json()), { body: Order }));

test("a body becomes its type, with values for absent fields", async () => {
  const { body } = await order().post("/orders", { items: [{ id: -1, pieces: 2 }], note: null });
  assert.deepEqual(body.data, { items: [{ id: -1, pieces: 2 }], note: null, colour: "red" });
});

test("a wrong field is named by its path", async () => {
  const line = (other) => ({ items: [{ id: 1, pieces: 1 }, other] });
  const table = [
    [{ items: {} }, "The field items must be an array."],
    [{ items: [1, 2, 3] }, "The field items must have at most 2 items."],
    [line(7), "The field items[1] must be an object."],
    [line({ id: 1 }), "The field items[1].pieces is missing."],
    [line({ id: 1.5, pieces: 1 }), "The field items[1].id must be an integer."],
    [line({ id: 1, pieces: 256 }), "The field items[1].pieces must be an integer from 1 to 255."],
    [line({ id: 1, pieces: 1, size: 3 }), "The field items[1].size is unknown."],
    [{ items: [], note: "longer" }, "The field note must have at most 5 characters."],
    [{ items: [], note: "a\0" }, "The field note must not contain U+0000."],
    [{ items: [], note: "\ud800" }, "The field note must not contain unpaired surrogates."],
    [{ items: [], colour: "pink" }, "The field colour must be one of red, blue."],
    [{ items: [], colour: 7 }, "The field colour must be a string."],
    [{ items: [], "a\nb": 7 }, "The field a?b is unknown."],
    [{ colour: 7, a: 1 }, "The field items is missing."],
    [{ note: "longer", colour: 7, items: [] }, "The field note must have at most 5 characters."],
    [{ a: 1, items: [], colour: 7 }, "The field colour must be a string."],
  ];
  const app = order();
  for (const [sent, expected] of table) {
    const refused = await app.post("/orders", sent);
    assert.deepEqual([...refused.outcome, refused.body.error.message], [422, "INVALID_FIELD", expected]);
  }
  assert.equal((await app.post("/orders", [])).body.error.message, "The body must be an object.");
  for (const name of ["constructor", "__proto__"]) {
    const body = `{"items":[],"${name}":1}`;
    const refused = await app.send("post", "/orders", body, { headers: { "content-type": "application/json" } });
    assert.equal(refused.body.error.message, `The field ${name} is unknown.`);
  }
});

test("a body that is not JSON is a 400 with the reason", async () => {
  const app = serve(post("/any", "public", (request) => ok(request.json())));
  const type = (value) => ({ headers: { "content-type": value } });
  const table = [
    ["{}", {}, "The body has no Content-Type. Send application/json."],
    ["{}", type("text/plain; charset=utf-8"), 'The body\'s Content-Type is "text/plain". Send application/json.'],
    ["{}", type("application/jsonp"), 'The body\'s Content-Type is "application/jsonp". Send application/json.'],
    ["", type("application/json"), "The body is empty. Send a JSON object."],
    ['{"a":', type("application/json"), "The body is not JSON."],
    ['{"a":NaN}', type("application/json"), "The body is not JSON."],
    [new Uint8Array([34, 255, 34]), type("application/json"), "The body is not JSON."],
  ];
  for (const [sent, options, expected] of table) {
    const refused = await app.send("post", "/any", sent, options);
    assert.deepEqual([...refused.outcome, refused.body.error.message], [400, "INVALID_BODY", expected]);
  }
  for (const accepted of ["Application/JSON; charset=utf-8", "application/problem+json"]) {
    assert.equal((await app.send("post", "/any", "[1]", type(accepted))).status, 200);
  }
  const long = await app.send("post", "/any", `"${"x".repeat(1 << 20)}"`, type("application/json"));
  assert.deepEqual(long.outcome, [413, "BODY_TOO_LARGE"]);
});

test("the query becomes its type, and a wrong parameter is named", async () => {
  const Filter = object("Filter", {
    limit: optional(int(1, 100), 10),
    after: optional(text()),
    all: optional(boolean()),
    low: optional(number()),
  });
  const app = serve(get("/things", "public", (request) => ok(request.queryFields()), { query: Filter }));
  const data = async (query) => (await app.get(`/things?${query}`)).body.data;
  assert.deepEqual(await data(""), { limit: 10, after: null, all: null, low: null });
  assert.deepEqual(await data("limit=5&after=a%20b&all=true&low=-1.5"), { limit: 5, after: "a b", all: true, low: -1.5 });
  const table = [
    ["limit=x", "The query parameter limit must be an integer from 1 to 100."],
    ["all=1", "The query parameter all must be a boolean."],
    ["limit=1&limit=2", "The query parameter limit is given twice."],
    ["other=1", "The query parameter other is unknown."],
    ["constructor=1", "The query parameter constructor is unknown."],
    ["__proto__=1", "The query parameter __proto__ is unknown."],
  ];
  for (const [query, expected] of table) {
    const refused = await app.get(`/things?${query}`);
    assert.deepEqual([...refused.outcome, refused.body.error.message], [400, "INVALID_QUERY", expected]);
  }
});
