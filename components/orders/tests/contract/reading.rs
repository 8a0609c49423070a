//! GET /orders and GET /orders/{id}: visibility and sequence.

use kit::native::{TestResponse, get};
use serde_json::json;

use super::{one, order, set_status, start};

#[test]
fn orders_are_listed_newest_first_then_by_id() {
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
fn only_buyer_and_administrators_see_an_order() {
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
fn pages_never_split_an_order() {
    let database = start();
    for id in 6..=99 {
        let sql = "INSERT INTO products VALUES (?1, 'Thing', 1, '', 1000, '2024-01-01 00:00:00')";
        database.execute(sql, [id]).unwrap();
    }
    let lines: Vec<_> = (6..=99).map(|id| json!({ "product_id": id, "quantity": 1 })).collect();
    for _ in 0..120 {
        assert_eq!(order("ada", json!(lines)).status, 201);
    }
    let answer = get("/orders").by("ada", "user").send();
    // The page ends with the order that reaches 10,000 items.
    assert_eq!((&answer.body["count"], &answer.body["total"]), (&json!(10_000 / lines.len() + 1), &json!(120)));
    let listed = answer.body["data"].as_array().unwrap();
    assert!(listed.iter().all(|order| order["items"].as_array().unwrap().len() == lines.len()));
    assert_eq!(listed[0]["id"], 120);
    let rest = get(&next(&answer).unwrap()).by("ada", "user").send();
    assert_eq!((&rest.body["data"][0]["id"], &rest.body["count"]), (&json!(13), &json!(13)));
    assert_eq!((rest.body.get("total"), next(&rest)), (None, None));
}

/// The path of the next page.
fn next(answer: &TestResponse) -> Option<String> {
    let (_, link) = answer.headers.iter().find(|(name, _)| *name == "link")?;
    Some(link[1..link.find('>').unwrap()].to_owned())
}

#[test]
fn a_list_of_2001_orders_has_three_pages_and_a_total() {
    let database = start();
    let orders = "INSERT INTO orders (user_id, total_cents, status, date_creation)
                  WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2001)
                  SELECT 'ada', 1, 'pending', '2024-01-01 00:00:0' || (i % 7) FROM n";
    database.execute(orders, []).unwrap();
    let items = "INSERT INTO order_items (order_id, product_id, product_name, quantity, price_cents)
                 SELECT id, 1, 'Thing', 1, 1 FROM orders";
    database.execute(items, []).unwrap();
    let (mut pages, mut path) = (Vec::new(), Some("/orders".to_owned()));
    while let Some(here) = path {
        let page = get(&here).by("ada", "user").send();
        let list = page.body["data"].as_array().unwrap();
        let ids = list.iter().map(|order| (order["date_creation"].to_string(), order["id"].as_i64().unwrap()));
        path = next(&page);
        assert_eq!(page.body["total"], path.as_ref().map_or(json!(null), |_| json!(2001)));
        pages.push(ids.collect::<Vec<_>>());
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [1000, 1000, 1]);
    let whole = pages.concat();
    assert!(whole.is_sorted_by(|before, after| before > after), "newest first, without duplicates");
}

#[test]
fn a_late_page_uses_the_index() {
    let database = start();
    let plan = "EXPLAIN QUERY PLAN SELECT id FROM orders
                WHERE user_id = ?1 AND (date_creation, id) < (?2, ?3) ORDER BY date_creation DESC, id DESC LIMIT ?4";
    let plan: String = database.query_row(plan, [1, 2, 3, 4], |row| row.get("detail")).unwrap();
    assert!(plan.contains("orders_of_a_user (user_id=? AND date_creation<?)"), "{plan}");
}
