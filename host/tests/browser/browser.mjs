// What the tests of all pages share: the browser, what counts as a fault, axe, and the keyboard.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const WIDTHS = [1280, 390];
export const SCHEMES = ["light", "dark"];

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });

// A page of its own browser session. Keeps in `faults` every error, every complaint of the browser, and every request to another
// host than `origin`.
export async function watched(browser, origin, width, scheme, options) {
  const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme: scheme, ...options });
  const faults = [];
  const page = await tab(context, origin, faults);
  return { page, context, faults };
}

// One more page of the same session.
export async function tab(context, origin, faults) {
  const page = await context.newPage();
  // Only something that never happens takes that long, also on a busy machine.
  page.setDefaultTimeout(300_000);
  page.on("pageerror", (error) => faults.push(`an error: ${error}`));
  page.on("console", (message) => {
    if (message.type() === "error") faults.push(`the browser complains: ${message.text()}`);
  });
  page.on("request", (request) => {
    const isOwn = ["data:", `${origin}/`].some((start) => request.url().startsWith(start));
    if (!isOwn) faults.push(`a request to another host: ${request.url()}`);
  });
  return page;
}

// What axe finds serious or critical. By the debugger's protocol, because the pages' policies allow no other script.
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

// By how many pixels the page is too wide for its window.
export const excess = (page) =>
  page.evaluate(() => Math.max(0, document.documentElement.scrollWidth - document.documentElement.clientWidth));

// Presses Tab until the element with this name or text has the focus.
export async function reach(page, name, limit = 60) {
  for (let presses = 0; presses < limit; presses++) {
    await page.keyboard.press("Tab");
    const focused = await page.evaluate(() => {
      const element = document.activeElement;
      return element?.getAttribute("aria-label") ?? (element?.labels?.[0] ?? element)?.textContent;
    });
    if (focused?.trim() === name) return;
  }
  assert.fail(`the keyboard does not reach ${name}`);
}
