//! Orders of deleted buyers.

use kit::native::{delete, get, post, put};
use orders::model::FORMER_BUYER;
use serde_json::json;

use super::{one, order, set_status, start, stock, stocks};

#[test]
fn administrators_still_see_orders_of_deleted_buyers() {
    start();
    for buyer in ["ada/é ?", "ada", "ada/é ?"] {
        assert_eq!(order(buyer, one(1, 1)).status, 201);
    }
    let path = format!("/internal/buyers/{}", kit::encode("ada/é ?"));
    for _ in 0..2 {
        assert_eq!(delete(&path).by_service("user").send().status, 200);
    }
    assert_eq!(get("/orders").by("ada/é ?", "user").send().body["count"], 0);
    assert_eq!(get("/orders/1").by("ada/é ?", "user").send().outcome(), (404, "ORDER_NOT_FOUND"));
    assert_eq!(get("/orders").by("ada", "user").send().body["count"], 1);
    for id in [1, 3] {
        let seen = get(&format!("/orders/{id}")).by("root", "admin").send();
        assert_eq!((seen.status, &seen.body["data"]["user_id"]), (200, &FORMER_BUYER.into()));
    }
    assert_eq!(set_status(&json!(3), "cancelled", "root", "admin").status, 200);
    assert_eq!(stock(1), 8);
}

#[test]
fn a_session_that_ended_meanwhile_writes_nothing() {
    let database = start();
    assert_eq!(order("ada", one(1, 1)).status, 201);
    let items = json!({ "items": one(2, 1) });
    let late = post("/orders", items.clone()).by("ada", "user").whose_session_ended();
    let refused = (401, "INVALID_TOKEN");
    assert_eq!(late.send().outcome(), refused);
    let late = post("/orders", items).by("ada", "user").with_header("idempotency-key", "k").whose_session_ended();
    assert_eq!(late.send().outcome(), refused);
    // By now the name and its order could belong to a new user.
    let cancelled = json!({ "status": "cancelled" });
    let late = put("/orders/1", cancelled).by("ada", "user").whose_session_ended();
    assert_eq!(late.send().outcome(), refused);
    let orders: i64 = database.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap();
    assert_eq!((orders, stocks()), (1, vec![9, 15, 20, 12, 18]));
    assert_eq!(get("/orders/1").by("ada", "user").send().body["data"]["status"], "pending");
}

#[test]
fn a_buyer_is_removed_from_thousands_of_orders() {
    let database = start();
    order("ada", one(1, 1));
    let copies = "INSERT INTO orders (user_id, total_cents, status, date_creation)
                  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500)
                  SELECT user_id, total_cents, status, date_creation FROM orders, n";
    database.execute(copies, []).unwrap();
    assert_eq!(delete("/internal/buyers/ada").by_service("user").send().status, 200);
    let left: i64 = database
        .query_row("SELECT count(*) FROM orders WHERE user_id <> ?1", [FORMER_BUYER], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

#[test]
fn a_second_request_continues_with_the_remaining_orders() {
    let database = start();
    let many = "INSERT INTO orders (user_id, total_cents, status, date_creation)
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200001)
                SELECT 'ada', 0, 'pending', '2024-01-01 00:00:00' FROM n";
    database.execute(many, []).unwrap();
    let keys = "INSERT INTO answers (user_id, key, cart, answer, given_at)
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1500)
                SELECT 'ada', 'k-' || i, '', '', 0 FROM n";
    database.execute(keys, []).unwrap();
    let refused = delete("/internal/buyers/ada").by_service("user").send();
    assert_eq!(refused.outcome(), (503, "SERVICE_BUSY"));
    assert!(refused.headers.iter().any(|(name, _)| *name == "retry-after"));
    let left = |table: &str| -> i64 {
        let sql = format!("SELECT count(*) FROM {table} WHERE user_id = 'ada'");
        database.query_row(&sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!((left("answers"), left("orders")), (0, 1));
    assert_eq!(delete("/internal/buyers/ada").by_service("user").send().status, 200);
    assert_eq!(left("orders"), 0);
}

#[test]
fn names_without_orders_are_no_error() {
    start();
    for name in ["nobody", "%ff"] {
        assert_eq!(delete(&format!("/internal/buyers/{name}")).by_service("user").send().status, 200);
    }
}
