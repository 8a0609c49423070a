// Rollout: the canary beside the active revision, what the host compares, and how to end it.

import { call } from "./api.js";
import { ask } from "./dialog.js";
import { ago, digest, h, latency, number, percent, show } from "./dom.js";
import { onChange, state } from "./live.js";

const SHARES = ["1%", "5%", "25%", "50%", "100%"];

export function rollout(main) {
  const canary = h("section", { "aria-labelledby": "canary" });
  const watches = h("section", { "aria-labelledby": "watches" });
  const last = h("section");
  const message = h("p", { class: "error", role: "alert" });
  show(main, h("h1", {}, "Rollout"), message, canary, watches, last);
  const setShare = async (share) => {
    try {
      await call("POST", "/canary", { query: { share } });
      message.textContent = "";
    } catch (error) {
      message.textContent = error.message;
    }
  };
  const draw = () => {
    const now = state.overview;
    if (!now) return;
    show(canary, h("h2", { id: "canary" }, "Canary"), now.canary ? running(now, setShare) : none());
    const active = now.watches.filter((watch) => !watch.canary);
    show(watches, active.length > 0 ? [h("h2", { id: "watches" }, "Watched after a deploy"), active.map(watched)] : null);
    show(last, now.last_revert ? reverted(now.last_revert) : null);
  };
  draw();
  return onChange(draw);
}

function none() {
  return h("p", { class: "panel muted" }, "No canary runs. To start one, open a service and deploy a component for a share of the callers.");
}

function running(now, setShare) {
  const { share, set, services } = now.canary;
  const watch = now.watches.find(({ canary }) => canary);
  const buttons = SHARES.map((step) => h("button", {
    "aria-pressed": String(step === share), "data-key": step, disabled: set !== null, onclick: () => setShare(step),
  }, step.replace("%", " %")));
  return h("div", { class: "panel" },
    h("div", { class: "title" },
      h("div", { class: "steps", role: "group", "aria-label": "Share of the callers" },
        h("span", {}, "Share of the callers: ", h("strong", {}, share)), buttons),
      h("div", { class: "buttons" },
        h("button", { class: "danger", "data-key": "abort", onclick: abort }, "Abort"),
        h("button", { class: "primary", "data-key": "promote", disabled: set !== null, onclick: promote }, "Promote"))),
    set === null ? null : h("p", {}, "It is a set, which ", h("code", {}, "comptoir deploy-set"), " promotes when it is complete."),
    verdict(watch?.services.flatMap(({ routes }) => routes) ?? [], share === "0%"),
    services.map((candidate) => pair(candidate, now.services.find(({ service }) => service === candidate.service), watch)));
}

function promote() {
  ask({
    title: "Promote the canary?",
    text: "All callers get it, and the host watches it. If it turns out clearly worse, the host goes back.",
    verb: "Promote",
    act: (reason) => call("POST", "/canary/promote", { query: { reason } }),
  });
}

function abort() {
  ask({
    title: "Abort the canary?",
    text: "The active revisions answer all callers again.",
    verb: "Abort",
    danger: true,
    act: (reason) => call("POST", "/canary/abort", { query: { reason } }),
  });
}

// The judge's verdict so far, in one line.
function verdict(routes, isUnused) {
  const worse = routes.find((route) => route.worse);
  const requests = routes.reduce((sum, route) => sum + route.new.requests, 0);
  if (worse) return h("p", { class: "verdict" }, h("span", { class: "badge bad" }, "clearly worse"), " ", worse.worse);
  if (isUnused) return h("p", { class: "verdict" }, h("span", { class: "badge" }, "no callers"), " Only the operator can reach it.");
  if (requests === 0) return h("p", { class: "verdict" }, h("span", { class: "badge" }, "no requests yet"), " Without traffic the host repeats the probes.");
  return h("p", { class: "verdict" }, h("span", { class: "badge good" }, "not worse"), ` After ${requests} requests. The host reverts it by itself if it fails more, gets much slower, or finds nothing any more.`);
}

function pair(candidate, active, watch) {
  const compared = watch?.services.find(({ service }) => service === candidate.service);
  const side = (name, revision, version) => h("div", { class: "side" }, h("h3", {}, name), h("p", {}, digest(revision), " ", h("span", { class: "muted" }, version ?? "")));
  return h("div", {},
    h("h3", {}, candidate.service),
    h("div", { class: "sides" },
      side("Active", active?.revision, active?.version),
      side("Canary", candidate.revision, candidate.version)),
    comparison(compared?.routes ?? [], "active", "canary"));
}

function watched(watch) {
  return h("div", { class: "panel" },
    h("p", {}, h("strong", {}, `${watch.seconds_left} s`), " until the new revision is kept for good."),
    verdict(watch.services.flatMap(({ routes }) => routes), false),
    watch.services.map(({ service, from, to, routes }) => h("div", {},
      h("h3", {}, h("a", { href: `#/services/${encodeURIComponent(service)}` }, service)),
      h("p", {}, digest(from), " → ", digest(to)),
      comparison(routes, "before", "new"))));
}

function comparison(routes, old, fresh) {
  if (routes.length === 0) return null;
  const side = (answers) => [
    h("td", { class: "number" }, number(answers?.requests ?? 0)),
    h("td", { class: "number" }, answers && answers.requests > 0 ? percent(answers.bad / answers.requests) : "–"),
    h("td", { class: "number" }, latency(answers?.median_us)),
  ];
  const names = ["requests", "failed", "median"];
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Comparison by route" }, h("table", {},
    h("thead", {},
      h("tr", {}, h("th", { scope: "col" }, "Route"),
        [old, fresh].flatMap((side) => names.map((name) => h("th", { scope: "col", class: "number" }, `${side}: ${name}`))),
        h("th", { scope: "col" }, "Verdict"))),
    h("tbody", {}, routes.map((route) => h("tr", {},
      h("th", { scope: "row" }, h("code", {}, route.route)), side(route.old), side(route.new),
      h("td", {}, route.worse ? h("span", { class: "error" }, route.worse)
        : route.compares_latency ? "not worse" : h("span", { class: "muted" }, "not worse; latency needs 50 requests of each")))))));
}

function reverted(line) {
  return [h("h2", {}, "The last revert"), h("div", { class: "panel" },
    h("p", {}, h("a", { href: `#/services/${encodeURIComponent(line.service)}` }, line.service), ": the host went back from ", digest(line.to), " to ", digest(line.from), ", deployed ", ago(line.at), "."),
    h("p", { class: "error" }, line.detail))];
}
