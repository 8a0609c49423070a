// A deploy of the pages while visitors have them open.

import assert from "node:assert/strict";
import { tab } from "../browser.mjs";
import { component } from "../host.mjs";
import { PLACED, follow, open, press, register, told, visit, without, written } from "./visit.mjs";

// The component with another stylesheet: other bytes of the same length, under another immutable name.
async function restyled(gateway) {
  const page = await (await fetch(`${gateway}/cart`)).text();
  const [, digits] = page.match(/\/assets\/style\.([0-9a-f]{12})\.css/);
  // The first digit stays, because the kit sorts the paths.
  const others = digits[0] + [...digits.slice(1)].map((digit) => (digit === "0" ? "1" : "0")).join("");
  let bytes = component("front").toString("latin1");
  for (const [from, to] of [[`style.${digits}`, `style.${others}`], ["max-width: 64rem", "max-width: 63rem"]]) {
    assert.ok(bytes.includes(from), `the component contains ${from}`);
    bytes = bytes.replaceAll(from, to);
  }
  return Buffer.from(bytes, "latin1");
}

const widthOfBody = (page) => page.evaluate(() => getComputedStyle(document.body).maxWidth);

// Waits until the footer shows a revision of front, with what the cache did. Returns the revision.
async function footer(page, revision = "[0-9a-f]{12}", cache = "[a-z ]+") {
  const shown = page.locator("#revisions", { hasText: new RegExp(`front ${revision} \\(${cache}\\)`) });
  await shown.waitFor();
  return (await shown.textContent()).match(/front ([0-9a-f]{12})/)[1];
}

export async function twoOpenTabsSurviveADeploy(shop) {
  const { page: first, context, faults } = await visit(shop);
  await register(first, shop, "pia");
  await press(first, "Add to cart: iPad Air");
  const second = await tab(context, shop.host.gateway, faults);
  await open(second, shop, "/cart");
  const before = await footer(first);
  await press(first, "Ask every second");
  await footer(first, before, "hit");
  const late = await halfLoaded(shop);

  await shop.host.api("PUT", "/services/front?reason=narrower", await restyled(shop.host.gateway));

  // The footer shows the swap.
  const after = await footer(first, `(?!${before})[0-9a-f]{12}`);
  await late.arrives();

  // Both go on with the scripts that they have. Their access tokens expire at the same moment.
  for (const page of [first, second]) await expire(page);
  await Promise.all([follow(first, "Profile"), follow(second, "My orders")]);
  await first.getByRole("heading", { name: "Profile of pia" }).waitFor();
  await second.getByText("You have no orders yet.").waitFor();
  await follow(second, /^Cart/);
  await press(second, "Place the order");
  await told(second, PLACED);
  assert.equal(await widthOfBody(first), "1024px");
  await first.reload();
  await written(first);
  assert.equal(await widthOfBody(first), "1008px", "a reload shows the new pages");
  assert.equal(await footer(first), after);
  assert.deepEqual(without(faults, 401), []);
  await context.close();
}

// A visitor who has the page of the active revision, but none of its assets yet.
async function halfLoaded(shop) {
  const context = await shop.browser.newContext();
  const faults = [];
  const page = await tab(context, shop.host.gateway, faults);
  let release;
  const released = new Promise((done) => { release = done; });
  await page.route("**/assets/**", async (route) => {
    await released;
    await route.continue();
  });
  const asked = page.waitForRequest(/\/assets\/style\./);
  await page.goto(`${shop.host.gateway}/cart`, { waitUntil: "commit" });
  const stylesheet = (await asked).url();
  const arrives = async () => {
    release();
    await written(page);
    assert.equal(await widthOfBody(page), "1024px", "the stylesheet of the page's own revision");
    assert.deepEqual(faults, []);
    const asset = await fetch(stylesheet);
    const current = await (await fetch(`${shop.host.gateway}/cart`)).text();
    assert.equal(asset.status, 200);
    assert.ok(!current.includes(new URL(stylesheet).pathname), "the new revision names another stylesheet");
    await context.close();
  };
  return { arrives };
}

// The next request for data is refused, as if the access token had expired.
const expire = (page) => page.route(/\/(users|orders|auth)\b/, (route) => route.fulfill({
  status: 401, contentType: "application/json", body: JSON.stringify({ error: { code: "INVALID_TOKEN", message: "The token has expired." } }),
}), { times: 1 });
