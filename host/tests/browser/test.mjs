// Tests the console in Debian's chromium: every page, wide and narrow, light and dark, with the keyboard, and with axe.
//
//     node test.mjs                        tests
//     node test.mjs --screenshots FOLDER   writes console-*.png

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { component, start, traffic } from "./host.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const folder = process.argv[2] === "--screenshots" ? process.argv[3] : null;
const WIDTHS = [1280, 390];
const SCHEMES = ["light", "dark"];

// Each page: its address, and what shows that it is complete.
const PAGES = [
  ["overview", "#/", "article.card .spark"],
  ["service", "#/services/orders", "tbody tr"],
  ["requests", "#/requests", "tbody tr"],
  ["rollout", "#/rollout", ".steps button"],
  ["history", "#/history", ".timeline .change"],
  ["keys", "#/keys", "tbody tr"],
  ["audit", "#/audit", "tbody tr"],
];

// A reason that would run as code if a page made markup of it.
const HOSTILE = `<img src="x" onerror="window.attacked = true">`;

const host = await start();
const stopTraffic = traffic(host);
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
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
  // Two samples of five seconds, or enough for a picture.
  const samples = folder ? 24 : 3;
  for (;;) {
    const { services } = await host.api("GET", "/traffic");
    if (services.orders.length >= samples) return;
    await new Promise((wake) => setTimeout(wake, 1000));
  }
}

// A page of its own browser session, which fails at any fault.
async function open(width, scheme) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: scheme });
  const page = await context.newPage();
  // Only something that never happens takes that long, also on a busy machine.
  page.setDefaultTimeout(300_000);
  const faults = [];
  page.on("pageerror", (error) => faults.push(`an error: ${error}`));
  page.on("console", (message) => {
    if (message.type() === "error") faults.push(`the browser complains: ${message.text()}`);
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(host.admin)) faults.push(`a request to another host: ${request.url()}`);
  });
  return { page, context, faults };
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

// What axe finds serious or critical. By the debugger's protocol, because the page's policy allows no other script.
async function axe(page, context) {
  const debug = await context.newCDPSession(page);
  const run = (expression) => debug.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
  await run(AXE);
  const { result, exceptionDetails } = await run("axe.run(document, { resultTypes: ['violations'] })");
  await debug.detach();
  assert.equal(exceptionDetails, undefined, JSON.stringify(exceptionDetails));
  const serious = result.value.violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("\n")}`);
}

async function tests() {
  for (const width of WIDTHS) {
    for (const scheme of SCHEMES) await everyPage(width, scheme);
  }
  await keyboardAlone();
  await aDeployInThePage();
  await aWrongToken();
  console.log("the console's pages are fine");
}

async function everyPage(width, scheme) {
  const { page, context, faults } = await open(width, scheme);
  await page.goto(host.admin);
  assert.deepEqual(await axe(page, context), [], "sign in");
  await signIn(page);
  for (const one of PAGES) {
    const name = `${one[0]} at ${width} in ${scheme}`;
    await show(page, one);
    const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(over <= 0, `${name}: the page is ${over} pixels too wide`);
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
  const reach = async (name) => {
    for (let presses = 0; presses < 60; presses++) {
      await page.keyboard.press("Tab");
      const focused = await page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent);
      if (focused === name) return;
    }
    assert.fail(`the keyboard does not reach ${name}`);
  };
  await reach("Keys");
  await page.keyboard.press("Enter");
  await page.waitForSelector("tbody tr");
  await reach("Rotate");
  await page.keyboard.press("Enter");
  await page.waitForSelector("dialog[open]");
  assert.deepEqual(await axe(page, context), [], "dialog");
  await page.keyboard.press("Escape");
  await page.waitForSelector("dialog", { state: "detached" });
  await reach("Sign out");
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

async function screenshots() {
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
