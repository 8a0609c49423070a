// History: what changed in all services, the newest first.

import { get } from "./api.js";
import { code, digest, h, show } from "./dom.js";
import { onChange, state } from "./live.js";

const GOOD = new Set(["active", "kept", "promoted"]);
const BAD = new Set(["refused", "reverted", "interrupted"]);

export function history(main) {
  const filter = h("select", { id: "service", onchange: () => draw() });
  const list = h("ol", { class: "timeline" });
  const older = h("button", { onclick: () => load(lines.at(-1)?.id) }, "Older changes");
  const message = h("p", { class: "error", role: "alert" });
  let lines = [];
  let newest = null;
  show(main,
    h("div", { class: "title" }, h("h1", {}, "History"),
      h("span", {}, h("label", { for: "service" }, "Service"), " ", filter)),
    message, list, h("p", {}, older));

  const draw = () => {
    const names = [...new Set(lines.map(({ service }) => service))].sort();
    const chosen = filter.value;
    filter.replaceChildren(h("option", { value: "" }, "all"), ...names.map((name) => h("option", { value: name, selected: name === chosen }, name)));
    show(list, changes(lines.filter(({ service }) => chosen === "" || service === chosen)));
  };
  const load = async (before) => {
    try {
      const page = await get("/history", { query: { before, limit: 100 } });
      lines = before === undefined ? page : [...lines, ...page];
      older.hidden = page.length < 100;
      message.textContent = "";
      draw();
    } catch (error) {
      message.textContent = error.message;
    }
  };
  const look = () => {
    if (state.overview && state.overview.newest_change !== newest) {
      newest = state.overview.newest_change;
      load();
    }
  };
  load();
  return onChange(look);
}

// The list items of some history lines.
export function changes(lines) {
  let day = "";
  return lines.flatMap((line) => {
    const at = new Date(line.at * 1000);
    const date = at.toLocaleDateString(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
    const heading = date === day ? [] : [h("li", { class: "day" }, date)];
    day = date;
    return [...heading, change(line, at)];
  });
}

function change(line, at) {
  const kind = GOOD.has(line.result) ? "good" : BAD.has(line.result) ? "bad" : "accent";
  return h("li", { class: `change ${kind}` },
    h("time", { datetime: at.toISOString() }, at.toLocaleTimeString(undefined, { hourCycle: "h23" })),
    h("div", {},
      h("p", {}, h("a", { href: `#/services/${encodeURIComponent(line.service)}` }, line.service), " ", line.action, " by ", line.by, " ",
        h("span", { class: `badge ${kind}` }, line.result)),
      h("p", { class: "muted" }, digest(line.from), " → ", digest(line.to), line.reason ? ` – ${line.reason}` : ""),
      line.detail ? h("p", { class: kind === "bad" ? "error" : "" }, code(line.detail)) : null));
}
