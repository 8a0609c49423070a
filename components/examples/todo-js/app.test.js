import assert from "node:assert/strict";
import { test } from "node:test";

import * as app from "./app.js";
import { install } from "./comptoir/native.js";

const ada = { by: "ada" };

test("a user creates a todo that everyone sees", async () => {
  const todos = install(app);
  const { status, body } = await todos.post("/todos", { title: "milk" }, ada);
  assert.deepEqual([status, body.data], [201, { id: 1, owner: "ada", title: "milk", done: false }]);
  assert.deepEqual((await todos.get("/todos")).body, { success: true, data: [body.data], count: 1 });
});

test("a wrong title is refused with the field's name", async () => {
  const todos = install(app);
  const refused = await todos.post("/todos", { title: "" }, ada);
  assert.deepEqual(refused.outcome, [422, "INVALID_FIELD"]);
  assert.deepEqual(refused.body.error.details, { field: "title" });
});

test("only users create todos, and only admins delete them", async () => {
  const todos = install(app);
  assert.deepEqual((await todos.post("/todos", { title: "milk" })).outcome, [401, "MISSING_TOKEN"]);
  await todos.post("/todos", { title: "milk" }, ada);
  assert.deepEqual((await todos.del("/todos/1", ada)).outcome, [403, "FORBIDDEN"]);
  assert.deepEqual((await todos.del("/todos/1", { by: "root", role: "admin" })).outcome, [204]);
});

test("an import with a title that exists leaves nothing behind", async () => {
  const todos = install(app);
  await todos.post("/todos", { title: "milk" }, ada);
  const refused = await todos.post("/todos/import", { titles: ["bread", "milk"] }, ada);
  assert.deepEqual(refused.outcome, [409, "TODO_EXISTS"]);
  assert.equal((await todos.get("/todos")).body.count, 1);
});

test("only the owner changes a todo", async () => {
  const todos = install(app);
  await todos.post("/todos", { title: "milk" }, ada);
  assert.deepEqual((await todos.put("/todos/1", { done: true }, { by: "bob" })).outcome, [404, "TODO_NOT_FOUND"]);
  assert.equal((await todos.put("/todos/1", { done: true }, ada)).body.data.done, true);
  assert.equal((await todos.get("/todos?state=open")).body.count, 0);
});
