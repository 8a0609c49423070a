// Audit: the newest security events, and whether the log was changed.

import { call, get } from "./api.js";
import { h, show } from "./dom.js";

export function audit(main) {
  const rows = h("tbody");
  const message = h("p", { role: "status" });
  const anchor = h("input", { id: "anchor", size: "24", spellcheck: "false", autocomplete: "off" });
  show(main,
    h("div", { class: "title" }, h("h1", {}, "Audit log"),
      h("div", { class: "fields" },
        h("div", {}, h("label", { for: "anchor" }, "Anchor (optional)"), " ", anchor),
        h("button", { onclick: () => verify() }, "Verify"))),
    message,
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Events" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Time", "Event", "By", "Subject", "Asked", "Result", "Client"].map((name) => h("th", { scope: "col" }, name)))),
      rows)));
  const load = async () => {
    try {
      show(rows, (await get("/audit")).map(row));
    } catch (error) {
      show(message, h("span", { class: "error" }, error.message));
    }
  };
  const verify = async () => {
    show(message, "Verifying…");
    try {
      const { lines, last_hash: hash } = await call("POST", "/audit/verify", { query: { anchor: anchor.value.trim() || undefined } });
      show(message, h("span", { class: "badge good" }, "unchanged"), ` All ${lines} lines follow each other. The last hash is `, h("code", {}, hash), ".");
    } catch (error) {
      show(message, h("span", { class: "badge bad" }, "not verified"), " ", h("span", { class: "error" }, error.message));
    }
    load();
  };
  load();
  return () => {};
}

function row(event) {
  const at = new Date(event.time);
  return h("tr", {},
    h("td", { class: "nowrap" }, h("time", { datetime: event.time }, at.toLocaleString(undefined, { hourCycle: "h23" }))),
    h("th", { scope: "row" }, h("code", {}, event.event)),
    h("td", {}, event.by),
    h("td", {}, event.subject ?? ""),
    h("td", { class: "wrap" }, event.asked ? h("code", {}, event.asked) : ""),
    h("td", { class: "wrap" }, event.result ?? ""),
    h("td", {}, event.client ?? ""));
}
