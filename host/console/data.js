// Data: the tables and rows of a service's database, read only. The host masks secrets before they come here.

import { get } from "./api.js";
import { h, number, show } from "./dom.js";
import { onChange, state } from "./live.js";

const ROWS = 50;

export function data(main, service, table) {
  if (service && table) return rows(main, service, table);
  return tables(main, service);
}

const address = (...parts) => `#/data/${parts.map(encodeURIComponent).join("/")}`;
const path = (...parts) => `/services/${parts.map(encodeURIComponent).join("/")}`;

function tables(main, service) {
  const choice = h("select", { id: "service", onchange: () => { location.hash = address(choice.value); } });
  const list = h("tbody");
  const message = h("p", { class: "error", role: "alert" });
  show(main,
    h("div", { class: "title" }, h("h1", {}, "Data"), h("span", {}, h("label", { for: "service" }, "Service"), " ", choice)),
    h("p", { class: "muted" }, "Each look is in the audit log. Secrets are masked: all texts of services that handle credentials, columns such as ",
      h("code", {}, "token"), ", and values that look like one. ", h("code", {}, "visible"), " in the manifest shows a column."),
    message,
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Tables" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Table", "Columns"].map((name) => h("th", { scope: "col" }, name)))), list)));
  let shown = null;
  const load = async (name) => {
    shown = name;
    try {
      const all = await get(path(name, "tables"));
      message.textContent = all.length === 0 ? "The database has no tables." : "";
      show(list, all.map((one) => h("tr", {},
        h("th", { scope: "row" }, h("a", { href: address(name, one.name) }, h("code", {}, one.name))),
        h("td", { class: "wrap" }, one.columns.map((column, index) => [index > 0 ? ", " : "", columnName(column)])))));
    } catch (error) {
      show(list);
      message.textContent = error.message;
    }
  };
  const names = () => {
    const all = (state.overview?.services ?? []).map(({ service }) => service);
    if (all.length === 0) return;
    if (choice.options.length !== all.length) choice.replaceChildren(...all.map((name) => h("option", { value: name }, name)));
    const wanted = all.includes(service) ? service : all[0];
    choice.value = wanted;
    if (shown !== wanted) load(wanted);
  };
  names();
  return onChange(names);
}

function columnName({ name, key, masked }) {
  return h("span", {}, h("code", { class: masked ? "muted" : "" }, name), key ? " (key)" : "", masked ? " (masked)" : "");
}

function rows(main, service, table) {
  const head = h("thead");
  const body = h("tbody");
  const message = h("p", { class: "error", role: "alert" });
  const place = h("span", { class: "muted", role: "status" });
  const before = h("button", { onclick: () => load(Math.max(0, offset - ROWS)) }, "Previous");
  const after = h("button", { onclick: () => load(offset + ROWS) }, "Next");
  show(main,
    h("p", {}, h("a", { href: address(service) }, `Tables of ${service}`)),
    h("div", { class: "title" }, h("h1", {}, h("code", {}, table)), h("div", { class: "buttons" }, place, before, after)),
    message,
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Rows" }, h("table", { class: "rows" }, head, body)));
  let offset = 0;
  const load = async (wanted) => {
    try {
      const page = await get(path(service, "tables", table), { query: { limit: ROWS, offset: wanted } });
      offset = page.offset;
      message.textContent = page.further_columns > 0 ? `${page.further_columns} more columns are not shown.` : "";
      place.textContent = page.count === 0 ? "no rows" : `rows ${number(offset + 1)} to ${number(offset + page.count)}`;
      before.disabled = offset === 0;
      after.disabled = !page.more;
      show(head, h("tr", {}, page.table.columns.slice(0, page.rows[0]?.length).map(({ name, type }) => h("th", { scope: "col", title: type }, name))));
      show(body, page.rows.map((row) => h("tr", {}, row.map(cell))));
    } catch (error) {
      message.textContent = error.message;
    }
  };
  load(0);
  return () => {};
}

function cell(value) {
  if (value === null) return h("td", { class: "muted" }, "NULL");
  if (typeof value === "number") return h("td", { class: "number" }, String(value));
  if (typeof value === "string") return h("td", { class: "wrap" }, value);
  if (value.masked !== undefined) return h("td", { class: "muted", title: "masked" }, `••• (${value.masked})`);
  if (value.blob !== undefined) return h("td", { class: "muted" }, `${value.blob} bytes`);
  return h("td", { class: "wrap" }, `${value.cut}…`);
}
