//! Status changes: every pair of statuses, by every kind of caller.

use serde_json::json;
use testing::{Client, Shop};

use super::{change, placed, seed, stock};

const STATES: [&str; 5] = ["pending", "paid", "shipped", "delivered", "cancelled"];

/// The row is the current status, the column the requested one, both in the order of `STATES`.
///
/// `=`: no change. `b`: allowed for the buyer and administrators. `a`: only for administrators. `.`: not allowed.
const MATRIX: [&str; 5] = [
    "=a..b", // pending
    ".=a.b", // paid
    "..=a.", // shipped
    "...=.", // delivered
    "....=", // cancelled
];

/// A new order that an administrator has moved to a status.
async fn order_in(state: &str, buyer: &Client, admin: &Client) -> i64 {
    let id = placed(buyer, &[(3, 1)]).await;
    let way: &[&str] = match state {
        "pending" => &[],
        "paid" => &["paid"],
        "shipped" => &["paid", "shipped"],
        "delivered" => &["paid", "shipped", "delivered"],
        _ => &["cancelled"],
    };
    for step in way {
        change(admin, id, step).await.succeeds(200);
    }
    id
}

#[tokio::test]
async fn every_status_change_by_every_caller_follows_the_matrix() {
    let shop = Shop::open().await;
    let (buyer, stranger, admin) = (shop.user("ada").await, shop.user("eve").await, shop.admin().await);
    for (from, row) in STATES.into_iter().zip(MATRIX) {
        let mut id = order_in(from, &buyer, &admin).await;
        for (to, cell) in STATES.into_iter().zip(row.chars()) {
            for (role, client) in [("stranger", &stranger), ("buyer", &buyer), ("admin", &admin)] {
                let answer = change(client, id, to).await;
                let got = (answer.status.as_u16(), answer.body["error"]["code"].as_str().unwrap_or("-"));
                let expected = match (role, cell) {
                    ("stranger", _) => (404, "ORDER_NOT_FOUND"),
                    (_, '=' | 'b') | ("admin", 'a') => (200, "-"),
                    ("buyer", 'a') => (403, "FORBIDDEN"),
                    _ => (409, "INVALID_TRANSITION"),
                };
                assert_eq!(got, expected, "{from} to {to} by the {role}: {}", answer.text);
                let now = if expected.0 == 200 { to } else { from };
                let read = buyer.get(&format!("/orders/{id}")).await;
                assert_eq!(read.succeeds(200)["status"], now, "after {from} to {to} by the {role}");
                if expected.0 == 200 {
                    assert_eq!(answer.data(), read.data());
                    assert!(answer.body["message"].is_string(), "{}", answer.text);
                }
                if now != from {
                    id = order_in(from, &buyer, &admin).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn only_cancelling_returns_the_stock_and_only_once() {
    let shop = Shop::open().await;
    let (buyer, admin) = (shop.user("ada").await, shop.admin().await);
    let items = json!([{ "product_id": 3, "quantity": 7 }, { "product_id": 1, "quantity": 2 }]);
    let order = |answer: &testing::Answer| answer.succeeds(201)["id"].as_i64().unwrap();
    let (kept, paid, pending) = (
        order(&buyer.post("/orders", json!({ "items": items })).await),
        order(&buyer.post("/orders", json!({ "items": items })).await),
        placed(&buyer, &[(2, 15)]).await,
    );
    for step in ["paid", "paid", "shipped", "shipped", "delivered", "delivered"] {
        change(&admin, kept, step).await.succeeds(200);
    }
    change(&admin, paid, "paid").await.succeeds(200);
    assert_eq!(stock(&buyer).await, [(1, 6), (2, 0), (3, 6), (4, 12), (5, 18)].into());
    for _ in 0..3 {
        change(&buyer, paid, "cancelled").await.succeeds(200);
        change(&admin, pending, "cancelled").await.succeeds(200);
        assert_eq!(stock(&buyer).await, [(1, 8), (2, 15), (3, 13), (4, 12), (5, 18)].into());
    }
    change(&admin, kept, "cancelled").await.refuses(409, "INVALID_TRANSITION");
    assert_ne!(stock(&buyer).await, seed(), "delivered orders do not return their stock");
}
