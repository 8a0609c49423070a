// The pages for administrators. The host checks each request: these pages only show what it allows.

import { api, list } from "/assets/api.js";
import { button, field, form, h, price, say, table } from "/assets/dom.js";
import { orderCard } from "/assets/shop.js";

let go;
export const navigateWith = (navigate) => { go = navigate; };

export async function users() {
    const found = await list("/users?limit=100");
    const remove = (user) => button("Delete", async () => {
        if (!confirm(`Delete ${user.username} with the login and all sessions?`)) return;
        await api("DELETE", `/users/${user.id}`);
        await go("/admin/users");
        say(`${user.username} was deleted.`);
    }, { class: "quiet", "aria-label": `Delete ${user.username}` });
    const name = (user) => [user.first_name, user.last_name].filter(Boolean).join(" ");
    return [
        h("h1", null, "Users"),
        table(`The first ${found.length} users`, ["Number#", "Username", "Name", "E-mail", "Since", ""], found.map((user) => [
            user.id, user.username, name(user), user.email ?? "", user.date_creation, remove(user),
        ])),
        h("h2", null, "Create a user"),
        form("Create", [
            field("Username", { name: "username", required: true, maxlength: 150, autocomplete: "off" }),
            field("E-mail", { name: "email", type: "email", autocomplete: "off" }),
            field("Password", { name: "password", type: "password", autocomplete: "new-password" }, "Without one, the user cannot sign in."),
        ], async (values) => {
            await api("POST", "/users", values);
            await go("/admin/users");
            say(`${values.username} was created.`);
        }),
    ];
}

export async function stock() {
    const products = await list("/products?limit=100");
    const rows = products.map((product) => [product.id, product.name, price(product.price), product.stock]);
    return [h("h1", null, "Stock"), table("What is left to sell", ["Number#", "Article", "Price#", "In stock#"], rows)];
}

/** The steps of an order, as the service orders allows them. */
const STEPS = {
    pending: [["paid", "Mark as paid"], ["cancelled", "Cancel"]],
    paid: [["shipped", "Mark as shipped"], ["cancelled", "Cancel"]],
    shipped: [["delivered", "Mark as delivered"]],
};

export async function orders() {
    const place = h("div");
    const show = (order) => place.replaceChildren(orderCard(order, STEPS[order.status] ?? [], show));
    const open = async ({ number }) => show((await api("GET", `/orders/${encodeURIComponent(number)}`)).data);
    const number = field("Number of the order", { name: "number", inputmode: "numeric", pattern: "[0-9]+", required: true });
    return [h("h1", null, "Orders"), form("Open", [number], open), place];
}
