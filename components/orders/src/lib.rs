//! The orders service: what is for sale, and who ordered what.
//!
//! This file speaks HTTP, [`model`] decides, `rows` stores.
//!
//! # Invariants
//!
//! - Stock is never sold twice: what was in stock at first is what is there now plus what orders hold that are not cancelled.
//! - An order is placed whole or not at all.
//! - Name and price in an order are those of the moment it was placed.
//! - Only the buyer and administrators learn that an order exists. Nobody gets it with the name of a buyer who is gone: the
//!   buyer's sessions end first, then the name is taken off, and a session that ended writes nothing more.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod model;
mod rows;

use kit::storage::{self, Row};
use kit::{Caller, Failure, IdempotencyKey, List, Next, Page, Probe, Request, Response, condition};

use model::{Cart, Order, Power, Refusal, Status, Step};
use rows::Error;

kit::service! {
    name: "orders-service",
    health: "/health",
    migrations: [include_str!("../migrations/1.sql"), include_str!("../migrations/2.sql")],
    schema: 2..=2,
    probes: [Probe::get("/products"), Probe::get("/orders").by("probe")],
    documentation: include_str!("../openapi.json"),
    routes: [
        get("/products", Public, list_products),
        get("/products/{id}", Public, show_product),
        get("/orders", User, list_orders),
        post("/orders", User, place_order, ["idempotency-key"]),
        get("/orders/{id}", User, show_order),
        put("/orders/{id}", User, change_order, ["if-match"]),
        delete("/internal/buyers/{username}", Internal, forget_buyer),
    ],
}

fn list_products(request: &Request) -> Result<Response, Failure> {
    let write = |row: Row<'_>, list: &mut List| {
        let product = rows::product(row)?;
        list.push(&product);
        Ok(product.id)
    };
    Page::of(request)?.by_id(request.path(), rows::products_above, write, rows::count_products)
}

fn show_product(request: &Request) -> Result<Response, Failure> {
    let id = request.id_param("id").ok_or(Refusal::NoSuchProduct)?;
    let rows = rows::product_by_id(id)?;
    let row = rows.first().ok_or(Refusal::NoSuchProduct)?;
    Ok(Response::ok(&rows::product(row)?))
}

fn list_orders(request: &Request) -> Result<Response, Failure> {
    let buyer = &request.user()?.username;
    let page = Page::of(request)?;
    let (orders, more) = rows::page_of(buyer, page)?.ok_or_else(|| Page::refused("after names no order of yours"))?;
    let next = match orders.last().filter(|_| more) {
        Some(last) => Some(Next { after: last.id, total: rows::count_orders(buyer)? }),
        None => None,
    };
    Ok(page.answer(request.path(), Response::list(&orders), next))
}

/// With an `Idempotency-Key` a second time gives the first answer again, and orders nothing. Two at once are one after the
/// other, as the writer is one.
fn place_order(request: &Request) -> Result<Response, Failure> {
    let buyer = request.user()?;
    let key = IdempotencyKey::of(request)?;
    let cart = Cart::read(&request.json_object("MISSING_ITEMS")?)?;
    let transaction = storage::begin()?;
    request.check_session(&transaction)?;
    let now = kit::now();
    if let Some(key) = &key
        && let Some((ordered, answer)) = rows::answered(&transaction, &buyer.username, key, now)?
    {
        let same = ordered == cart.to_string();
        return same.then(|| Response::replayed(201, answer)).ok_or_else(IdempotencyKey::reused);
    }
    let order = rows::place(&transaction, &cart, &buyer.username, now)?;
    let answer = Response::created(&order).with_message("The order was placed.");
    if let Some(key) = &key {
        rows::remember(&transaction, &buyer.username, key, &cart, &answer.to_body(), now)?;
    }
    transaction.commit()?;
    Ok(answer)
}

fn show_order(request: &Request) -> Result<Response, Failure> {
    Ok(of_one(&order_for(request.user()?, request.id_param("id"))?))
}

fn change_order(request: &Request) -> Result<Response, Failure> {
    let caller = request.user()?;
    let body = request.json_object("MISSING_STATUS")?;
    let wanted = body.get("status").and_then(|status| status.as_str()).filter(|status| !status.is_empty());
    let wanted = wanted.ok_or(Refusal::NoStatus)?;
    let id = request.id_param("id");
    // Another request may change the order between the look and the step. Then the step has no effect and this one looks
    // again. As no status is ever taken twice, that ends.
    loop {
        let mut order = order_for(caller, id)?;
        condition::check_if_match(request, &tag(&order))?;
        let status = Status::parse(wanted).ok_or(Refusal::UnknownStatus)?;
        match order.status.step_to(status, power_of(caller))? {
            Step::Stay => return Ok(of_one(&order).with_message("The order has this status already.")),
            Step::Go if take_step(request, &order, status)? => {
                order.status = status;
                return Ok(of_one(&order).with_message("The order was changed."));
            }
            Step::Go => {}
        }
    }
}

/// False if the order is not as it was read any more.
fn take_step(request: &Request, order: &Order, to: Status) -> Result<bool, Failure> {
    let transaction = storage::begin()?;
    request.check_session(&transaction)?;
    let changed = rows::change_status(&transaction, order, to)?;
    if changed {
        transaction.commit()?;
    }
    Ok(changed)
}

/// Takes a name off its orders before somebody else may have it. Called again, it goes on where it broke off.
fn forget_buyer(request: &Request) -> Result<Response, Failure> {
    // A name that cannot be decoded is nobody's.
    let Some(username) = request.param("username") else {
        return Ok(Response::message("The name has no orders any more."));
    };
    if rows::forget_buyer(&username)? {
        Ok(Response::message("The name has no orders any more."))
    } else {
        Err(Failure::unavailable("SERVICE_BUSY", "Not all orders of the name are changed yet: send this again.", 1))
    }
}

/// An order, with the tag by which a client says which state of it was seen.
fn of_one(order: &Order) -> Response {
    Response::ok(order).with_header("etag", tag(order))
}

/// Nothing of an order changes but its status, and no status comes back.
fn tag(order: &Order) -> String {
    format!("\"{}-{}\"", order.id, order.status.as_str())
}

/// An order that the caller may know of. To anyone else it is as if there were none.
fn order_for(caller: &Caller, id: Option<i64>) -> Result<Order, Failure> {
    let id = id.ok_or(Refusal::NoSuchOrder)?;
    let order = rows::order(id)?.filter(|order| caller.is_admin() || order.user_id == caller.username);
    Ok(order.ok_or(Refusal::NoSuchOrder)?)
}

fn power_of(caller: &Caller) -> Power {
    if caller.is_admin() { Power::Admin } else { Power::Buyer }
}

/// Every refusal, with its status and code.
impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let (status, code) = match refusal {
            Refusal::NoItems(_) => (400, "MISSING_ITEMS"),
            Refusal::TooManyLines
            | Refusal::BadLine { .. }
            | Refusal::TooMany { .. }
            | Refusal::UnknownProduct { .. }
            | Refusal::OutOfStock { .. }
            | Refusal::TotalTooHigh => (400, "ORDER_CREATION_FAILED"),
            Refusal::NoSuchProduct => (404, "PRODUCT_NOT_FOUND"),
            Refusal::NoSuchOrder => (404, "ORDER_NOT_FOUND"),
            Refusal::NoStatus => (400, "MISSING_STATUS"),
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
