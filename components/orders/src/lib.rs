//! Orders: the service that keeps products and orders.
//!
//! This file handles HTTP. [`model`] decides, `rows` runs SQL.
//!
//! # Invariants
//!
//! - Stock is never sold twice: the initial stock equals the current stock plus the items of all orders that are not cancelled.
//! - An order is placed as a whole or not at all.
//! - An order keeps the product names and prices of the moment it was placed.
//! - Only the buyer and administrators can see that an order exists.
//! - A new user never sees the orders of a deleted user with the same name. When a user is deleted, first the sessions end,
//!   then the name is removed from the orders. A session that has ended cannot write.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod model;
mod rows;

use kit::storage::{self, Row};
use kit::{Caller, Failure, IdempotencyKey, Invalid, List, Next, Page, Probe, Request, Response, condition};

#[cfg(not(target_family = "wasm"))]
use model::NewOrder;
use model::{Cart, Change, Order, Power, Product, Refusal, Status, Step};
use rows::Error;

kit::service! {
    name: "orders-service",
    health: "/health",
    migrations: [include_str!("../migrations/1.sql"), include_str!("../migrations/2.sql")],
    schema: 2..=2,
    probes: [Probe::get("/products"), Probe::get("/orders").by("probe")],
    documentation: include_str!("../openapi.json"),
    routes: [
        /// List products.
        get("/products", Public, list_products).pages::<Product<'_>>("The products."),
        /// Get a product.
        get("/products/{id}", Public, show_product)
            .id("id", "The product's id.")
            .gives::<Product<'_>>("The product.")
            .error(404, "PRODUCT_NOT_FOUND", "There is no such product."),
        /// List the caller's orders, newest first.
        ///
        /// A page ends early if its orders have 10,000 items together. The total is counted up to 100,000.
        get("/orders", User, list_orders).pages::<Order>("The orders."),
        /// Place an order.
        ///
        /// All lines are sold or none. Lines with the same product are added up.
        post("/orders", User, place_order, ["idempotency-key"])
            .body::<NewOrder>()
            .creates::<Order>("The new order.")
            .error(400, "MISSING_ITEMS", "items is missing, empty or not a list, or the body is not a JSON object.")
            .error(400, "ORDER_CREATION_FAILED", "A line is malformed, a product does not exist, or its stock is too small."),
        /// Get an order of the caller. Administrators can get every order.
        get("/orders/{id}", User, show_order)
            .id("id", "The order's id.")
            .gives::<Order>("The order.")
            .tagged()
            .error(404, "ORDER_NOT_FOUND", "There is no such order, or it belongs to another user."),
        /// Change the status of an order.
        ///
        /// The steps are pending, paid, shipped, delivered. A pending or paid order can be cancelled, which returns its stock. Buyers
        /// may only cancel. Administrators may take every step. Setting the current status again changes nothing.
        put("/orders/{id}", User, change_order, ["if-match"])
            .id("id", "The order's id.")
            .body::<Change>()
            .changes::<Order>("The changed order.")
            .tagged()
            .error(400, "MISSING_STATUS", "status is missing or empty, or the body is not a JSON object.")
            .error(400, "INVALID_STATUS", "status is not a known status.")
            .error(403, "FORBIDDEN", "Only administrators may take this step.")
            .error(404, "ORDER_NOT_FOUND", "There is no such order, or it belongs to another user.")
            .error(409, "INVALID_TRANSITION", "An order cannot change from its current status to this one."),
        get("/internal/products", Internal, products_after),
        delete("/internal/buyers/{username}", Internal, forget_buyer),
    ],
}

fn list_products(request: &Request) -> Result<Response, Failure> {
    let write = |row: Row<'_>, list: &mut List| {
        let product: Product<'_> = row.read()?;
        list.push(&product);
        Ok(product.id)
    };
    Page::of(request)?.by_id(request.path(), rows::products_above, write, rows::count_products)
}

/// Up to 100 products whose ids are above `after`, for the service front.
fn products_after(request: &Request) -> Result<Response, Failure> {
    let after: i64 = request.query("after").and_then(|after| after.parse().ok()).unwrap_or_default();
    let limit: u32 = request.query("limit").and_then(|limit| limit.parse().ok()).unwrap_or(100);
    Ok(Response::list(&rows::products_above(after, limit.min(100))?.all::<Product<'_>>()?))
}

fn show_product(request: &Request) -> Result<Response, Failure> {
    let id = request.id_param("id").ok_or(Refusal::NoSuchProduct)?;
    let rows = rows::product_by_id(id)?;
    Ok(Response::ok(&rows.one::<Product<'_>>()?.ok_or(Refusal::NoSuchProduct)?))
}

fn list_orders(request: &Request) -> Result<Response, Failure> {
    let buyer = &request.user()?.username;
    let page = Page::of(request)?;
    let (orders, more) =
        rows::page_of(buyer, page)?.ok_or_else(|| Page::refused("after must come from a Link header of this list."))?;
    let next = match orders.last().filter(|_| more) {
        Some(last) => Some(Next { after: last.id, total: rows::count_orders(buyer)? }),
        None => None,
    };
    Ok(page.answer(request.path(), Response::list(&orders), next))
}

/// Places an order. A retry with the same `Idempotency-Key` gets the first response again and orders nothing.
///
/// Two concurrent retries run one after the other, because the database has one writer.
fn place_order(request: &Request) -> Result<Response, Failure> {
    let buyer = request.user()?;
    let key = IdempotencyKey::of(request)?;
    let cart = Cart::of(&request.json_ignoring_unknown().map_err(bad_cart)?)?;
    let transaction = storage::begin()?;
    request.check_session(&transaction)?;
    let now = kit::now();
    if let Some(key) = &key
        && let Some((first_cart, body)) = rows::stored_response(&transaction, &buyer.username, key, now)?
    {
        let same = first_cart == cart.to_string();
        return same.then(|| Response::replayed(201, body.into_bytes())).ok_or_else(IdempotencyKey::reused);
    }
    let order = rows::place(&transaction, &cart, &buyer.username, now)?;
    let response = Response::created(&order).with_message("The order was placed.");
    if let Some(key) = &key {
        rows::store_response(&transaction, &buyer.username, key, &cart, &response.to_body(), now)?;
    }
    transaction.commit()?;
    Ok(response)
}

fn show_order(request: &Request) -> Result<Response, Failure> {
    Ok(of_one(&order_for(request.user()?, request.id_param("id"))?))
}

fn change_order(request: &Request) -> Result<Response, Failure> {
    let caller = request.user()?;
    let Change { status } = request.json_ignoring_unknown().map_err(|invalid| invalid.with_code("MISSING_STATUS"))?;
    if status.is_empty() {
        return Err(Failure::bad_request("MISSING_STATUS", "The field status is empty."));
    }
    let id = request.id_param("id");
    // Another request may change the order after it was read. Then the step has no effect, and the loop reads it again. An
    // order never returns to an earlier status, so the loop ends.
    loop {
        let mut order = order_for(caller, id)?;
        condition::check_if_match(request, &tag(&order))?;
        let status = Status::parse(&status).ok_or(Refusal::UnknownStatus)?;
        match order.status.step_to(status, power_of(caller))? {
            Step::Stay => return Ok(of_one(&order).with_message("The order already has this status.")),
            Step::Go if take_step(request, &order, status)? => {
                order.status = status;
                return Ok(of_one(&order).with_message("The order was changed."));
            }
            Step::Go => {}
        }
    }
}

/// Changes the order's status. False if another request changed the order since it was read.
fn take_step(request: &Request, order: &Order, to: Status) -> Result<bool, Failure> {
    let transaction = storage::begin()?;
    request.check_session(&transaction)?;
    let changed = rows::change_status(&transaction, order, to)?;
    if changed {
        transaction.commit()?;
    }
    Ok(changed)
}

/// Removes a username from its orders, before user frees the name. A second call continues after an interruption.
fn forget_buyer(request: &Request) -> Result<Response, Failure> {
    let done = || Ok(Response::message("No order has this username any more."));
    // No buyer has a name that cannot be decoded.
    let Some(username) = request.param("username") else { return done() };
    if rows::forget_buyer(&username)? {
        done()
    } else {
        let why = "Some orders still have this username. Send the request again.";
        Err(Failure::unavailable("SERVICE_BUSY", why, 1))
    }
}

/// The response for one order, with its entity tag.
fn of_one(order: &Order) -> Response {
    Response::ok(order).with_header("etag", tag(order))
}

/// The entity tag of an order. Only the status of an order changes, and it never returns to an earlier one.
fn tag(order: &Order) -> String {
    format!("\"{}-{}\"", order.id, order.status.as_str())
}

/// An order that the caller may see. For other callers it does not exist.
fn order_for(caller: &Caller, id: Option<i64>) -> Result<Order, Failure> {
    let id = id.ok_or(Refusal::NoSuchOrder)?;
    let order = rows::order(id)?.filter(|order| caller.is_admin() || order.user_id == caller.username);
    Ok(order.ok_or(Refusal::NoSuchOrder)?)
}

fn power_of(caller: &Caller) -> Power {
    if caller.is_admin() { Power::Admin } else { Power::Buyer }
}

/// A bad line has another code than a bad list.
fn bad_cart(invalid: Invalid) -> Failure {
    let is_line = invalid.path().starts_with("items[");
    invalid.with_code(if is_line { "ORDER_CREATION_FAILED" } else { "MISSING_ITEMS" })
}

/// The HTTP status and the error code of every refusal.
impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let (status, code) = match refusal {
            Refusal::NoItems => (400, "MISSING_ITEMS"),
            Refusal::TooManyLines
            | Refusal::TooMany { .. }
            | Refusal::UnknownProduct { .. }
            | Refusal::OutOfStock { .. }
            | Refusal::TotalTooHigh => (400, "ORDER_CREATION_FAILED"),
            Refusal::NoSuchProduct => (404, "PRODUCT_NOT_FOUND"),
            Refusal::NoSuchOrder => (404, "ORDER_NOT_FOUND"),
            Refusal::UnknownStatus => (400, "INVALID_STATUS"),
            Refusal::IllegalStep { .. } => (409, "INVALID_TRANSITION"),
            Refusal::NotForBuyers => (403, "FORBIDDEN"),
        };
        Failure::new(status, code, refusal.to_string())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::Storage(error) => error.into(),
        }
    }
}
