// Where the tokens are, and what other sites and foreign scripts can do.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { follow, open, register, visit } from "./visit.mjs";

export async function noScriptCanReadAToken(shop) {
  const { page, context, faults } = await visit(shop);
  await register(page, shop, "ira");
  await follow(page, "Profile");
  const readable = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, { ...window.history.state }]));
  assert.equal(readable, JSON.stringify([{ "signed-in": "1" }, {}, "", {}]));
  const cookies = await context.cookies(`${shop.host.gateway}/session`);
  assert.deepEqual(cookies.map(({ name, path, httpOnly, secure, sameSite }) => ({ name, path, httpOnly, secure, sameSite })),
    [{ name: "session", path: "/session", httpOnly: true, secure: true, sameSite: "Strict" }]);
  assert.deepEqual(await context.cookies(`${shop.host.gateway}/orders`), [], "only /session gets the cookie");
  assert.deepEqual(faults, []);

  // Even a mistake in a script makes no markup of a text, and no code.
  const refused = await page.evaluate(() => ["innerHTML", "textContent"].map((sink) => {
    const element = document.createElement(sink === "innerHTML" ? "p" : "script");
    try {
      element[sink] = "window.attacked = true";
      document.body.append(element);
      return "accepted";
    } catch (error) {
      return error.name;
    }
  }));
  assert.deepEqual(refused, ["TypeError", "TypeError"]);
  assert.equal(await page.evaluate(() => window.attacked), undefined);
  await context.close();
}

// Another origin of the same site, to which browsers do send the cookie: only the service can tell.
export async function anotherOriginCannotUseTheSession(shop) {
  const { page, context } = await visit(shop);
  await register(page, shop, "lea");
  const { gateway } = shop.host;
  const site = createServer((_, response) => response.setHeader("content-type", "text/html").end(`<!doctype html>
    <form action="${gateway}/session" method="post" enctype="text/plain"><input name='{"username":"admin","password":"admin","x":"' value='"}'></form>`));
  await new Promise((listening) => site.listen(0, "127.0.0.1", listening));
  const attacker = await context.newPage();
  await attacker.goto(`http://127.0.0.1:${site.address().port}/`);
  const refused = await attacker.evaluate(async (session) => {
    const attempts = ["PUT", "DELETE"].map((method) => fetch(session, { method, credentials: "include", headers: { "x-front": "1" } }));
    return (await Promise.allSettled(attempts)).map(({ status }) => status);
  }, `${gateway}/session`);
  assert.deepEqual(refused, ["rejected", "rejected"]);
  const [answer] = await Promise.all([
    attacker.waitForResponse(`${gateway}/session`),
    attacker.evaluate(() => document.querySelector("form").submit()),
  ]);
  assert.equal(answer.status(), 403);
  await open(page, shop, "/profile");
  await page.getByRole("heading", { name: "Profile of lea" }).waitFor();
  await context.close();
  await new Promise((closed) => site.close(closed));
}
