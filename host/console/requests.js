// Requests: the latest ones, with filters, and the calls of one.

import { get } from "./api.js";
import { h, latency, show } from "./dom.js";
import { onChange, state } from "./live.js";

export function requests(main, id) {
  return id ? one(main, id) : all(main);
}

function all(main) {
  const service = h("select", { id: "service", onchange: () => load() });
  const status = h("select", { id: "status", onchange: () => load() },
    ["", "2xx", "3xx", "4xx", "5xx", "499"].map((value) => h("option", { value }, value || "all")));
  const revision = h("input", { id: "revision", size: "14", spellcheck: "false", oninput: () => load() });
  const search = h("input", { id: "id", size: "20", spellcheck: "false", oninput: () => load() });
  const pause = h("input", { type: "checkbox", id: "pause" });
  const rows = h("tbody");
  const message = h("p", { class: "error", role: "alert" });
  show(main, h("h1", {}, "Requests"),
    h("p", { class: "muted" }, "Failures are always kept, all other requests from now on, while this page is open: the last 500 of each service."),
    h("div", { class: "fields" }, [[service, "Service"], [status, "Status"], [revision, "Revision"], [search, "Request id"]].map(([field, name]) =>
      h("div", {}, h("label", { for: field.id }, name), " ", field)),
      h("div", {}, pause, " ", h("label", { for: "pause" }, "Pause"))),
    message,
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Requests" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Time", "Status", "Request", "Service", "Revision"].map((name) => h("th", { scope: "col" }, name)),
        h("th", { scope: "col", class: "number" }, "Took"))), rows)));
  let latest = 0;
  const load = async () => {
    const turn = ++latest;
    try {
      const query = { limit: 100, calls: "false" };
      for (const [name, field] of Object.entries({ service, status, revision, id: search })) query[name] = field.value.trim() || undefined;
      const found = await get("/requests", { query });
      if (turn !== latest) return;
      message.textContent = "";
      show(rows, found.map(row));
    } catch (error) {
      message.textContent = error.message;
    }
  };
  const names = () => {
    const chosen = service.value;
    const all = (state.overview?.services ?? []).map(({ service }) => service);
    if (service.options.length !== all.length + 2) {
      service.replaceChildren(h("option", { value: "" }, "all"), ...all.map((name) => h("option", { value: name }, name)), h("option", { value: "-" }, "the host itself"));
      service.value = chosen;
    }
  };
  names();
  load();
  const timer = setInterval(() => pause.checked || document.hidden || load(), 2000);
  const end = onChange(names);
  return () => {
    clearInterval(timer);
    end();
  };
}

function badge(status) {
  const kind = status >= 500 ? "bad" : status >= 400 ? "warn" : "good";
  return h("span", { class: `badge ${kind}` }, status);
}

function row(request) {
  const at = new Date(request.at * 1000);
  return h("tr", {},
    h("td", {}, h("time", { datetime: at.toISOString() }, at.toLocaleTimeString(undefined, { hourCycle: "h23" }))),
    h("td", {}, badge(request.status)),
    h("th", { scope: "row" }, h("a", { href: `#/requests/${encodeURIComponent(request.request_id)}`, "data-key": request.request_id }, h("code", {}, `${request.method} ${request.path}`))),
    h("td", {}, request.service === "-" ? "the host" : request.service),
    h("td", {}, h("code", {}, request.revision.split("@").at(-1))),
    h("td", { class: "number" }, latency(request.duration_us)));
}

function one(main, id) {
  const content = h("div");
  show(main, h("p", {}, h("a", { href: "#/requests" }, "All requests")), h("h1", {}, "Request ", h("code", {}, id)), content);
  get("/requests", { query: { id, limit: 100 } }).then(
    (found) => show(content, found.length > 0 ? waterfall(found.reverse()) : h("p", {}, "The host does not keep it any more. The log does.")),
    (error) => show(content, h("p", { class: "error", role: "alert" }, error.message)));
  return () => {};
}

// The request and its calls, each where it lies in time.
function waterfall(found) {
  const begin = Math.min(...found.map(({ at }) => at));
  const whole = Math.max(...found.map(({ at, duration_us: us }) => at - begin + us / 1e6), 1e-6);
  return h("ol", { class: "waterfall" }, found.map((request) => {
    const bar = h("span", { class: `bar ${request.status >= 500 ? "bad" : ""}` });
    bar.style.marginLeft = `${((request.at - begin) / whole) * 100}%`;
    bar.style.width = `${Math.max((request.duration_us / 1e6 / whole) * 100, 0.5)}%`;
    return h("li", { class: "panel" },
      h("p", {}, badge(request.status), " ", h("code", {}, `${request.method} ${request.path}`), " ",
        h("span", { class: "muted" }, request.caller ? `called by ${request.caller}` : `from ${request.client}`)),
      h("div", { class: "track" }, bar),
      h("p", { class: "muted" }, `${request.service}, route ${request.route}, ${request.revision}: ${latency(request.duration_us)}`),
      request.cause ? h("p", { class: "error" }, request.cause) : null,
      request.output ? [h("p", {}, "It printed:"), h("pre", { tabindex: "0" }, request.output)] : null);
  }));
}
