//! Tests of the whole service, from request to row, with the kit's stand-in for the host.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod buyers;
mod changing;
mod placing;
mod products;
mod reading;
mod retries;
mod serving;

use kit::JsonValue;
use kit::native::{self, Connection, TestResponse, get, post, put};
use orders::SERVICE;
use serde_json::json;

fn start() -> Connection {
    native::install(&SERVICE)
}

fn order(user: &str, items: JsonValue) -> TestResponse {
    post("/orders", JsonValue::from_iter([("items", items)])).by(user, "user").send()
}

fn one(product: i64, quantity: i64) -> JsonValue {
    json!([{ "product_id": product, "quantity": quantity }])
}

fn set_status(id: &JsonValue, status: &str, user: &str, role: &str) -> TestResponse {
    put(&format!("/orders/{id}"), json!({ "status": status })).by(user, role).send()
}

fn stock(product: i64) -> i64 {
    get(&format!("/products/{product}")).send().body["data"]["stock"].as_i64().unwrap()
}

fn stocks() -> Vec<i64> {
    (1..=5).map(stock).collect()
}

const SEED: [i64; 5] = [10, 15, 20, 12, 18];
