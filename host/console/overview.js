// Overview: what is active, since when, and how it is doing.

import { get } from "./api.js";
import { sparkline } from "./charts.js";
import { ago, code, digest, h, latency, number, percent, show } from "./dom.js";
import { changes } from "./history.js";
import { onChange, state } from "./live.js";

export function overview(main) {
  const warnings = h("div");
  const running = h("div");
  const cards = h("div", { class: "cards" });
  const latest = h("ol", { class: "timeline" });
  show(main, h("h1", {}, "Services"), warnings, running, cards, h("h2", {}, "Latest changes"), latest);
  let newest;
  const draw = () => {
    const now = state.overview;
    if (!now) return;
    show(warnings, warningList(now.warnings));
    show(running, now.deploys.map(deployLine), now.watches.map(watchLine));
    show(cards, now.services.map((service) => card(service)));
    if (newest !== now.newest_change) {
      newest = now.newest_change;
      // Without them the page is still useful, and the next change tries again.
      get("/history", { query: { limit: 6 } }).then((lines) => show(latest, changes(lines)), () => {});
    }
  };
  draw();
  return onChange(draw);
}

export function warningList(warnings) {
  if (warnings.length === 0) return null;
  return h("ul", { class: "warnings", "aria-label": "Warnings" }, warnings.map((warning) =>
    h("li", { class: warning.serious ? "serious" : "" },
      h("strong", {}, warning.about), ": ", code(warning.text), ". ", code(sentence(warning.cure)), ".")));
}

function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function deployLine({ service, steps, canary }) {
  const last = steps.at(-1);
  return h("p", { class: "running", role: "status" },
    h("strong", {}, service), canary ? ` starts a canary: ` : ` is being deployed: `, last ? `${last.step} is done` : "it begins");
}

function watchLine({ canary, seconds_left: left, services }) {
  const names = services.map(({ service }) => service).join(", ");
  const worse = services.flatMap(({ routes }) => routes).filter(({ worse }) => worse);
  return h("p", { class: `running ${worse.length > 0 ? "worse" : ""}` },
    h("strong", {}, names),
    canary ? ": the canary is compared with the active revision" : `: the new revision is watched for ${left} s more`,
    worse.length > 0 ? ` – ${worse[0].worse}` : ", and is not worse so far",
    " ", h("a", { href: "#/rollout" }, "Rollout"));
}

function status(service) {
  if (!service.revision) return h("span", { class: "badge bad" }, "no active revision");
  if (service.canary) return h("span", { class: "badge accent" }, "canary runs");
  return h("span", { class: "badge good" }, "active");
}

function activated({ activated }) {
  if (!activated) return h("span", { class: "muted" }, "active since the start");
  const { at, by, action, reason } = activated;
  return h("span", {}, ago(at), ` by ${by}`, h("span", { class: "muted" }, ` (${action}${reason ? `: ${reason}` : ""})`));
}

// A service in few words: on its own page with its name as the heading, else with a link to that page.
export function card(service, isOwnPage = false) {
  const address = `#/services/${encodeURIComponent(service.service)}`;
  const link = isOwnPage ? service.service : h("a", { href: address, "data-key": service.service }, service.service);
  const name = h(isOwnPage ? "h1" : "h2", {}, link, service.version ? h("span", { class: "version" }, service.version) : null);
  if (!service.revision) {
    return h("article", { class: "card bad" }, h("div", { class: "card-head" }, name, status(service)),
      h("p", {}, service.note ?? "Its paths answer 503."));
  }
  const samples = state.samples.get(service.service) ?? [];
  const line = (name, key, show, kind) => sparkline({ name, values: samples.map((sample) => sample[key]), show, kind });
  return h("article", { class: "card" },
    h("div", { class: "card-head" }, name, status(service)),
    h("p", { class: "card-since" }, digest(service.revision), " ", activated(service)),
    h("div", { class: "sparks" },
      line("Requests/s", "requests", number),
      line("Errors/s", "errors", number, samples.at(-1)?.errors > 0 ? "bad" : ""),
      line("p50", "p50_us", latency),
      line("p99", "p99_us", latency)),
    h("dl", { class: "facts" },
      fact("Cache hits", service.cache ? hits(service.cache) : "off"),
      fact("Instances", `${service.instances.in_use} of ${service.instances.limit}`),
      fact("Waiting", number(service.instances.waiting)),
      fact("Kept revisions", service.kept > 0 && !isOwnPage
        ? [number(service.kept), " ", h("a", { href: address, "aria-label": `Roll back ${service.service}` }, "roll back")]
        : number(service.kept))));
}

function fact(name, value) {
  return h("div", {}, h("dt", {}, name), h("dd", {}, value));
}

function hits({ hits, misses, bypasses }) {
  const all = hits + misses + bypasses;
  return all === 0 ? "–" : percent(hits / all);
}
