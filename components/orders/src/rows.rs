//! All SQL statements of the service: products, orders and stored responses.

use std::ops::RangeInclusive;

use kit::storage::{self, Rows, Transaction};
use kit::{IdempotencyKey, Page, params};
use serde::Deserialize;

use crate::model::{Cart, Cents, FORMER_BUYER, Item, Line, Order, Refusal, Status};

/// Why a write failed.
#[derive(Debug)]
pub(crate) enum Error {
    /// A rule of the shop forbids it.
    Refused(Refusal),
    /// The database failed.
    Storage(storage::Error),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Refused(refusal)
    }
}

impl From<storage::Error> for Error {
    fn from(error: storage::Error) -> Error {
        Error::Storage(error)
    }
}

/// Up to `limit` products with larger ids than `id`, in order. Each is a [`Product`].
pub(crate) fn products_above(id: i64, limit: u32) -> storage::Result<Rows> {
    let sql = "SELECT id, name, price_cents AS price, description, stock, date_creation FROM products
               WHERE id > $1 ORDER BY id LIMIT $2";
    storage::query(sql, params![id, limit])
}

/// Number of products.
pub(crate) fn count_products() -> storage::Result<i64> {
    Ok(storage::query("SELECT count(*) FROM products", &[])?.one()?.unwrap_or(0))
}

/// The row of a [`Product`], or no row.
pub(crate) fn product_by_id(id: i64) -> storage::Result<Rows> {
    let sql = "SELECT id, name, price_cents AS price, description, stock, date_creation FROM products WHERE id = $1";
    storage::query(sql, params![id])
}

/// A page of orders ends with the order that reaches this number of items.
const ITEMS_LIMIT: usize = 10_000;
/// How many rows of items one statement reads for a page. At least one order is complete in them.
const ITEMS_AT_ONCE: RangeInclusive<u32> = 200..=2_000;
/// Maximum orders of a buyer that are counted. Counting more would take too long for a list request.
const COUNTED_ORDERS: u32 = 100_000;
/// A position after the newest possible order: date and id.
const LATEST: (&str, i64) = ("9999-12-31 23:59:59", i64::MAX);

/// A page of a user's orders, newest first, and whether more follow. Within one second, higher ids come first.
///
/// None if the user has no order with the cursor's id. The page ends early if its orders together have very many items, so the
/// response stays bounded.
pub(crate) fn page_of(username: &str, page: Page) -> storage::Result<Option<(Vec<Order>, bool)>> {
    let Some(mut before) = start_of(username, page)? else { return Ok(None) };
    let rows_at_once = (page.limit * 4).clamp(*ITEMS_AT_ONCE.start(), *ITEMS_AT_ONCE.end());
    let (mut orders, mut items) = (Vec::new(), 0);
    loop {
        let (some, is_end) = orders_before(username, &before, rows_at_once)?;
        for order in some {
            if orders.len() == page.limit as usize || items >= ITEMS_LIMIT {
                return Ok(Some((orders, true)));
            }
            items += order.items.len();
            before = (order.date_creation.clone(), order.id);
            orders.push(order);
        }
        if is_end {
            return Ok(Some((orders, false)));
        }
    }
}

/// The position where a page starts: date and id of the order before it.
fn start_of(username: &str, page: Page) -> storage::Result<Option<(String, i64)>> {
    let Some(after) = page.after else { return Ok(Some((LATEST.0.to_owned(), LATEST.1))) };
    let sql = "SELECT date_creation FROM orders WHERE id = $1 AND user_id = $2";
    let rows = storage::query(sql, params![after, username])?;
    Ok(rows.one()?.map(|date| (date, after)))
}

/// The complete orders among the next `rows_at_once` items, and whether the list ends there.
fn orders_before(username: &str, before: &(String, i64), rows_at_once: u32) -> storage::Result<(Vec<Order>, bool)> {
    let sql = "SELECT o.id, o.user_id, o.total_cents AS total, o.status, o.date_creation,
                      i.id AS item_id, i.product_id, i.product_name, i.quantity, i.price_cents AS price
               FROM orders AS o JOIN order_items AS i ON i.order_id = o.id
               WHERE o.user_id = $1 AND (o.date_creation, o.id) < ($2, $3)
               ORDER BY o.date_creation DESC, o.id DESC, i.product_id
               LIMIT $4";
    let rows = storage::query(sql, params![username, before.0.as_str(), before.1, rows_at_once])?;
    let mut some = orders(&rows)?;
    if rows.len() < rows_at_once as usize {
        return Ok((some, true));
    }
    // The last order may be incomplete.
    some.pop();
    if some.is_empty() {
        return Err(storage::Error::Invalid(format!("an order has {rows_at_once} items or more")));
    }
    Ok((some, false))
}

/// Number of a user's orders, counted up to [`COUNTED_ORDERS`].
pub(crate) fn count_orders(username: &str) -> storage::Result<i64> {
    let sql = "SELECT count(*) FROM (SELECT id FROM orders WHERE user_id = $1 LIMIT $2) AS counted";
    Ok(storage::query(sql, params![username, COUNTED_ORDERS])?.one()?.unwrap_or(0))
}

/// The order with this id, of any buyer.
pub(crate) fn order(id: i64) -> storage::Result<Option<Order>> {
    let sql = "SELECT o.id, o.user_id, o.total_cents AS total, o.status, o.date_creation,
                      i.id AS item_id, i.product_id, i.product_name, i.quantity, i.price_cents AS price
               FROM orders AS o JOIN order_items AS i ON i.order_id = o.id
               WHERE o.id = $1
               ORDER BY i.product_id";
    orders(&storage::query(sql, params![id])?).map(|mut orders| orders.pop())
}

/// A row of an item with its order.
#[derive(Deserialize)]
struct Joined {
    id: i64,
    user_id: String,
    total: Cents,
    status: Status,
    date_creation: String,
    item_id: i64,
    product_id: i64,
    product_name: String,
    quantity: i64,
    price: Cents,
}

/// Groups rows of items into orders. A new order starts where the id changes.
fn orders(rows: &Rows) -> storage::Result<Vec<Order>> {
    let mut orders: Vec<Order> = Vec::new();
    for row in rows.iter() {
        let Joined { id, user_id, total, status, date_creation, item_id, product_id, product_name, quantity, price } =
            row.read()?;
        let item = Item { id: item_id, order_id: id, product_id, product_name, quantity, price };
        match orders.last_mut() {
            Some(order) if order.id == id => order.items.push(item),
            _ => orders.push(Order { id, user_id, total, status, date_creation, items: vec![item] }),
        }
    }
    Ok(orders)
}

/// How many expired responses an order with a key deletes. It adds one, so the table stays small.
const EXPIRED_AT_ONCE: u32 = 20;

/// The cart (as text) and the response body of the first order with a buyer's key. Deletes some expired responses.
pub(crate) fn stored_response(
    transaction: &Transaction,
    buyer: &str,
    key: &IdempotencyKey,
    now: i64,
) -> storage::Result<Option<(String, String)>> {
    let expired = now - IdempotencyKey::KEPT_SECONDS;
    transaction.execute(
        "DELETE FROM answers
         WHERE (user_id, key) IN (SELECT user_id, key FROM answers WHERE given_at <= $1 ORDER BY given_at LIMIT $2)",
        params![expired, EXPIRED_AT_ONCE],
    )?;
    let sql = "SELECT cart, answer FROM answers WHERE user_id = $1 AND key = $2 AND given_at > $3";
    transaction.query(sql, params![buyer, key.as_str(), expired])?.one()
}

/// Stores a response for retries with the same key. Replaces an expired response.
pub(crate) fn store_response(
    transaction: &Transaction,
    buyer: &str,
    key: &IdempotencyKey,
    cart: &Cart,
    body: &[u8],
    now: i64,
) -> storage::Result<()> {
    let sql = "INSERT INTO answers (user_id, key, cart, answer, given_at) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT (user_id, key) DO UPDATE
               SET cart = excluded.cart, answer = excluded.answer, given_at = excluded.given_at";
    let body = String::from_utf8_lossy(body);
    transaction.execute(sql, params![buyer, key.as_str(), &cart.to_string(), &*body, now]).map(drop)
}

/// Takes the stock and stores the order. The caller commits the transaction.
///
/// # Errors
///
/// `UnknownProduct`, `OutOfStock`, `TotalTooHigh` or a storage error. Then the caller must drop the transaction.
pub(crate) fn place(transaction: &Transaction, cart: &Cart, buyer: &str, now: i64) -> Result<Order, Error> {
    let mut items = cart.lines().iter().map(|line| take(transaction, *line)).collect::<Result<Vec<Item>, Error>>()?;
    let total = items.iter().try_fold(Cents(0), |sum, item| sum.plus(item.price.times(item.quantity)?));
    let total = total.ok_or(Refusal::TotalTooHigh)?;
    let date_creation = kit::clock::date_time(now);
    let status = Status::Pending;
    let order_id = inserted(&transaction.query(
        "INSERT INTO orders (user_id, total_cents, status, date_creation) VALUES ($1, $2, $3, $4) RETURNING id",
        params![buyer, total.0, status.as_str(), &date_creation],
    )?)?;
    for item in &mut items {
        item.order_id = order_id;
        item.id = inserted(&transaction.query(
            "INSERT INTO order_items (order_id, product_id, product_name, quantity, price_cents)
             VALUES ($1, $2, $3, $4, $5) RETURNING id",
            params![order_id, item.product_id, &item.product_name, item.quantity, item.price.0],
        )?)?;
    }
    Ok(Order { id: order_id, user_id: buyer.to_owned(), total, status, date_creation, items })
}

/// Takes the stock of one line. One statement checks and takes it. The returned item has no ids yet.
fn take(transaction: &Transaction, line: Line) -> Result<Item, Error> {
    let Line { product, quantity } = line;
    let taken = transaction.query(
        "UPDATE products SET stock = stock - $1 WHERE id = $2 AND stock >= $1 RETURNING name, price_cents",
        params![quantity, product],
    )?;
    if let Some((product_name, price)) = taken.one()? {
        return Ok(Item { id: 0, order_id: 0, product_id: product, product_name, quantity, price });
    }
    let known = !transaction.query("SELECT 1 FROM products WHERE id = $1", params![product])?.is_empty();
    Err(if known { Refusal::OutOfStock { product } } else { Refusal::UnknownProduct { product } }.into())
}

/// The id that an insert returned.
fn inserted(rows: &Rows) -> storage::Result<i64> {
    rows.one()?.ok_or_else(|| storage::Error::Invalid("an insert returned no id".to_owned()))
}

/// Changes an order's status. Returns the stock of a cancelled order. The caller commits the transaction.
///
/// False, without a change, if another request changed the status since the order was read.
pub(crate) fn change_status(transaction: &Transaction, order: &Order, to: Status) -> storage::Result<bool> {
    let changed = transaction.execute(
        "UPDATE orders SET status = $1 WHERE id = $2 AND status = $3",
        params![to.as_str(), order.id, order.status.as_str()],
    )?;
    if changed == 0 {
        return Ok(false);
    }
    if to == Status::Cancelled {
        transaction.execute(
            "UPDATE products
             SET stock = stock + (SELECT quantity FROM order_items WHERE order_id = $1 AND product_id = products.id)
             WHERE id IN (SELECT product_id FROM order_items WHERE order_id = $1)",
            params![order.id],
        )?;
    }
    Ok(true)
}

/// Replaces a buyer's username with [`FORMER_BUYER`] and deletes the buyer's stored responses, in batches.
///
/// A finished batch stays if a later one fails. False if rows are left for the next request.
pub(crate) fn forget_buyer(username: &str) -> storage::Result<bool> {
    let responses =
        "DELETE FROM answers WHERE user_id = $1 AND key IN (SELECT key FROM answers WHERE user_id = $1 LIMIT $2)";
    let orders = "UPDATE orders SET user_id = $1 WHERE id IN (SELECT id FROM orders WHERE user_id = $2 LIMIT $3)";
    Ok(storage::in_batches(|rows| Ok(storage::execute(responses, params![username, rows])? < u64::from(rows)))?
        && storage::in_batches(|rows| {
            Ok(storage::execute(orders, params![FORMER_BUYER, username, rows])? < u64::from(rows))
        })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Product;

    fn cart(items: &str) -> Cart {
        Cart::of(&serde_json::from_str(&format!(r#"{{"items":{items}}}"#)).unwrap()).unwrap()
    }

    fn stock(id: i64) -> i64 {
        product_by_id(id).unwrap().one::<Product<'_>>().unwrap().unwrap().stock
    }

    fn placed(items: &str) -> Order {
        let transaction = storage::begin().unwrap();
        let order = place(&transaction, &cart(items), "ada", 0).unwrap();
        transaction.commit().unwrap();
        order
    }

    fn changed(order: &Order, to: Status) -> bool {
        let transaction = storage::begin().unwrap();
        let changed = change_status(&transaction, order, to).unwrap();
        transaction.commit().unwrap();
        changed
    }

    #[test]
    fn one_of_two_concurrent_changes_succeeds() {
        kit::native::install(&crate::SERVICE);
        let seen = placed(r#"[{"product_id":1,"quantity":4}]"#);
        assert!(changed(&seen, Status::Cancelled));
        assert!(!changed(&seen, Status::Cancelled), "cancelled twice");
        assert!(!changed(&seen, Status::Paid), "paid after it was cancelled");
        assert_eq!(stock(1), 10);
        assert_eq!(order(seen.id).unwrap().unwrap().status, Status::Cancelled);
    }

    #[test]
    fn order_ids_are_never_reused() {
        let database = kit::native::install(&crate::SERVICE);
        let first = placed(r#"[{"product_id":1,"quantity":1}]"#);
        database.execute_batch("DELETE FROM order_items; DELETE FROM orders;").unwrap();
        let second = placed(r#"[{"product_id":1,"quantity":1}]"#);
        assert_eq!((first.id, second.id), (1, 2));
    }

    #[test]
    fn the_schema_refuses_invalid_rows() {
        let database = kit::native::install(&crate::SERVICE);
        placed(r#"[{"product_id":1,"quantity":1}]"#);
        for sql in [
            "UPDATE products SET stock = -1",
            "UPDATE products SET stock = 1.5",
            "UPDATE products SET price_cents = -1",
            "UPDATE orders SET status = 'lost'",
            "UPDATE orders SET user_id = ''",
            "UPDATE order_items SET quantity = 0",
            "UPDATE order_items SET order_id = 99",
            "DELETE FROM orders",
            "INSERT INTO order_items (order_id, product_id, product_name, quantity, price_cents) VALUES (1, 1, '', 1, 1)",
        ] {
            assert!(database.execute(sql, []).is_err(), "{sql}");
        }
    }
}
