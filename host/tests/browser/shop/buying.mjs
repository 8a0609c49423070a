// Visitors who read, buy, and look after their account.

import assert from "node:assert/strict";
import { axe, reach, watched } from "../browser.mjs";
import {
  CANCELLED, HOSTILE, PASSWORD, PLACED, follow, open, order, press, register, signIn, told, toldOfOrder, visit, without, written,
} from "./visit.mjs";

export async function readingNeedsNoScript(shop) {
  const { page, context, faults } = await watched(shop.browser, shop.host.gateway, 390, "light", { javaScriptEnabled: false });
  await page.goto(shop.host.gateway);
  const articles = await page.locator(".articles li").allInnerTexts();
  assert.equal(articles.length, 5);
  assert.match(articles[0], /Laptop Dell XPS 13[^]*1299\.00 EUR[^]*in stock/);
  assert.equal(await page.getByRole("button").count(), 0, "no button that does nothing");
  await page.goto(`${shop.host.gateway}/cart`);
  // This chromium parses the text, but does not show it, because only the page's scripts are off.
  assert.match(await page.content(), /<noscript>.*This page needs JavaScript\./s);
  assert.deepEqual(faults, []);
  await context.close();
}

// Fills a cart, registers on the way, orders two, and cancels.
export async function anOrderFromTheFirstVisitToItsEnd(shop) {
  const { page, context, faults } = await visit(shop, 390, "dark");
  await press(page, "Add to cart: iPad Air");
  await press(page, "Add to cart: Sony WH-1000XM5");
  await follow(page, /^Cart/);
  await page.getByLabel("Quantity of iPad Air").fill("2");
  await page.getByLabel("Quantity of iPad Air").press("Enter");
  await page.getByText("Total: €1,797.00").waitFor();
  await page.getByLabel("Quantity of Sony WH-1000XM5").fill("0");
  await page.getByLabel("Quantity of Sony WH-1000XM5").press("Enter");
  await page.getByText("Total: €1,398.00").waitFor();
  await press(page, "Sign in to order");
  await page.getByRole("link", { name: "Register." }).click();
  await page.getByLabel("Username").fill("bea");
  await page.getByLabel("New password").fill(PASSWORD);
  await press(page, "Register");
  await told(page, "Welcome, bea.");
  await page.getByRole("heading", { name: "Cart", exact: true }).waitFor();
  await press(page, "Place the order");
  await told(page, PLACED);
  const card = page.locator("article.card");
  assert.match(await card.innerText(), /pending[^]*bea on[^]*iPad Air[^]*2[^]*Total: €1,398\.00/);
  await card.getByRole("button", { name: /^Cancel/ }).click();
  await told(page, CANCELLED);
  await page.getByRole("heading", { name: /^Order \d+: cancelled$/ }).waitFor();
  assert.equal(await card.getByRole("button").count(), 0);
  await follow(page, /^Cart/);
  await page.getByText("Your cart is empty.").waitFor();
  assert.deepEqual(faults, []);
  await context.close();
}

// The same without a mouse.
export async function theKeyboardAloneIsEnough(shop) {
  const { page, context, faults } = await visit(shop);
  const { keyboard } = page;
  const choose = async (name) => {
    await reach(page, name);
    await keyboard.press("Enter");
  };
  await choose("Skip to the content");
  await keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Add to cart", "the navigation is skipped");
  await choose("Register");
  await page.getByRole("heading", { name: "Register" }).waitFor();
  await reach(page, "Username");
  await keyboard.type("kim");
  await reach(page, "New password");
  await keyboard.type(PASSWORD);
  await keyboard.press("Enter");
  await told(page, "Welcome, kim.");
  await choose("Add to cart: iPhone 15 Pro");
  await told(page, "iPhone 15 Pro is in your cart.");
  await choose("Cart (1)");
  await reach(page, "Quantity of iPhone 15 Pro");
  for (const [key, total] of [["ArrowUp", "€2,398.00"], ["ArrowUp", "€3,597.00"], ["ArrowDown", "€2,398.00"]]) {
    await keyboard.press(key);
    await page.getByText(`Total: ${total}`).waitFor();
    await page.locator("input:focus").waitFor();
  }
  await choose("Place the order");
  await choose(`Cancel: order ${await toldOfOrder(page, PLACED)}`);
  await told(page, CANCELLED);
  await choose("Sign out");
  await told(page, "You are signed out.");
  assert.deepEqual(faults, []);
  await context.close();
}

// A profile with markup in it, a password, and sessions in two browsers.
export async function aProfileWithItsSessions(shop) {
  const { page, context, faults } = await visit(shop);
  await register(page, shop, "mia");
  await order(page, shop, "Samsung Galaxy Watch");
  const other = await visit(shop);
  await signIn(other.page, shop, "mia");

  await follow(page, "Profile");
  await page.getByLabel("First name").fill(HOSTILE);
  await press(page, "Save");
  await told(page, "Your profile was saved.");
  assert.equal(await page.getByLabel("First name").inputValue(), HOSTILE);
  assert.equal(await page.locator("tbody tr").count(), 2);
  await page.getByRole("button", { name: /^End the session of/ }).click();
  await told(page, "The session has ended.");
  assert.equal(await page.locator("tbody tr").count(), 1);
  await other.page.getByRole("link", { name: "Profile" }).click();
  await other.page.getByText("Your session has ended. Sign in again.").waitFor();
  await other.page.getByRole("link", { name: "Sign in" }).waitFor();

  await page.getByLabel("Current password").fill("not this one");
  await page.getByLabel("New password").fill(`${PASSWORD}!`);
  await press(page, "Change");
  await page.locator("#status.wrong").waitFor();
  assert.deepEqual(await axe(page, context), [], "an error message");
  await page.getByLabel("Current password").fill(PASSWORD);
  await press(page, "Change");
  await told(page, "Your password was changed. Your other sessions have ended.");
  await press(page, "End all sessions");
  await told(page, "All your sessions have ended.");
  await signIn(page, shop, "mia", `${PASSWORD}!`);
  assert.deepEqual(without(faults, 401), []);
  await context.close();
  await other.context.close();
}

// What the administrator sees of a buyer whose name is markup, and the steps of an order.
export async function theAdministratorsPages(shop) {
  const { page, context, faults } = await visit(shop);
  await signIn(page, shop, "admin", "admin");
  await follow(page, "Users");
  await page.getByRole("cell", { name: HOSTILE, exact: true }).first().waitFor();
  await page.getByLabel("Username").fill("<b>nora</b>");
  await press(page, "Create");
  await told(page, "<b>nora</b> was created.");
  page.once("dialog", (dialog) => dialog.accept());
  await press(page, "Delete <b>nora</b>");
  await told(page, "<b>nora</b> was deleted.");
  assert.equal(await page.getByText("<b>nora</b>").count(), 1, "only the message");

  await follow(page, "Stock");
  assert.equal(await page.locator("tbody tr").count(), 5);

  await follow(page, "Orders");
  await page.getByLabel("Number of the order").fill(shop.order);
  await press(page, "Open");
  await page.getByText(HOSTILE).waitFor();
  for (const [label, status] of [["paid", "paid"], ["shipped", "shipped"], ["delivered", "delivered"]]) {
    await press(page, `Mark as ${label}: order ${shop.order}`);
    await told(page, `The order ${shop.order} is ${status}.`);
  }
  assert.equal(await page.locator("article.card button").count(), 0, "nothing is left to do");
  assert.equal(await page.evaluate(() => window.attacked), undefined);
  assert.deepEqual(faults, []);
  await context.close();

  const visitor = await visit(shop);
  await register(visitor.page, shop, "otto");
  await open(visitor.page, shop, "/admin/users");
  await visitor.page.getByText("Only administrators may see this page.").waitFor();
  await written(visitor.page);
  assert.deepEqual(visitor.faults, []);
  await visitor.context.close();
}
