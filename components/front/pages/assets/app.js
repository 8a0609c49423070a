// Shows the page of the address, and changes it without loading. So the access token stays in memory, and a deploy does not disturb an
// open tab: all its scripts are loaded already.

import * as admin from "/assets/admin.js";
import { api, onAnswer, onUser, resume, signOut, who } from "/assets/api.js";
import { lines, onCart } from "/assets/cart.js";
import { button, h, say } from "/assets/dom.js";
import * as shop from "/assets/shop.js";

/** The pages: who may see them, their title and their content. */
const PAGES = {
    "/": ["anyone", "Articles", shop.articles],
    "/cart": ["anyone", "Cart", shop.cart],
    "/login": ["anyone", "Sign in", shop.login],
    "/register": ["anyone", "Register", shop.register],
    "/my-orders": ["user", "My orders", shop.myOrders],
    "/profile": ["user", "Profile", shop.profile],
    "/admin/users": ["admin", "Users", admin.users],
    "/admin/stock": ["admin", "Stock", admin.stock],
    "/admin/orders": ["admin", "Orders", admin.orders],
};

const main = document.getElementById("main");
let shown = 0;

async function content([access, title, make], query) {
    if (access !== "anyone" && !who()) return [h("h1", null, title), h("p", null, h("a", { href: `/login?next=${location.pathname}` }, "Sign in"), " to see this page.")];
    if (access === "admin" && !who().isAdmin) return [h("h1", null, title), h("p", null, "Only administrators may see this page.")];
    return make(query);
}

/** Shows the page of the current address. */
async function show() {
    const mine = ++shown;
    const page = PAGES[location.pathname];
    if (!page) return location.reload();
    main.setAttribute("aria-busy", "true");
    let children;
    try {
        children = await content(page, new URLSearchParams(location.search));
    } catch (error) {
        children = [h("h1", null, page[1]), h("p", null, error.message), button("Try again", show)];
    }
    // A later click was faster.
    if (mine !== shown) return;
    document.title = `${page[1]} – Comptoir`;
    main.replaceChildren(...children.flat().filter(Boolean));
    main.removeAttribute("aria-busy");
    for (const link of document.querySelectorAll("nav a")) {
        if (link.pathname === location.pathname) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
    }
}

async function go(address) {
    if (address !== location.pathname + location.search) history.pushState(null, "", address);
    say("");
    await show();
    main.focus();
}

shop.navigateWith(go);
admin.navigateWith(go);
addEventListener("popstate", show);
document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a");
    const isPlain = event.button === 0 && !(event.metaKey || event.ctrlKey || event.shiftKey || event.altKey);
    if (!link || !isPlain || link.origin !== location.origin || !(link.pathname in PAGES) || link.hash) return;
    event.preventDefault();
    go(link.pathname + link.search);
});

onUser((user) => {
    const isFor = { anyone: !user, user: Boolean(user), admin: Boolean(user?.isAdmin) };
    for (const element of document.querySelectorAll("[data-for]")) element.hidden = !isFor[element.dataset.for];
});
document.getElementById("sign-out").addEventListener("click", async () => {
    try {
        await signOut();
        await go("/");
        say("You are signed out.");
    } catch (error) {
        say(error.message, true);
    }
});

function countCart() {
    const count = lines().reduce((sum, [, quantity]) => sum + quantity, 0);
    document.getElementById("cart-count").textContent = count ? `(${count})` : "";
}
onCart(countCart);
countCart();

// The footer: which revision of each service answered last, and whether from the cache.
const revisions = new Map();
onAnswer((headers) => {
    const [service, digest] = (headers.get("x-comptoir-revision") ?? "").split("@");
    if (!service) return;
    revisions.set(service, `${service} ${digest} (${headers.get("x-comptoir-cache") ?? "no cache"})`);
    document.getElementById("revisions").textContent = [...revisions.values()].join(", ");
});

const watch = document.getElementById("watch");
let timer = null;
const ask = () => Promise.allSettled([api("HEAD", "/cart"), api("GET", "/products?limit=1")]);
watch.addEventListener("click", () => {
    const isOn = timer === null;
    clearInterval(timer);
    timer = isOn ? setInterval(ask, 1000) : null;
    watch.setAttribute("aria-pressed", String(isOn));
});

try {
    await resume();
} catch (error) {
    say(error.message, true);
}
ask();
await show();
watch.hidden = false;
