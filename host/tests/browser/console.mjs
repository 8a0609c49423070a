// Tests the console and the API explorer in Debian's chromium: every page, wide and narrow, light and dark, with the keyboard, and with axe.
//
//     node console.mjs                        tests
//     node console.mjs --screenshots FOLDER   writes console-*.png

import assert from "node:assert/strict";
import { join } from "node:path";
import { SCHEMES, WIDTHS, axe, excess, launch, reach, watched } from "./browser.mjs";
import { testExplorer } from "./explorer.mjs";
import { component, start, traffic } from "./host.mjs";

const folder = process.argv[2] === "--screenshots" ? process.argv[3] : null;

// Each page: its address, and what shows that it is complete.
const PAGES = [
  ["overview", "#/", "article.card .spark"],
  ["service", "#/services/orders", "tbody tr"],
  ["requests", "#/requests", "tbody tr"],
  ["rollout", "#/rollout", ".steps button"],
  ["history", "#/history", ".timeline .change"],
  ["data", "#/data/auth/logins", "tbody tr"],
  ["sessions", "#/sessions", "tbody tr"],
  ["backups", "#/backups", "tbody tr"],
  ["keys", "#/keys", "tbody tr"],
  ["audit", "#/audit", "tbody tr"],
];

// A reason that would run as code if a page made markup of it.
const HOSTILE = `<img src="x" onerror="window.attacked = true">`;

const host = await start();
const stopTraffic = traffic(host);
const browser = await launch();
try {
  await prepare();
  if (folder) await screenshots();
  else await tests();
} finally {
  await browser.close();
  await stopTraffic();
  await host.stop();
}

// A deploy, a rollback and a canary, so that every page has something to show.
async function prepare() {
  const reason = encodeURIComponent(folder ? "prices with two digits" : HOSTILE);
  await host.api("PUT", `/services/orders?reason=${reason}`, component("orders", 1));
  await host.api("POST", `/services/orders/rollback?reason=${encodeURIComponent("customers complained")}`);
  await host.api("PUT", "/services/user?reason=faster", component("user", 1));
  await host.api("PUT", "/services/orders?canary=25%25&reason=again", component("orders", 2));
  await host.api("POST", "/backups");
  const login = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ username: "admin", password: "admin" }) };
  await fetch(`${host.gateway}/auth/login`, login);
  // Two samples of five seconds, or enough for a picture.
  const samples = folder ? 24 : 3;
  for (;;) {
    const { services } = await host.api("GET", "/traffic");
    if (services.orders.length >= samples) return;
    await new Promise((wake) => setTimeout(wake, 1000));
  }
}

function open(width, scheme) {
  return watched(browser, host.admin, width, scheme);
}

async function signIn(page) {
  await page.goto(host.admin);
  await page.getByLabel("Admin token").fill(host.token);
  await page.keyboard.press("Enter");
  await page.waitForSelector("article.card");
}

async function show(page, [, hash, complete]) {
  await page.goto(`${host.admin}/${hash}`);
  await page.waitForSelector(complete);
}

async function tests() {
  for (const width of WIDTHS) {
    for (const scheme of SCHEMES) await everyPage(width, scheme);
  }
  await keyboardAlone();
  await aDeployInThePage();
  await aWrongToken();
  await aRequestAndItsStatements();
  await aSessionEnds();
  await aBackup();
  await testExplorer(browser, host);
  console.log("the pages are fine");
}

async function everyPage(width, scheme) {
  const { page, context, faults } = await open(width, scheme);
  await page.goto(host.admin);
  assert.deepEqual(await axe(page, context), [], "sign in");
  await signIn(page);
  for (const one of PAGES) {
    const name = `${one[0]} at ${width} in ${scheme}`;
    await show(page, one);
    assert.equal(await excess(page), 0, `${name}: pixels beyond the width`);
    assert.deepEqual(await axe(page, context), [], name);
    assert.equal(await page.evaluate(() => window.attacked), undefined, `${name}: a reason ran as code`);
    assert.deepEqual(faults, [], name);
    console.log(`ok: ${name}`);
  }
  await context.close();
}

// Signs in, goes to a page, opens a dialog and closes it, without a mouse.
async function keyboardAlone() {
  const { page, context, faults } = await open(1280, "light");
  await page.goto(host.admin);
  await page.keyboard.type(host.token);
  await page.keyboard.press("Enter");
  await page.waitForSelector("article.card");
  await reach(page, "Keys");
  await page.keyboard.press("Enter");
  await page.waitForSelector("tbody tr");
  await reach(page, "Rotate");
  await page.keyboard.press("Enter");
  await page.waitForSelector("dialog[open]");
  assert.deepEqual(await axe(page, context), [], "dialog");
  await page.keyboard.press("Escape");
  await page.waitForSelector("dialog", { state: "detached" });
  await reach(page, "Sign out");
  await page.keyboard.press("Enter");
  await page.waitForSelector("#token");
  assert.deepEqual(faults, []);
  await context.close();
  console.log("ok: the keyboard alone");
}

// Deploys a file, sees the steps, and rolls back.
async function aDeployInThePage() {
  const { page, context, faults } = await open(1280, "dark");
  await signIn(page);
  await show(page, ["", "#/services/auth", "tbody tr"]);
  await page.getByLabel("Choose or drop a component").setInputFiles({ name: "auth.wasm", mimeType: "application/wasm", buffer: component("auth", 3) });
  await page.getByText("auth.wasm is active.").waitFor();
  assert.equal(await page.locator(".deploy-steps li.good").count(), 8);
  await page.getByRole("button", { name: /^Roll back to/ }).first().click();
  await page.getByLabel("Reason, for the history").fill(HOSTILE);
  await page.getByRole("button", { name: "Roll back", exact: true }).click();
  await page.waitForSelector("dialog", { state: "detached" });
  await page.getByText(HOSTILE).first().waitFor();
  await page.getByLabel("Choose or drop a component").setInputFiles({ name: "broken.wasm", mimeType: "application/wasm", buffer: Buffer.from("no wasm") });
  await page.getByText("The active revision keeps serving.").waitFor();
  assert.equal(await page.evaluate(() => window.attacked), undefined);
  // The browser reports the refusal of the broken file as an error of the network.
  assert.deepEqual(faults.filter((fault) => !fault.includes("status of 422")), []);
  await context.close();
  console.log("ok: a deploy, a rollback and a refusal in the page");
}

async function aWrongToken() {
  const { page, context } = await open(390, "light");
  await page.goto(host.admin);
  await page.getByLabel("Admin token").fill("not the token");
  await page.keyboard.press("Enter");
  await page.getByText("This is not the admin token of this host.").waitFor();
  await context.close();
  console.log("ok: a wrong token");
}

// Looks at one request: its calls and SQL statements.
async function aRequestAndItsStatements() {
  const { page, context, faults } = await open(390, "dark");
  await signIn(page);
  await show(page, ["", "#/requests", "tbody tr"]);
  // From now on all requests are kept, until a minute after the last look.
  const login = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ username: "admin", password: "admin" }) };
  const { headers } = await fetch(`${host.gateway}/auth/login`, login);
  await show(page, ["", `#/requests/${headers.get("x-request-id")}`, ".statements li"]);
  await page.getByText("BEGIN", { exact: true }).first().waitFor();
  assert.ok(!(await page.content()).includes("argon2"));
  assert.equal(await excess(page), 0);
  assert.deepEqual(await axe(page, context), []);
  assert.deepEqual(faults, []);
  await context.close();
  console.log("ok: a request and its SQL statements");
}

async function aSessionEnds() {
  const { page, context, faults } = await open(1280, "light");
  await signIn(page);
  await show(page, ["", "#/sessions", "tbody tr"]);
  const before = await page.locator("tbody tr").count();
  await page.getByRole("button", { name: /^End the session/ }).first().click();
  await page.getByRole("button", { name: "End", exact: true }).last().click();
  await page.waitForSelector("dialog", { state: "detached" });
  assert.equal(await page.locator("tbody tr").count(), before - 1);
  assert.deepEqual(faults, []);
  await context.close();
  console.log("ok: a session is ended in the page");
}

async function aBackup() {
  const { page, context, faults } = await open(1280, "light");
  await signIn(page);
  await show(page, ["", "#/backups", "tbody tr"]);
  await page.getByRole("button", { name: "Back up now" }).click();
  await page.getByText("complete", { exact: true }).waitFor();
  await page.locator("tbody tr").nth(1).waitFor();
  assert.deepEqual(faults, []);
  await context.close();
  console.log("ok: a backup in the page");
}

// A picture of a swap under load, for README: a file is dropped, its steps follow, and no request fails.
async function swapPicture() {
  await host.api("POST", "/canary/abort");
  const { page, context } = await open(1280, "light");
  await signIn(page);
  await show(page, ["", "#/services/orders", "tbody tr"]);
  await page.getByLabel("Choose or drop a component").setInputFiles({ name: "orders.wasm", mimeType: "application/wasm", buffer: component("orders", 4) });
  await page.getByText("orders.wasm is active.").waitFor();
  await page.waitForSelector(".status.connected");
  // One sample of the new revision.
  await page.waitForTimeout(6000);
  await page.screenshot({ path: join(folder, "console-swap.png") });
  await context.close();
  await host.api("PUT", "/services/orders?canary=25%25&reason=again", component("orders", 2));
}

async function screenshots() {
  await swapPicture();
  for (const [width, scheme, suffix] of [[1280, "light", ""], [1280, "dark", "-dark"], [390, "light", "-narrow"]]) {
    const { page, context } = await open(width, scheme);
    await signIn(page);
    for (const one of PAGES) {
      if (suffix !== "" && one[0] !== "overview") continue;
      await show(page, one);
      await page.waitForSelector(".status.connected");
      await page.screenshot({ path: join(folder, `console-${one[0]}${suffix}.png`), fullPage: true });
    }
    await context.close();
  }
}
