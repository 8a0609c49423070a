// Backups: those in the data folder, and a new one.

import { call, get } from "./api.js";
import { h, number, show } from "./dom.js";

export function backups(main) {
  const rows = h("tbody");
  const message = h("p", { role: "status" });
  const button = h("button", { onclick: () => make() }, "Back up now");
  show(main,
    h("div", { class: "title" }, h("h1", {}, "Backups"), button),
    h("p", { class: "muted" }, "In the data folder, while the host serves. Copy them to another machine: ", h("code", {}, "comptoir backup FOLDER"),
      " writes one elsewhere, ", h("code", {}, "comptoir restore"), " puts one back. They hold the signing keys."),
    message,
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Backups" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Begun", "Folder", "Files", "Size"].map((name, index) => h("th", { scope: "col", class: index > 1 ? "number" : "" }, name)))), rows)));
  const load = async () => {
    try {
      show(rows, (await get("/backups")).map(row));
    } catch (error) {
      show(message, h("span", { class: "error" }, error.message));
    }
  };
  const make = async () => {
    button.disabled = true;
    show(message, "The backup is written and checked…");
    try {
      const made = await call("POST", "/backups");
      show(message, h("span", { class: "badge good" }, "complete"), " ", h("code", {}, made.path),
        made.has_services ? null : " It has no database of a service: back up PostgreSQL with pg_dump.");
      await load();
    } catch (error) {
      show(message, h("span", { class: "badge bad" }, "no backup"), " ", h("span", { class: "error" }, error.message));
    } finally {
      button.disabled = false;
    }
  };
  load();
  return () => {};
}

function row({ name, path, files, bytes }) {
  return h("tr", {},
    h("th", { scope: "row", class: "nowrap" }, name),
    h("td", { class: "wrap" }, h("code", {}, path)),
    h("td", { class: "number" }, number(files)),
    h("td", { class: "number" }, `${(bytes / 1048576).toFixed(1)} MiB`));
}
