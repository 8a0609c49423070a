// Sessions: users with a valid access token, and how to end what they may do.

import { call, get } from "./api.js";
import { ask } from "./dialog.js";
import { ago, h, show } from "./dom.js";

export function sessions(main) {
  const user = h("input", { id: "user", size: "18", spellcheck: "false", autocapitalize: "none", oninput: () => load() });
  const rows = h("tbody");
  const message = h("p", { class: "error", role: "alert" });
  show(main,
    h("div", { class: "title" }, h("h1", {}, "Sessions"), h("span", {}, h("label", { for: "user" }, "User"), " ", user)),
    h("p", { class: "muted" }, "Users with a valid access token of this host. A token lasts an hour, so a session that is older comes back with its next token, and so do all of them after a start."),
    message,
    h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Sessions" }, h("table", {},
      h("thead", {}, h("tr", {}, ["User", "Role", "Session", "Newest token", ""].map((name) => h(name ? "th" : "td", name ? { scope: "col" } : {}, name)))), rows)));
  let latest = 0;
  const load = async () => {
    const turn = ++latest;
    try {
      const all = await get("/sessions", { query: { user: user.value.trim() || undefined } });
      if (turn !== latest) return;
      message.textContent = all.length === 0 ? "No session has a valid token." : "";
      show(rows, all.map(row));
    } catch (error) {
      message.textContent = error.message;
    }
  };
  const end = (session) => ask({
    title: `End this session of ${session.user}?`,
    text: "Its tokens are refused at once, also after a restart. The user can log in again.",
    verb: "End",
    danger: true,
    act: async () => {
      await call("DELETE", `/sessions/${encodeURIComponent(session.id)}`);
      await load();
    },
  });
  const row = (session) => h("tr", {},
    h("th", { scope: "row" }, session.user),
    h("td", {}, session.role),
    h("td", {}, h("code", { title: session.id }, session.id.slice(0, 12))),
    h("td", { class: "nowrap" }, ago(session.issued)),
    h("td", { class: "number" }, h("button", { class: "danger", "aria-label": `End the session ${session.id.slice(0, 12)} of ${session.user}`, onclick: () => end(session) }, "End")));
  load();
  const timer = setInterval(() => document.hidden || load(), 10_000);
  return () => clearInterval(timer);
}
