// What the tests of all pages share: browser sessions that note every fault, and axe.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
export const WIDTHS = [1280, 390];
export const SCHEMES = ["light", "dark"];

// A page in a browser session of its own, and the faults that it notes. Its pages may only send requests to this address.
export async function open(browser, address, width, scheme) {
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
    if (!request.url().startsWith(address) && !request.url().startsWith("data:")) faults.push(`a request to another host: ${request.url()}`);
  });
  return { page, context, faults };
}

// What axe finds serious or critical. By the debugger's protocol, because the page's policy allows no other script.
export async function axe(page, context) {
  const debug = await context.newCDPSession(page);
  const run = (expression) => debug.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
  await run(AXE);
  const { result, exceptionDetails } = await run("axe.run(document, { resultTypes: ['violations'] })");
  await debug.detach();
  assert.equal(exceptionDetails, undefined, JSON.stringify(exceptionDetails));
  const serious = result.value.violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html, failureSummary }) => `${html} ${failureSummary}`).join("\n")}`);
}

// How many pixels the page is wider than the window.
export const tooWide = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

// Presses a key until the focused element has this name.
export async function reach(page, name, presses = 60) {
  for (let press = 0; press < presses; press++) {
    await page.keyboard.press("Tab");
    const focused = await page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? document.activeElement?.textContent);
    if (focused === name) return;
  }
  assert.fail(`the keyboard does not reach ${name}`);
}
