//! Who sees which orders, and in what order.

use kit::native::get;
use serde_json::json;

use super::{one, order, set_status, start};

#[test]
fn orders_are_listed_newest_first_and_by_id_within_a_second() {
    let database = start();
    for product in 1..=5 {
        order("ada", one(product, 1));
    }
    order("bob", one(1, 1));
    database.execute("UPDATE orders SET date_creation = '2020-01-01 00:00:00' WHERE id = 5", []).unwrap();
    database.execute("UPDATE orders SET date_creation = '2024-01-01 00:00:00' WHERE id <> 5", []).unwrap();
    let answer = get("/orders").by("ada", "user").send();
    let ids: Vec<_> = answer.body["data"].as_array().unwrap().iter().map(|order| &order["id"]).collect();
    assert_eq!(json!(ids), json!([4, 3, 2, 1, 5]));
    assert_eq!(answer.body["count"], 5);
    assert_eq!(answer.body["data"][0]["items"][0]["product_id"], 4);
}

#[test]
fn a_user_without_orders_has_an_empty_list() {
    start();
    let answer = get("/orders").by("ada", "user").send();
    assert_eq!(answer.text, r#"{"success":true,"data":[],"count":0}"#);
}

#[test]
fn anothers_order_is_not_there_but_for_administrators() {
    start();
    order("ada", one(1, 1));
    assert_eq!(get("/orders/1").by("bob", "user").send().outcome(), (404, "ORDER_NOT_FOUND"));
    assert_eq!(get("/orders/1").by("Ada", "user").send().outcome(), (404, "ORDER_NOT_FOUND"));
    assert_eq!(set_status(&json!(1), "cancelled", "bob", "user").outcome(), (404, "ORDER_NOT_FOUND"));
    assert_eq!(get("/orders/1").by("root", "admin").send().status, 200);
    assert_eq!(get("/orders").by("root", "admin").send().body["count"], 0);
    for id in ["2", "abc", "-1", "9223372036854775808"] {
        assert_eq!(get(&format!("/orders/{id}")).by("ada", "user").send().outcome(), (404, "ORDER_NOT_FOUND"));
    }
}

#[test]
fn an_order_is_listed_whole_or_not_at_all() {
    let database = start();
    for id in 6..=99 {
        let sql = "INSERT INTO products VALUES (?1, 'Thing', 1, '', 1000, '2024-01-01 00:00:00')";
        database.execute(sql, [id]).unwrap();
    }
    let lines: Vec<_> = (6..=99).map(|id| json!({ "product_id": id, "quantity": 1 })).collect();
    for _ in 0..60 {
        assert_eq!(order("ada", json!(lines)).status, 201);
    }
    let answer = get("/orders").by("ada", "user").send();
    assert_eq!(answer.body["count"], 5_000 / lines.len());
    let listed = answer.body["data"].as_array().unwrap();
    assert!(listed.iter().all(|order| order["items"].as_array().unwrap().len() == lines.len()));
    assert_eq!(listed[0]["id"], 60);
}
