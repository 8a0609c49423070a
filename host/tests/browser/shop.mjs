// Tests the shop's pages in Debian's chromium: every page, wide and narrow, light and dark, with the keyboard, with axe and without
// scripts; what visitors, administrators and attackers do there; and a deploy while they do it.
//
//     node shop.mjs                        tests
//     node shop.mjs --screenshots FOLDER   writes shop-*.png

import assert from "node:assert/strict";
import { join } from "node:path";
import { SCHEMES, WIDTHS, axe, excess, launch } from "./browser.mjs";
import { start } from "./host.mjs";
import * as buying from "./shop/buying.mjs";
import * as deploys from "./shop/deploys.mjs";
import * as sessions from "./shop/sessions.mjs";
import { HOSTILE, open, order, press, register, signIn, visit } from "./shop/visit.mjs";

const folder = process.argv[2] === "--screenshots" ? process.argv[3] : null;

// The buyer of the tests. In pictures, somebody with a better name.
const BUYER = folder ? "ada" : HOSTILE;

// Each page: its name, its path, and what only its script writes.
const FOR_ANYONE = [
  ["articles", "/", ".articles button"],
  ["cart", "/cart", "main table"],
  ["login", "/login", "form"],
  ["register", "/register", "form"],
];
const FOR_BUYERS = [
  ["my-orders", "/my-orders", "article.card button"],
  ["profile", "/profile", "tbody tr"],
];
const FOR_ADMINISTRATORS = [
  ["users", "/admin/users", "tbody tr"],
  ["stock", "/admin/stock", "tbody tr"],
  ["orders", "/admin/orders", "article.card button"],
];

const host = await start();
const browser = await launch();
const shop = { host, browser };
try {
  shop.order = await anOrder();
  if (folder) await screenshots();
  else await tests();
} finally {
  await browser.close();
  await host.stop();
}

// Somebody who has ordered something, so that every page has something to show.
async function anOrder() {
  const { page, context } = await visit(shop);
  await register(page, shop, BUYER);
  const number = await order(page, shop, "Laptop Dell XPS 13");
  await context.close();
  return number;
}

async function tests() {
  for (const width of WIDTHS) {
    for (const scheme of SCHEMES) await everyPage(width, scheme);
  }
  for (const [name, test] of [...Object.entries(buying), ...Object.entries(sessions), ...Object.entries(deploys)]) {
    await test(shop);
    console.log(`ok: ${name}`);
  }
  console.log("the shop's pages are fine");
}

async function everyPage(width, scheme) {
  await each(width, scheme, async (name, page, context, faults) => {
    name = `${name} at ${width} in ${scheme}`;
    assert.equal(await excess(page), 0, `${name}: pixels beyond the width`);
    assert.deepEqual(await axe(page, context), [], name);
    assert.equal(await page.evaluate(() => window.attacked), undefined, `${name}: a name ran as code`);
    assert.deepEqual(faults, [], name);
    console.log(`ok: ${name}`);
  });
}

// Shows every page to those for whom it is.
async function each(width, scheme, look) {
  for (const [pages, enter] of [
    [FOR_ANYONE, (page) => press(page, "Add to cart: iPad Air")],
    [FOR_BUYERS, (page) => signIn(page, shop, BUYER)],
    [FOR_ADMINISTRATORS, (page) => signIn(page, shop, "admin", "admin")],
  ]) {
    const { page, context, faults } = await visit(shop, width, scheme);
    await enter(page);
    for (const [name, path, complete] of pages) {
      await open(page, shop, path);
      if (name === "orders") {
        await page.getByLabel("Number of the order").fill(shop.order);
        await press(page, "Open");
      }
      await page.waitForSelector(complete);
      await look(name, page, context, faults);
    }
    await context.close();
  }
}

async function screenshots() {
  for (const [width, scheme, suffix] of [[1280, "light", ""], [1280, "dark", "-dark"], [390, "light", "-narrow"]]) {
    await each(width, scheme, async (name, page) => {
      if (name === "register" || (suffix !== "" && name !== "articles")) return;
      await page.screenshot({ path: join(folder, `shop-${name}${suffix}.png`), fullPage: true });
    });
  }
}
