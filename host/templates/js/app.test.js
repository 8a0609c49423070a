import assert from "node:assert/strict";
import { test } from "node:test";

import * as app from "./app.js";
import { install } from "./comptoir/native.js";

const ada = { by: "ada" };

test("everybody reads the list and a user adds to it", async () => {
  const service = install(app);
  const added = await service.post("/NAME", { text: "milk" }, ada);
  assert.deepEqual([added.status, added.body.data], [201, { id: 1, owner: "ada", text: "milk" }]);
  assert.deepEqual((await service.get("/NAME")).body, { success: true, data: [added.body.data], count: 1 });
});

test("a new item needs a token and a text", async () => {
  const service = install(app);
  assert.deepEqual((await service.post("/NAME", { text: "milk" })).outcome, [401, "MISSING_TOKEN"]);
  assert.deepEqual((await service.post("/NAME", { text: "" }, ada)).outcome, [422, "INVALID_FIELD"]);
});
