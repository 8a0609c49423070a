// Service: routes with their traffic, rights, limits, revisions to roll back to, and deploys.

import { call, get } from "./api.js";
import { ask } from "./dialog.js";
import { ago, code, digest, duration, h, latency, number, percent, show } from "./dom.js";
import { changes } from "./history.js";
import { onChange, state } from "./live.js";
import { card } from "./overview.js";

// All steps of a deploy, in order.
const STEPS = ["received", "verified", "compiled", "linked", "described", "migrated", "probed", "active"];

export function service(main, name) {
  const summary = h("div", { class: "cards one" }, h("h1", {}, name));
  const details = h("div");
  const past = h("ol", { class: "timeline" });
  const message = h("p", { class: "error", role: "alert" });
  const deploy = deployPanel(name);
  show(main, message, summary, deploy.element, details, h("h2", {}, "History"), past);
  let newest;
  let loading = false;
  const load = async () => {
    if (loading) return;
    loading = true;
    try {
      const path = `/services/${encodeURIComponent(name)}`;
      const [one, lines] = await Promise.all([get(path), get(`${path}/history`)]);
      show(details, sections(name, one, lines));
      show(past, changes(lines.slice(0, 20)));
      message.textContent = "";
    } catch (error) {
      message.textContent = error.message;
    }
    loading = false;
  };
  const draw = () => {
    const now = state.overview;
    const mine = now?.services.find((service) => service.service === name);
    if (!mine) return;
    show(summary, card(mine, true));
    deploy.live(now.deploys.find((running) => running.service === name));
    if (newest !== now.newest_change) {
      newest = now.newest_change;
      load();
    }
  };
  load();
  draw();
  const timer = setInterval(load, 5000);
  const end = onChange(draw);
  return () => {
    clearInterval(timer);
    end();
  };
}

function sections(name, one, lines) {
  return [
    routes(one),
    h("div", { class: "columns" },
      one.revision ? rights(one) : null,
      one.limits ? limits(one) : null,
      one.database ? usage("Database", databaseFacts(one)) : null),
    revisions(name, one, lines),
  ];
}

function routes(one) {
  if (!one.routes) return null;
  const traffic = new Map(one.traffic.map((route) => [route.route, route]));
  const rows = one.routes.map((route) => {
    const { good = 0, bad = 0, median_us: median = null } = traffic.get(`${route.method} ${route.path}`) ?? {};
    return h("tr", {},
      h("th", { scope: "row" }, h("code", {}, `${route.method} ${route.path}`)),
      h("td", {}, h("span", { class: `badge ${route.access === "public" ? "warn" : route.access === "admin" ? "accent" : ""}` }, route.access)),
      h("td", { class: "number" }, number(good + bad)),
      h("td", { class: `number ${bad > 0 ? "error" : ""}` }, bad > 0 ? `${number(bad)} (${percent(bad / (good + bad))})` : "0"),
      h("td", { class: "number" }, latency(median)));
  });
  return [h("h2", {}, `Routes (${rows.length})`),
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Routes" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Route", "Access"].map((text) => h("th", { scope: "col" }, text)),
        ["Requests", "Failed", "Median"].map((text) => h("th", { scope: "col", class: "number" }, text)))),
      h("tbody", {}, rows)))];
}

function usage(title, facts) {
  return h("section", { class: "panel" }, h("h2", {}, title),
    h("dl", { class: "pairs" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
}

function list(values) {
  return values.length > 0 ? values.map((value, index) => [index > 0 ? ", " : "", h("code", {}, value)]) : h("span", { class: "muted" }, "none");
}

function rights(one) {
  return usage("What it may use", [
    ["Grants", list(one.grants)],
    ["Calls", list(one.calls)],
    ["Remote hosts", one.outbound.length > 0 ? one.outbound.map((remote) => h("div", {}, h("code", {}, remote.host), " ", remote.open ? h("span", { class: "badge bad" }, "circuit open") : null)) : h("span", { class: "muted" }, "none")],
    ["Interface", h("code", {}, one.handler)],
    ["Schema", one.schema === null ? "–" : `version ${one.schema}`],
  ]);
}

function limits(one) {
  const { limits, instances } = one;
  return usage("Limits", [
    ["Instances", `${instances.in_use} of ${limits.concurrency}, ${instances.waiting} wait`],
    ["Refused", Object.entries(instances.refused).map(([setting, count]) => `${count} by ${setting}`).join(", ")],
    ["Memory of an instance", bytes(limits.memory_bytes)],
    ["Time, computing", `${duration(limits.time_ms / 1000)}, ${latency(limits.cpu_ms * 1000)}`],
    ["Request, response", `${bytes(limits.body_bytes)}, ${bytes(limits.response_bytes)}`],
    ["Response cache", limits.answers_bytes === 0 ? "off" : `${bytes(one.cache?.bytes ?? 0)} of ${bytes(limits.answers_bytes)}`],
  ]);
}

function databaseFacts({ database, limits }) {
  return [
    ["Limit", bytes(limits.database_bytes)],
    ["Queries", number(database.queries)],
    ["Writes", number(database.executes)],
    ["Transactions", number(database.commits)],
    ["Time in SQL", `${(database.sql_us / 1e6).toFixed(2)} s`],
  ];
}

function bytes(count) {
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 1024]]) {
    if (count >= size) return `${Number((count / size).toFixed(1))} ${unit}`;
  }
  return `${count} B`;
}

function revisions(name, one, lines) {
  if (!one.kept || one.kept.length === 0) return null;
  const row = (revision) => {
    const line = lines.find(({ to, result }) => to === revision && ["active", "kept"].includes(result));
    return h("tr", {},
      h("th", { scope: "row" }, digest(revision)),
      h("td", {}, line ? [`${line.action} by ${line.by} `, ago(line.at)] : "–"),
      h("td", {}, line?.reason || h("span", { class: "muted" }, "–")),
      h("td", { class: "number" }, h("button", { "data-key": revision, "aria-label": `Roll back to ${revision.slice(0, 12)}`, onclick: () => rollBack(name, revision) }, "Roll back")));
  };
  return [h("h2", {}, "Kept revisions"), h("p", { class: "muted" }, "They are compiled, so going back takes milliseconds."),
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Kept revisions" }, h("table", {},
      h("thead", {}, h("tr", {}, ["Revision", "Activated", "Reason"].map((text) => h("th", { scope: "col" }, text)), h("td", {}))),
      h("tbody", {}, one.kept.map(row))))];
}

function rollBack(name, revision) {
  ask({
    title: `Roll ${name} back to ${revision.slice(0, 12)}?`,
    text: "No request is lost. The data stays as it is.",
    verb: "Roll back",
    act: (reason) => call("POST", `/services/${encodeURIComponent(name)}/rollback`, { query: { to: revision, reason } }),
  });
}

// Drop a component, and watch the steps.
function deployPanel(name) {
  const steps = h("ol", { class: "deploy-steps" });
  const result = h("div", { role: "status" });
  const file = h("input", { type: "file", id: "component", accept: ".wasm,.sig", multiple: true, onchange: () => take(file.files) });
  const share = h("select", { id: "share" },
    h("option", { value: "" }, "for all callers"),
    ["1%", "5%", "25%", "50%"].map((step) => h("option", { value: step }, `as a canary for ${step.replace("%", " %")}`)));
  const reason = h("input", { id: "reason", maxlength: "500", autocomplete: "off", placeholder: "Why, for the history" });
  const force = h("input", { type: "checkbox", id: "force" });
  const element = h("section", { class: "panel drop", "aria-labelledby": "deploy" },
    h("h2", { id: "deploy" }, "Deploy"),
    h("div", { class: "fields" },
      h("div", {}, h("label", { for: "share" }, "Activate it "), share),
      h("div", { class: "wide" }, h("label", { for: "reason" }, "Reason "), reason),
      h("div", {}, force, " ", h("label", { for: "force" }, "even if the host reverted it before"))),
    h("p", {}, h("label", { for: "component" }, "Choose or drop a component"), " (and its ", h("code", {}, ".sig"), ", if the host asks for signatures): ", file),
    steps, result);
  element.addEventListener("dragover", (event) => { event.preventDefault(); element.classList.add("over"); });
  element.addEventListener("dragleave", () => element.classList.remove("over"));
  element.addEventListener("drop", (event) => {
    event.preventDefault();
    element.classList.remove("over");
    take(event.dataTransfer.files);
  });
  let busy = false;
  const take = async (files) => {
    const component = [...files].find((one) => one.name.endsWith(".wasm"));
    const signature = [...files].find((one) => one.name.endsWith(".sig"));
    if (busy || !component) return;
    busy = true;
    show(result, h("p", {}, `Deploying ${component.name}…`));
    drawSteps(steps, []);
    try {
      const headers = signature ? { "x-comptoir-signature": (await signature.text()).trim() } : {};
      const query = { reason: reason.value, force: String(force.checked), canary: share.value || undefined };
      const report = await call("PUT", `/services/${encodeURIComponent(name)}`, { query, headers, body: component });
      drawSteps(steps, report.steps);
      show(result, reported(component.name, report));
      reason.value = "";
    } catch (error) {
      drawSteps(steps, null, error.step);
      show(result, h("p", { class: "error" }, code(error.message)), h("p", { class: "muted" }, "The active revision keeps serving."));
    }
    file.value = "";
    busy = false;
  };
  const live = (running) => {
    if (running) drawSteps(steps, running.steps);
  };
  return { element, live };
}

// `failed` names the step that the component did not pass. Steps before it are done.
function drawSteps(list, done, failed) {
  const passed = done === null ? STEPS.slice(0, Math.max(STEPS.indexOf(failed), 0)) : done.map(({ step }) => step);
  show(list, STEPS.map((step) => {
    const taken = done?.find((one) => one.step === step);
    const kind = step === failed ? "bad" : passed.includes(step) ? "good" : "";
    const word = kind === "bad" ? "failed" : kind === "good" ? "done" : "not yet";
    return h("li", { class: kind, title: taken?.note ?? "" },
      h("span", {}, step), h("span", { class: "muted" }, taken ? latency(taken.took_us) : word));
  }));
}

function reported(file, report) {
  const text = !report.changed ? "is active already" : report.canary ? `is a canary for ${report.canary}` : "is active";
  return [h("p", {}, h("strong", {}, `${file} ${text}. `), digest(report.from), " → ", digest(report.to)),
    report.differences.length > 0
      ? [h("p", {}, "What changed:"), h("ul", {}, report.differences.map((one) => h("li", {}, one)))]
      : h("p", { class: "muted" }, "Its routes and imports are the same.")];
}
