// What visitors of the shop do on several pages.

import { watched } from "../browser.mjs";

// A name that would run as code if a page made markup of it.
export const HOSTILE = `<img src="x" onerror="window.attacked = true">`;

export const PASSWORD = "three blue teapots";

export const PLACED = /^Your order \d+ was placed\.$/;
export const CANCELLED = /^The order \d+ is cancelled\.$/;

// A page of a new visitor, with the articles.
export async function visit(shop, width = 1280, scheme = "light", options) {
  const visitor = await watched(shop.browser, shop.host.gateway, width, scheme, options);
  await open(visitor.page, shop, "/");
  return visitor;
}

// Loads a page and waits until its script has written it.
export async function open(page, shop, path) {
  await page.goto(shop.host.gateway + path);
  await written(page);
}

export async function written(page) {
  await page.locator("#watch").waitFor();
  await page.locator("main:not([aria-busy]) h1").waitFor();
}

// Follows a link of the navigation.
export async function follow(page, name) {
  await page.getByRole("navigation").getByRole("link", { name, exact: true }).click();
  await page.getByRole("navigation").locator(`a[aria-current="page"]`, { hasText: name }).waitFor();
  await written(page);
}

export const press = (page, name) => page.getByRole("button", { name, exact: true }).click();

// Waits for what the page tells its user.
export const told = (page, text) => page.locator("#status", { hasText: text }).waitFor();

// Waits for a message with the number of an order, and returns the number.
export async function toldOfOrder(page, message) {
  await told(page, message);
  return (await page.locator("#status").textContent()).match(/\d+/)[0];
}

export async function register(page, shop, name) {
  await open(page, shop, "/register");
  await page.getByLabel("Username").fill(name);
  await page.getByLabel("New password").fill(PASSWORD);
  await press(page, "Register");
  await told(page, `Welcome, ${name}.`);
}

export async function signIn(page, shop, name, password = PASSWORD) {
  await open(page, shop, "/login");
  await page.getByLabel("Username").fill(name);
  await page.getByLabel("Password").fill(password);
  await press(page, "Sign in");
  await told(page, `You are signed in as ${name}.`);
}

// Orders one of an article.
export async function order(page, shop, article) {
  await open(page, shop, "/");
  await press(page, `Add to cart: ${article}`);
  await told(page, `${article} is in your cart.`);
  await follow(page, /^Cart/);
  await press(page, "Place the order");
  return toldOfOrder(page, PLACED);
}

// The refusals that a visitor provokes. The browser reports each as an error of the network.
export const without = (faults, status) => faults.filter((fault) => !fault.includes(`status of ${status}`));
