// The console's frame: signing in, navigation, and the page that the address names.

import { Refused, isSignedIn, signIn, signOut } from "./api.js";
import { audit } from "./audit.js";
import { backups } from "./backups.js";
import { data } from "./data.js";
import { h, show } from "./dom.js";
import { history } from "./history.js";
import { keys } from "./keys.js";
import { onChange, start as startLive, state, stop as stopLive } from "./live.js";
import { overview } from "./overview.js";
import { requests } from "./requests.js";
import { rollout } from "./rollout.js";
import { service } from "./service.js";
import { sessions } from "./sessions.js";

function signInPage() {
  const token = h("input", { id: "token", type: "password", autocomplete: "current-password", required: true, spellcheck: "false" });
  const message = h("p", { class: "error", role: "alert" });
  const submit = async (event) => {
    event.preventDefault();
    message.textContent = "";
    try {
      await signIn(token.value.trim());
      start();
    } catch (error) {
      const isWrong = error instanceof Refused && error.status === 401;
      message.textContent = isWrong ? "This is not the admin token of this host." : error.message;
      token.select();
    }
  };
  show(document.body, h("main", { class: "sign-in" },
    h("h1", {}, mark(), "Comptoir"),
    h("form", { onsubmit: submit },
      h("label", { for: "token" }, "Admin token"),
      token,
      h("p", { class: "muted" }, "It is in ", h("code", {}, "admin.token"), " in the host’s data folder."),
      h("button", { type: "submit", class: "primary" }, "Sign in"),
      message)));
  token.focus();
}

function mark() {
  return h("img", { src: "/console/icon.svg", alt: "", width: "24", height: "24" });
}

// The pages by the first part of the address after `#`. Each draws into `main` and returns a function that ends it.
const PAGES = [
  { path: "", name: "Overview", draw: overview },
  { path: "services", draw: service },
  { path: "requests", name: "Requests", draw: requests },
  { path: "rollout", name: "Rollout", draw: rollout },
  { path: "history", name: "History", draw: history },
  { path: "data", name: "Data", draw: data },
  { path: "sessions", name: "Sessions", draw: sessions },
  { path: "keys", name: "Keys", draw: keys },
  { path: "backups", name: "Backups", draw: backups },
  { path: "audit", name: "Audit", draw: audit },
];

let leave = null;

function frame() {
  const status = h("span", { class: "status", role: "status" });
  const main = h("main", { id: "main", tabindex: "-1" });
  const nav = h("nav", { "aria-label": "Pages" });
  show(document.body,
    h("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, "Skip to content"),
    h("header", {},
      h("a", { class: "brand", href: "#/" }, mark(), "Comptoir"),
      nav,
      status,
      h("button", { onclick: signOut }, "Sign out")),
    main);
  onChange(() => {
    status.className = `status ${state.connected ? "connected" : "lost"}`;
    status.textContent = state.connected ? "live" : state.error || "connecting";
  });
  return { main, nav };
}

function start() {
  const { main, nav } = frame();
  const go = () => {
    const [first, ...rest] = location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    const page = PAGES.find(({ path }) => path === first) ?? PAGES[0];
    leave?.();
    show(nav, PAGES.length > 1 ? PAGES.filter(({ name }) => name).map(({ path, name }) =>
      h("a", { href: `#/${path}`, "aria-current": page.path === path ? "page" : null }, name)) : null);
    document.title = `${page.name ?? rest[0]} – Comptoir`;
    leave = page.draw(main, ...rest);
  };
  onhashchange = go;
  go();
  startLive();
}

addEventListener("signed-out", () => {
  stopLive();
  leave?.();
  leave = null;
  onhashchange = null;
  document.title = "Comptoir";
  signInPage();
});
if (isSignedIn()) start();
else signInPage();
