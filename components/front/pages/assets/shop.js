// The pages for everybody who buys: articles, cart, orders, sign in, register, profile. Each function returns the content of a page.

import { api, forget, idempotencyKey, list, signIn, who } from "/assets/api.js";
import { add, clear, lines, set } from "/assets/cart.js";
import { button, field, form, h, price, say, table } from "/assets/dom.js";

/** Shows another page. Set by the module that knows all pages. */
let go;
export const navigateWith = (navigate) => { go = navigate; };

const stock = (product) => (product.stock > 0 ? `${product.stock} in stock` : "Sold out");

export async function articles(query) {
    const after = query.get("page");
    const page = await api("GET", after ? `/products?${after}` : "/products?limit=50");
    const card = (product) => h("li", { id: `article-${product.id}` },
        h("h2", null, product.name),
        h("p", null, product.description),
        h("p", { class: "price" }, price(product.price)),
        h("p", null, stock(product)),
        button("Add to cart", () => {
            add(product.id);
            say(`${product.name} is in your cart.`);
        }, { disabled: product.stock === 0, "aria-label": `Add to cart: ${product.name}` }),
    );
    const more = page.next && `/?page=${encodeURIComponent(page.next.split("?")[1] ?? "")}`;
    return [
        h("h1", null, "Articles"),
        h("ul", { class: "articles" }, page.data.map(card)),
        more ? h("p", null, h("a", { href: more }, "More articles")) : null,
    ];
}

async function product(id) {
    try {
        return (await api("GET", `/products/${id}`)).data;
    } catch (error) {
        if (error.status === 404) return null;
        throw error;
    }
}

export async function cart() {
    const found = await Promise.all(lines().map(async ([id, quantity]) => [await product(id), id, quantity]));
    // Articles that are no longer sold leave the cart.
    found.filter(([known]) => !known).forEach(([, id]) => set(id, 0));
    const rows = found.filter(([known]) => known);
    if (rows.length === 0) return [h("h1", null, "Cart"), h("p", null, "Your cart is empty. ", h("a", { href: "/" }, "See the articles."))];
    const total = rows.reduce((sum, [known, , quantity]) => sum + Math.round(known.price * 100) * quantity, 0) / 100;
    const quantity = (known, id, count) => h("input", {
        id: `quantity-${id}`, type: "number", min: 0, max: 1_000_000, step: 1, value: count, "aria-label": `Quantity of ${known.name}`,
        onchange: async (event) => {
            set(id, Math.trunc(Number(event.target.value)) || 0);
            await go("/cart");
            // Keys that count up and down go on working.
            document.getElementById(`quantity-${id}`)?.focus();
        },
    });
    const key = idempotencyKey();
    const order = button(who() ? "Place the order" : "Sign in to order", async () => {
        if (!who()) return go("/login?next=/cart");
        const items = rows.map(([, id, count]) => ({ product_id: id, quantity: count }));
        const placed = await api("POST", "/orders", { items }, { "idempotency-key": key });
        clear();
        await go("/my-orders");
        say(`Your order ${placed.data.id} was placed.`);
    });
    return [
        h("h1", null, "Cart"),
        table("What you have chosen", ["Article", "Price#", "Quantity#", "Sum#", "In stock"], rows.map(([known, id, count]) => [
            known.name, price(known.price), quantity(known, id, count), price(Math.round(known.price * 100) * count / 100), stock(known),
        ])),
        h("p", { class: "price" }, `Total: ${price(total)}`),
        h("div", { class: "actions" }, order, button("Empty the cart", () => {
            clear();
            return go("/cart");
        }, { class: "quiet" })),
    ];
}

/** An order, with buttons for the steps that are possible. */
export function orderCard(order, steps, changed) {
    const step = (status, label) => button(label, async () => {
        const { data } = await api("PUT", `/orders/${order.id}`, { status });
        await changed(data);
        say(`The order ${order.id} is ${data.status}.`);
    }, { class: "quiet", "aria-label": `${label}: order ${order.id}` });
    return h("article", { class: "card", "aria-labelledby": `order-${order.id}` },
        h("h2", { id: `order-${order.id}` }, `Order ${order.id}: ${order.status}`),
        h("p", null, `${order.user_id} on ${order.date_creation} UTC`),
        table("Its items", ["Article", "Price#", "Quantity#"], order.items.map((item) => [item.product_name, price(item.price), item.quantity])),
        h("p", { class: "price" }, `Total: ${price(order.total)}`),
        h("div", { class: "actions" }, steps.map(([status, label]) => step(status, label))),
    );
}

export async function myOrders(query) {
    const after = query.get("page");
    const page = await api("GET", after ? `/orders?${after}` : "/orders?limit=20");
    const steps = ({ status }) => (["pending", "paid"].includes(status) ? [["cancelled", "Cancel"]] : []);
    const more = page.next && `/my-orders?page=${encodeURIComponent(page.next.split("?")[1] ?? "")}`;
    return [
        h("h1", null, "My orders"),
        page.data.length === 0 ? h("p", null, "You have no orders yet.") : null,
        page.data.map((order) => orderCard(order, steps(order), () => go(location.pathname + location.search))),
        more ? h("p", null, h("a", { href: more }, "Earlier orders")) : null,
    ];
}

const username = () => field("Username", { name: "username", required: true, autocomplete: "username", maxlength: 150, autocapitalize: "none" });

/** Where a visitor wanted to go before signing in. */
const next = (query) => (["/cart", "/my-orders", "/profile"].includes(query.get("next")) ? query.get("next") : "/");

export function login(query) {
    return [
        h("h1", null, "Sign in"),
        form("Sign in", [
            username(),
            field("Password", { name: "password", type: "password", required: true, autocomplete: "current-password" }),
        ], async ({ username, password }) => {
            await signIn(username, password);
            await go(next(query));
            say(`You are signed in as ${who().name}.`);
        }),
        h("p", null, "No account yet? ", h("a", { href: `/register?next=${next(query)}` }, "Register.")),
    ];
}

const newPassword = (name) => field("New password", { name, type: "password", required: true, autocomplete: "new-password", maxlength: 1024 },
    "At least 8 characters, not a common password, and not your username.");

export function register(query) {
    const key = idempotencyKey();
    return [
        h("h1", null, "Register"),
        form("Register", [
            username(),
            field("E-mail", { name: "email", type: "email", autocomplete: "email" }, "You may leave it empty."),
            newPassword("password"),
        ], async (values) => {
            await api("POST", "/auth/register", values, { "idempotency-key": key });
            await signIn(values.username, values.password);
            await go(next(query));
            say(`Welcome, ${who().name}.`);
        }),
    ];
}

const PROFILE = [
    ["email", "E-mail", { type: "email", autocomplete: "email" }],
    ["first_name", "First name", { autocomplete: "given-name" }],
    ["last_name", "Last name", { autocomplete: "family-name" }],
    ["phone", "Phone", { type: "tel", autocomplete: "tel" }],
    ["address", "Address", { autocomplete: "street-address" }],
];

export async function profile() {
    const [{ data: user }, sessions] = await Promise.all([api("GET", "/users/profile"), list("/auth/sessions")]);
    const again = () => go("/profile");
    return [
        h("h1", null, `Profile of ${user.username}`),
        form("Save", PROFILE.map(([name, label, attributes]) => field(label, { name, value: user[name] ?? "", ...attributes })), async (_, { elements }) => {
            const changed = PROFILE.map(([name]) => [name, elements[name].value]).filter(([name, value]) => value !== (user[name] ?? ""));
            if (changed.length === 0) return say("Nothing has changed.");
            await api("PUT", `/users/${user.id}`, Object.fromEntries(changed));
            await again();
            say("Your profile was saved.");
        }),
        h("h2", null, "Change your password"),
        form("Change", [
            field("Current password", { name: "current", type: "password", required: true, autocomplete: "current-password" }),
            newPassword("new"),
        ], async (values) => {
            await api("PUT", "/auth/password", values);
            await again();
            say("Your password was changed. Your other sessions have ended.");
        }),
        h("h2", null, "Your sessions"),
        table("Times are in UTC", ["Signed in", "Last used", "Ends", ""], sessions.map((session) => [
            session.date_creation, session.date_last_use, session.date_expiry,
            session.current ? "this session" : button("End", async () => {
                await api("DELETE", `/auth/sessions/${encodeURIComponent(session.id)}`);
                await again();
                say("The session has ended.");
            }, { class: "quiet", "aria-label": `End the session of ${session.date_creation}` }),
        ])),
        h("div", { class: "actions" },
            button("End all other sessions", async () => {
                await api("DELETE", "/auth/sessions?scope=others");
                await again();
                say("Your other sessions have ended.");
            }, { class: "quiet" }),
            button("End all sessions", async () => {
                await api("DELETE", "/auth/sessions?scope=global");
                forget();
                await go("/");
                say("All your sessions have ended.");
            }, { class: "quiet" }),
        ),
    ];
}
