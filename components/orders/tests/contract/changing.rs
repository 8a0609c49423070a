//! PUT /orders/{id}: the steps of an order, who may take them, and how cancelling returns stock.

use kit::native::{get, put};
use serde_json::json;

use super::{SEED, one, order, set_status, start, stock, stocks};

#[test]
fn an_administrator_takes_an_order_through_all_steps() {
    start();
    order("ada", one(1, 1));
    for status in ["paid", "shipped", "delivered"] {
        let answer = set_status(&json!(1), status, "root", "admin");
        assert_eq!((answer.status, &answer.body["data"]["status"]), (200, &json!(status)));
        assert!(answer.body["message"].is_string());
        assert_eq!(get("/orders/1").by("ada", "user").send().body["data"], answer.body["data"]);
    }
    for status in ["pending", "paid", "shipped", "cancelled"] {
        assert_eq!(set_status(&json!(1), status, "root", "admin").outcome(), (409, "INVALID_TRANSITION"));
    }
    assert_eq!(stock(1), 9);
}

#[test]
fn the_buyer_may_only_cancel() {
    start();
    order("ada", one(1, 1));
    assert_eq!(set_status(&json!(1), "paid", "ada", "user").outcome(), (403, "FORBIDDEN"));
    assert_eq!(set_status(&json!(1), "delivered", "ada", "user").outcome(), (409, "INVALID_TRANSITION"));
    assert_eq!(set_status(&json!(1), "pending", "ada", "user").status, 200);
    assert_eq!(set_status(&json!(1), "cancelled", "ada", "user").status, 200);
}

#[test]
fn cancelling_returns_the_stock_once() {
    start();
    let items = json!([{ "product_id": 1, "quantity": 3 }, { "product_id": 5, "quantity": 4 }]);
    order("ada", items);
    order("ada", one(1, 1));
    assert_eq!(stocks(), [6, 15, 20, 12, 14]);
    for _ in 0..3 {
        let answer = set_status(&json!(1), "cancelled", "ada", "user");
        assert_eq!((answer.status, &answer.body["data"]["status"]), (200, &json!("cancelled")));
        assert_eq!(stocks(), [9, 15, 20, 12, 18]);
    }
    assert_eq!(set_status(&json!(1), "paid", "root", "admin").outcome(), (409, "INVALID_TRANSITION"));
}

#[test]
fn a_missing_status_is_refused_before_a_missing_order() {
    start();
    order("ada", one(1, 1));
    for body in [
        json!({}),
        json!({ "status": null }),
        json!({ "status": 1 }),
        json!({ "status": "" }),
        json!([]),
        json!({ "Status": "paid" }),
    ] {
        for id in [1, 99] {
            let answer = put(&format!("/orders/{id}"), body.clone()).by("ada", "user").send();
            assert_eq!(answer.outcome(), (400, "MISSING_STATUS"), "{body}");
        }
    }
    assert_eq!(set_status(&json!(99), "nonsense", "ada", "user").outcome(), (404, "ORDER_NOT_FOUND"));
    for status in ["nonsense", " ", "PAID", "canceled"] {
        assert_eq!(set_status(&json!(1), status, "ada", "user").outcome(), (400, "INVALID_STATUS"));
    }
}

#[test]
fn random_requests_conserve_the_stock() {
    let database = start();
    let mut state = 42_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((state >> 33) % below).unwrap()
    };
    let statuses = ["pending", "paid", "shipped", "delivered", "cancelled"];
    for _ in 0..2_000 {
        if random(2) == 0 {
            let lines = random(3) + 1;
            let line =
                |random: &mut dyn FnMut(u64) -> i64| json!({ "product_id": random(6) + 1, "quantity": random(4) + 1 });
            let items: Vec<_> = (0..lines).map(|_| line(&mut random)).collect();
            assert!(matches!(order("ada", json!(items)).status, 201 | 400));
        } else {
            let status = statuses[usize::try_from(random(5)).unwrap()];
            let answer = set_status(&json!(random(60) + 1), status, "root", "admin");
            assert!(matches!(answer.status, 200 | 404 | 409));
        }
        let sql =
            "SELECT p.stock + coalesce((SELECT sum(i.quantity) FROM order_items i JOIN orders o ON o.id = i.order_id
                   WHERE i.product_id = p.id AND o.status <> 'cancelled'), 0) FROM products p ORDER BY p.id";
        let mut statement = database.prepare_cached(sql).unwrap();
        let held: Vec<i64> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(held, SEED);
    }
}
