// Tests the API explorer: wide and narrow, light and dark, with the keyboard, and with axe.

import assert from "node:assert/strict";
import { SCHEMES, WIDTHS, axe, excess, reach, watched } from "./browser.mjs";

// One operation of each method, and what shows that it is open.
const OPERATIONS = ["auth.logIn", "orders.listOrders", "orders.changeOrder", "user.deleteUser"];

export async function testExplorer(browser, host) {
  for (const width of WIDTHS) {
    for (const scheme of SCHEMES) await looksRight(browser, host, width, scheme);
  }
  await oneSignIn(browser, host);
  await keyboardAlone(browser, host);
}

async function show(browser, host, width, scheme) {
  const opened = await watched(browser, host.gateway, width, scheme);
  await opened.page.goto(`${host.gateway}/docs`);
  await opened.page.waitForSelector(".opblock");
  await opened.page.waitForSelector("#sign-in:not([hidden])");
  return opened;
}

// Swagger UI writes a backslash before the dot of an id.
const operation = (page, id) => page.locator(`[id$="-${id.replace(".", "\\\\.")}"]`);

// The browser reports a refusal of the host as an error of the network.
const isNoRefusal = (fault) => !fault.includes("Failed to load resource");

async function looksRight(browser, host, width, scheme) {
  const name = `the explorer at ${width} in ${scheme}`;
  const { page, context, faults } = await show(browser, host, width, scheme);
  for (const id of OPERATIONS) await operation(page, id).locator(".opblock-summary-control").click();
  await operation(page, "orders.changeOrder").getByText("INVALID_TRANSITION", { exact: true }).first().waitFor();
  await operation(page, "auth.logIn").locator(".execute").click();
  await operation(page, "auth.logIn").locator(".live-responses-table").waitFor();
  assert.equal(await excess(page), 0, `${name}: pixels beyond the width`);
  assert.deepEqual(await axe(page, context), [], name);
  await page.getByRole("button", { name: "Authorize" }).click();
  await page.waitForSelector(".modal-ux");
  assert.deepEqual(await axe(page, context), [], `${name}, with a token to enter`);
  assert.deepEqual(faults.filter(isNoRefusal), [], name);
  await context.close();
  console.log(`ok: ${name}`);
}

// A wrong password, the right one, and a request that needs it.
async function oneSignIn(browser, host) {
  const { page, context, faults } = await show(browser, host, 1280, "light");
  const signIn = async (password) => {
    await page.locator("#username").fill("admin");
    await page.locator("#password").fill(password);
    await page.locator("#sign-in button").click();
  };
  await signIn("wrong");
  await page.getByText("The username or the password is wrong").waitFor();
  await signIn("admin");
  await page.getByText("Requests are sent as admin.").waitFor();
  const orders = operation(page, "orders.listOrders");
  await orders.locator(".opblock-summary-control").click();
  const status = async () => {
    await orders.locator(".execute").click();
    await orders.locator(".live-responses-table tbody .response-col_status").waitFor();
    return (await orders.locator(".live-responses-table tbody .response-col_status").textContent()).trim();
  };
  assert.match(await status(), /^200/);
  await page.getByRole("button", { name: "Forget the token" }).click();
  await orders.locator(".btn-clear").click();
  assert.match(await status(), /^401/);
  assert.equal(await page.evaluate(() => localStorage.length + sessionStorage.length + document.cookie.length), 0);
  assert.deepEqual(faults.filter(isNoRefusal), []);
  await context.close();
  console.log("ok: one sign-in for all requests");
}

async function keyboardAlone(browser, host) {
  const { page, context, faults } = await show(browser, host, 1280, "dark");
  await page.keyboard.press("Tab");
  await page.keyboard.type("admin");
  await page.keyboard.press("Tab");
  await page.keyboard.type("admin");
  await page.keyboard.press("Enter");
  await page.getByText("Requests are sent as admin.").waitFor();
  const orders = operation(page, "orders.listOrders");
  const name = await orders.locator(".opblock-summary-control").textContent();
  await reach(page, name, 200);
  await page.keyboard.press("Enter");
  await orders.locator(".execute").waitFor();
  await reach(page, "Execute", 30);
  await page.keyboard.press("Enter");
  await orders.locator(".live-responses-table").waitFor();
  assert.deepEqual(faults, []);
  await context.close();
  console.log("ok: the explorer with the keyboard alone");
}
