//! POST /orders: placed and refused orders.

use kit::native::{get, post};
use serde_json::json;

use super::{SEED, one, order, set_status, start, stock, stocks};

#[test]
fn an_order_takes_the_stock_and_returns_all_fields() {
    start();
    let items = json!([{ "product_id": 3, "quantity": 2 }, { "product_id": 1, "quantity": 1 }]);
    let answer = order("Łukasz 日本", items);
    assert_eq!(answer.status, 201);
    assert!(answer.body["message"].is_string());
    let data = &answer.body["data"];
    let date = data["date_creation"].as_str().unwrap();
    assert_eq!((date.len(), &date[10..11]), (19, " "));
    let laptop = json!({ "id": 1, "order_id": 1, "product_id": 1, "product_name": "Laptop Dell XPS 13",
        "quantity": 1, "price": 1299.0 });
    let headphones = json!({ "id": 2, "order_id": 1, "product_id": 3, "product_name": "Sony WH-1000XM5",
        "quantity": 2, "price": 399.0 });
    let expected = json!({ "id": 1, "user_id": "Łukasz 日本", "total": 2097.0, "status": "pending",
        "date_creation": date, "items": [laptop, headphones] });
    assert_eq!(data, &expected);
    assert_eq!(stocks(), [9, 15, 18, 12, 18]);
    assert_eq!(&get("/orders/1").by("Łukasz 日本", "user").send().body["data"], data);
    assert_eq!(&get("/orders").by("Łukasz 日本", "user").send().body["data"][0], data);
}

#[test]
fn an_anonymous_caller_cannot_order() {
    start();
    assert_eq!(post("/orders", json!({ "items": one(1, 1) })).send().outcome(), (401, "MISSING_TOKEN"));
}

#[test]
fn a_body_without_items_is_refused() {
    start();
    for body in
        [json!({}), json!([]), json!(null), json!({ "items": null }), json!({ "items": [] }), json!({ "items": {} })]
    {
        let answer = post("/orders", body.clone()).by("ada", "user").send();
        assert_eq!(answer.outcome(), (400, "MISSING_ITEMS"), "{body}");
    }
    let good = br#"{"items":[{"product_id":1,"quantity":1}]}"#;
    for (content_type, body, status) in [
        ("text/plain", &good[..], 400),
        ("application/json", b"", 400),
        ("application/json", b"{", 400),
        ("application/vnd.shop+json; charset=utf-8", good, 201),
    ] {
        let answer = post("/orders", json!(null)).with_body(content_type, body).by("ada", "user").send();
        assert_eq!(answer.status, status, "{content_type}");
    }
}

#[test]
fn a_bad_line_fails_the_order() {
    start();
    for items in [
        one(1, 0),
        one(1, -5),
        one(1, 1_000_001),
        one(99, 1),
        one(0, 1),
        one(1, 11),
        json!([1]),
        json!([{ "product_id": 1, "quantity": 1.5 }]),
        json!([{ "product_id": 1, "quantity": "2" }]),
        json!([{ "product_id": 1, "quantity": true }]),
        json!([{ "product_id": 1, "quantity": null }]),
        json!([{ "product_id": 1 }]),
        json!([{ "product_id": 1, "quantity": 6 }, { "product_id": 1, "quantity": 6 }]),
    ] {
        let answer = order("ada", items.clone());
        assert_eq!(answer.outcome(), (400, "ORDER_CREATION_FAILED"), "{items}");
    }
    assert_eq!(stocks(), SEED);
}

#[test]
fn a_bad_later_line_takes_no_stock() {
    let database = start();
    for second in [json!({ "product_id": 2, "quantity": 16 }), json!({ "product_id": 77, "quantity": 1 })] {
        let answer = order("ada", json!([{ "product_id": 1, "quantity": 1 }, second]));
        assert_eq!(answer.outcome(), (400, "ORDER_CREATION_FAILED"));
    }
    assert_eq!(stocks(), SEED);
    let orders: i64 = database.query_row("SELECT count(*) FROM orders", [], |row| row.get(0)).unwrap();
    assert_eq!(orders, 0);
}

#[test]
fn the_stock_is_sold_once() {
    start();
    let sold = (0..30).filter(|_| order("ada", one(1, 1)).status == 201).count();
    assert_eq!((sold, stock(1)), (10, 0));
}

#[test]
fn a_total_beyond_the_limit_is_refused() {
    let database = start();
    database.execute("UPDATE products SET price_cents = 1000000000000000", []).unwrap();
    assert_eq!(order("ada", one(1, 1)).status, 201);
    assert_eq!(order("ada", one(1, 2)).outcome(), (400, "ORDER_CREATION_FAILED"));
    let two = json!([{ "product_id": 1, "quantity": 1 }, { "product_id": 2, "quantity": 1 }]);
    assert_eq!(order("ada", two).outcome(), (400, "ORDER_CREATION_FAILED"));
    assert_eq!(stocks(), [9, 15, 20, 12, 18]);
}

#[test]
fn an_order_keeps_its_names_and_prices() {
    let database = start();
    let placed = order("ada", one(1, 2)).body["data"].clone();
    database.execute("UPDATE products SET name = 'Other', price_cents = 1 WHERE id = 1", []).unwrap();
    assert_eq!(get("/orders/1").by("ada", "user").send().body["data"], placed);
    database.execute("DELETE FROM products WHERE id = 1", []).unwrap();
    assert_eq!(get("/orders/1").by("ada", "user").send().body["data"], placed);
    assert_eq!(set_status(&json!(1), "cancelled", "ada", "user").status, 200);
}

#[test]
fn a_busy_writer_gives_503_with_retry_after() {
    let database = start();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    let answer = order("ada", one(1, 1));
    assert_eq!(answer.outcome(), (503, "STORAGE_BUSY"));
    assert_eq!(answer.headers, [("retry-after", "1".to_owned())]);
}
