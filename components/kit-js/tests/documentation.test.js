import assert from "node:assert/strict";
import { test } from "node:test";

import { array, defineService, empty, get, getProbe, int, object, optional, post, postProbe, text } from "../comptoir/index.js";

const Thing = object("Thing", { id: int(1), tags: array(object("Tag", { name: text(1, 9) })) });
const Filter = object("Filter", { limit: optional(int(1, 100)) });

function listThings() {
  return empty();
}

const { service } = defineService({
  name: "things",
  version: "1.2.3",
  migrations: ["CREATE TABLE a (id INTEGER) STRICT", "CREATE TABLE b (id INTEGER) STRICT"],
  probes: [getProbe("/things", { caller: "ada" }), postProbe("/things", { id: 1 })],
  routes: [
    get("/things", "public", listThings, { query: Filter, lists: Thing, headers: ["x-a"] }),
    post("/things/{id}", "user", () => empty(), { body: Thing, creates: Thing, errors: { 422: { FULL: "There is no room." } } }),
    post("/jobs", "internal", () => empty(), { body: object("Job", {}) }),
  ],
});

test("the description has the route table, the migrations and the probes", () => {
  const { documentation, ...description } = service.describe();
  assert.deepEqual(description, {
    name: "things",
    version: "1.2.3",
    health: "/health",
    routes: [
      { method: "get", path: "/things", access: "public", headers: ["x-a"] },
      { method: "post", path: "/things/{id}", access: "user", headers: [] },
      { method: "post", path: "/jobs", access: "internal", headers: [] },
    ],
    migrations: [
      { version: 1, sql: "CREATE TABLE a (id INTEGER) STRICT" },
      { version: 2, sql: "CREATE TABLE b (id INTEGER) STRICT" },
    ],
    schema: { minimum: 2, maximum: 2 },
    probes: [
      { method: "get", path: "/things", caller: "ada" },
      { method: "post", path: "/things", caller: undefined, body: '{"id":1}' },
    ],
  });
});

test("the document has an operation for each route that clients may call", () => {
  const { operations, schemas, errors } = JSON.parse(service.describe().documentation);
  assert.deepEqual(Object.keys(operations), ["GET /things", "POST /things/{id}"]);
  const [list, create] = Object.values(operations);
  assert.deepEqual([list.operationId, list.summary], ["listThings", "List things"]);
  assert.deepEqual([create.operationId, create.summary], ["postThingsId", "Post things id"]);
  const schema = { type: "integer", format: "int64", minimum: 1, maximum: 100 };
  assert.deepEqual(list.parameters, [{ name: "limit", in: "query", required: false, schema }]);
  assert.deepEqual(Object.keys(list.errors), ["400"]);
  assert.deepEqual(create.requestBody.content["application/json"].schema, { $ref: "#/components/schemas/Thing" });
  assert.deepEqual(Object.keys(create.responses), ["201"]);
  assert.deepEqual(Object.keys(create.errors[422]), ["INVALID_FIELD", "FULL"]);
  assert.deepEqual(Object.keys(schemas).sort(), ["Tag", "Thing"]);
  const properties = { name: { type: "string", minLength: 1, maxLength: 9 } };
  assert.deepEqual(schemas.Tag, { type: "object", properties, additionalProperties: false, required: ["name"] });
  assert.deepEqual(Object.keys(errors), ["503"]);
});

test("two types with one name are refused", () => {
  const other = object("Thing", {});
  const routes = [get("/a", "public", () => empty(), { gives: Thing }), get("/b", "public", () => empty(), { gives: other })];
  assert.throws(() => defineService({ name: "x", routes }), /there are two types Thing/);
});
