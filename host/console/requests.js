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
  const user = h("input", { id: "user", size: "14", spellcheck: "false", autocapitalize: "none", oninput: () => load() });
  const search = h("input", { id: "id", size: "20", spellcheck: "false", oninput: () => load() });
  const pause = h("input", { type: "checkbox", id: "pause" });
  const rows = h("tbody");
  const message = h("p", { class: "error", role: "alert" });
  show(main, h("h1", {}, "Requests"),
    h("p", { class: "muted" }, "Failures are always kept, all other requests from now on, while this page is open: the last 500 of each service."),
    h("div", { class: "fields" }, [[service, "Service"], [status, "Status"], [revision, "Revision"], [user, "User"], [search, "Request id"]].map(([field, name]) =>
      h("div", {}, h("label", { for: field.id }, name), " ", field)),
      h("div", {}, pause, " ", h("label", { for: "pause" }, "Pause"))),
    message,
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Requests" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Time", "Status", "Request", "Service", "User", "Revision"].map((name) => h("th", { scope: "col" }, name)),
        h("th", { scope: "col", class: "number" }, "Took"))), rows)));
  let latest = 0;
  const load = async () => {
    const turn = ++latest;
    try {
      const query = { limit: 100, calls: "false" };
      for (const [name, field] of Object.entries({ service, status, revision, user, id: search })) query[name] = field.value.trim() || undefined;
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
    h("td", {}, request.user ?? ""),
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

// A bar where something lies in the time of the whole request, in seconds.
function track(after, seconds, whole, kind = "") {
  const bar = h("span", { class: `bar ${kind}` });
  bar.style.marginLeft = `${Math.min((after / whole) * 100, 99.5)}%`;
  bar.style.width = `${Math.max((seconds / whole) * 100, 0.5)}%`;
  return h("div", { class: "track" }, bar);
}

// The SQL statements of a request or a call, which began some seconds after the first of them.
function statements({ statements: all, further_statements: further }, begin, whole) {
  if (all.length === 0) return null;
  return [
    h("h2", {}, all.length === 1 && further === 0 ? "1 SQL statement" : `${all.length + further} SQL statements`),
    h("ol", { class: "statements" }, all.map(({ sql, after_us: after, duration_us: us, error }) => h("li", {},
      h("p", {}, h("code", {}, sql), " ", error ? h("span", { class: "badge bad" }, error) : null),
      track(begin + after / 1e6, us / 1e6, whole, error ? "bad" : "sql"),
      h("span", { class: "number muted" }, latency(us))))),
    further > 0 ? h("p", { class: "muted" }, `${further} more statements followed.`) : null,
  ];
}

// The request and its calls, each where it lies in time.
function waterfall(found) {
  const begin = Math.min(...found.map(({ at }) => at));
  const whole = Math.max(...found.map(({ at, duration_us: us }) => at - begin + us / 1e6), 1e-6);
  return h("ol", { class: "waterfall" }, found.map((request) => {
    return h("li", { class: "panel" },
      h("p", {}, badge(request.status), " ", h("code", {}, `${request.method} ${request.path}`), " ",
        h("span", { class: "muted" }, request.caller ? `called by ${request.caller}` : `from ${request.client}`, request.user ? ` as ${request.user}` : "")),
      track(request.at - begin, request.duration_us / 1e6, whole, request.status >= 500 ? "bad" : ""),
      h("p", { class: "muted" }, `${request.service}, route ${request.route}, ${request.revision}: ${latency(request.duration_us)}`),
      request.cause ? h("p", { class: "error" }, request.cause) : null,
      request.output ? [h("p", {}, "It printed:"), h("pre", { tabindex: "0" }, request.output)] : null,
      statements(request, request.at - begin, whole));
  }));
}
