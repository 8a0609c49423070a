// A list of items. Everybody reads it, users with a token add to it.

import { created, defineService, get, getProbe, int, list, object, post, query, text } from "./comptoir/index.js";
import first from "./migrations/1.js";

const Item = object("Item", { id: int(1), owner: text(1), text: text(1, 200) });
const NewItem = object("NewItem", { text: text(1, 200) });

export const { service, handler } = defineService({
  name: "NAME",
  migrations: [first],
  // A new revision serves only after it has answered these.
  probes: [getProbe("/NAME")],
  routes: [
    get("/NAME", "public", listItems, { lists: Item }),
    post("/NAME", "user", createItem, { body: NewItem, creates: Item }),
  ],
});

function listItems() {
  return list(query("SELECT id, owner, text FROM items ORDER BY id DESC LIMIT 100"));
}

function createItem(request) {
  const { text } = request.json();
  const sql = "INSERT INTO items (owner, text) VALUES ($1, $2) RETURNING id, owner, text";
  return created(request.transaction((transaction) => transaction.queryOne(sql, [request.user.username, text])));
}
