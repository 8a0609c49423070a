// Keys: those that sign and verify access tokens.

import { call, get } from "./api.js";
import { ask } from "./dialog.js";
import { h, show } from "./dom.js";

export function keys(main) {
  const message = h("p", { class: "error", role: "alert" });
  const rows = h("tbody");
  show(main,
    h("div", { class: "title" }, h("h1", {}, "Keys of access tokens"), h("button", { onclick: () => rotate() }, "Rotate")),
    h("p", { class: "muted" }, "After a rotation, the earlier key verifies for another hour. A disabled key verifies nothing: every token that it signed is refused at once."),
    message,
    h("div", { class: "scroll" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Key", "Use", "Since", "Until", ""].map((name) => h(name ? "th" : "td", name ? { scope: "col" } : {}, name)))), rows)));
  const draw = (all) => show(rows, all.map((key, index) => h("tr", {},
    h("th", { scope: "row" }, h("code", {}, key.id)),
    h("td", {}, index === 0 ? h("span", { class: "badge good" }, "signs and verifies") : h("span", { class: "badge" }, "verifies")),
    h("td", {}, moment(key.since)),
    h("td", {}, moment(key.until)),
    h("td", { class: "number" }, h("button", { class: "danger", "aria-label": `Disable key ${key.id}`, onclick: () => disable(key.id) }, "Disable")))));
  const load = async () => {
    try {
      draw(await get("/keys"));
    } catch (error) {
      message.textContent = error.message;
    }
  };
  const rotate = () => ask({
    title: "Rotate the key?",
    text: "A new key signs from now on.",
    verb: "Rotate",
    act: async () => draw(await call("POST", "/keys/rotate")),
  });
  const disable = (id) => ask({
    title: `Disable the key ${id}?`,
    text: "Every access token that it signed is refused at once. Sessions continue with a refresh.",
    verb: "Disable",
    danger: true,
    act: async () => draw(await call("DELETE", `/keys/${encodeURIComponent(id)}`)),
  });
  load();
  return () => {};
}

function moment(seconds) {
  return seconds === null ? h("span", { class: "muted" }, "–") : new Date(seconds * 1000).toLocaleString(undefined, { hourCycle: "h23" });
}
