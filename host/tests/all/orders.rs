//! `/orders` over HTTP: access, refusals and stored data.

mod placing;
mod steps;
mod stock;

use std::collections::BTreeMap;

use reqwest::Method;
use serde_json::{Value, json};
use testing::{Answer, Client, PASSWORD, Shop, is_date_time, send};

/// Places an order: pairs of a product's id and a quantity.
async fn place(client: &Client, lines: &[(i64, i64)]) -> Answer {
    let items: Vec<Value> =
        lines.iter().map(|(product, quantity)| json!({ "product_id": product, "quantity": quantity })).collect();
    client.post("/orders", json!({ "items": items })).await
}

/// Places an order and returns its id.
async fn placed(client: &Client, lines: &[(i64, i64)]) -> i64 {
    place(client, lines).await.succeeds(201)["id"].as_i64().expect("an order has an id")
}

async fn change(client: &Client, order: i64, status: &str) -> Answer {
    client.put(&format!("/orders/{order}"), json!({ "status": status })).await
}

/// The stock by product.
async fn stock(client: &Client) -> BTreeMap<i64, i64> {
    let answer = client.get("/products").await;
    let products = answer.succeeds(200).as_array().expect("a list of products");
    products.iter().map(|product| (product["id"].as_i64().unwrap(), product["stock"].as_i64().unwrap())).collect()
}

/// The seeded stock.
fn seed() -> BTreeMap<i64, i64> {
    BTreeMap::from([(1, 10), (2, 15), (3, 20), (4, 12), (5, 18)])
}

/// The caller's orders.
async fn orders(client: &Client) -> Vec<Value> {
    let answer = client.get("/orders").await;
    let orders = answer.succeeds(200).as_array().expect("a list of orders").clone();
    assert_eq!(answer.body["count"], orders.len(), "{}", answer.text);
    orders
}

#[tokio::test]
async fn an_order_has_the_same_shape_in_every_answer() {
    let shop = Shop::open().await;
    let ada = shop.user("ada").await;
    let none = ada.get("/orders").await;
    assert_eq!((none.succeeds(200), &none.body["count"]), (&json!([]), &json!(0)));

    let answer = place(&ada, &[(5, 1), (1, 2)]).await;
    let order = answer.succeeds(201).clone();
    assert!(answer.body["message"].is_string() && answer.body.get("count").is_none(), "{}", answer.text);
    assert!(answer.text.contains(r#""total":2947.0,"#), "{}", answer.text);
    assert!(answer.text.contains(r#""price":1299.0"#) && answer.text.contains(r#""price":349.0"#), "{}", answer.text);
    let names: Vec<&str> = order.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["date_creation", "id", "items", "status", "total", "user_id"]);
    assert_eq!((&order["user_id"], &order["status"]), (&json!("ada"), &json!("pending")));
    assert!(order["id"].is_i64() && is_date_time(&order["date_creation"]), "{order}");
    let items = order["items"].as_array().unwrap();
    assert!(items.iter().all(|item| item["id"].is_i64() && item["order_id"] == order["id"]), "{order}");
    let sold: Vec<Value> = items
        .iter()
        .map(|item| json!([item["product_id"], item["product_name"], item["quantity"], item["price"]]))
        .collect();
    let expected = [json!([1, "Laptop Dell XPS 13", 2, 1299.0]), json!([5, "Samsung Galaxy Watch", 1, 349.0])];
    assert_eq!(sold, expected);
    let names: Vec<&str> = items[0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(names, ["id", "order_id", "price", "product_id", "product_name", "quantity"]);

    let path = format!("/orders/{}", order["id"]);
    let read = ada.get(&path).await;
    assert_eq!(read.succeeds(200), &order);
    assert_eq!(read.body.as_object().unwrap().len(), 2, "only `success` and `data`: {}", read.text);
    assert_eq!(orders(&ada).await, std::slice::from_ref(&order));
    let cancelled = ada.put(&path, json!({ "status": "cancelled" })).await;
    let mut expected = order.clone();
    expected["status"] = json!("cancelled");
    assert_eq!(cancelled.succeeds(200), &expected);
    assert!(cancelled.body["message"].is_string(), "{}", cancelled.text);
    assert_eq!(orders(&ada).await, [expected]);
}

#[tokio::test]
async fn every_route_checks_the_token_before_the_body_and_the_row() {
    let shop = Shop::open().await;
    let anon = shop.anon();
    let routes =
        [(Method::GET, "/orders"), (Method::POST, "/orders"), (Method::GET, "/orders/1"), (Method::PUT, "/orders/1")];
    let mut invalid_bodies = Vec::new();
    for (method, path) in routes {
        for authorization in [None, Some("Bearer"), Some("Bearer "), Some("Basic YTpi"), Some("Token abc")] {
            let mut request = anon.request(method.clone(), path).body("{");
            if let Some(value) = authorization {
                request = request.header("authorization", value);
            }
            let answer = send(request).await;
            answer.refuses(401, "MISSING_TOKEN");
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{method} {path} {authorization:?}");
        }
        for token in ["nonsense", "a.b.c", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9."] {
            let answer =
                send(anon.with_token(token).request(method.clone(), path).header("x-request-id", "r").body("{")).await;
            answer.refuses(401, "INVALID_TOKEN");
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{method} {path} {token}");
            invalid_bodies.push(answer.text);
        }
    }
    invalid_bodies.dedup();
    assert_eq!(invalid_bodies.len(), 1, "all invalid tokens get the same answer");
    // The route is checked before the token.
    anon.delete("/orders").await.refuses(405, "METHOD_NOT_ALLOWED");
    anon.delete("/orders/1").await.refuses(405, "METHOD_NOT_ALLOWED");
    anon.get("/orders/1/items").await.refuses(404, "NOT_FOUND");
}

#[tokio::test]
async fn only_its_buyer_and_administrators_can_see_an_order() {
    let shop = Shop::open().await;
    let (ada, eve, admin) = (shop.user("ada").await, shop.user("eve").await, shop.admin().await);
    let id = placed(&ada, &[(1, 1)]).await;
    let path = format!("/orders/{id}");
    let missing = eve.get("/orders/999").await;
    missing.refuses(404, "ORDER_NOT_FOUND");
    let foreign = eve.get(&path).await;
    foreign.refuses(404, "ORDER_NOT_FOUND");
    assert_eq!(
        foreign.body["error"]["message"], missing.body["error"]["message"],
        "the answer must not tell them apart"
    );
    change(&eve, id, "cancelled").await.refuses(404, "ORDER_NOT_FOUND");
    change(&eve, id, "nonsense").await.refuses(404, "ORDER_NOT_FOUND");
    assert_eq!(orders(&eve).await, Vec::<Value>::new());
    assert_eq!(admin.get(&path).await.succeeds(200), &orders(&ada).await[0]);
    assert_eq!(
        orders(&admin).await,
        Vec::<Value>::new(),
        "the list has only the caller's orders, also for an administrator"
    );
    // The token decides who the caller is, not other headers.
    let forged = eve.request(Method::GET, &path).header("x-user-id", "ada").header("x-user-role", "admin");
    send(forged).await.refuses(404, "ORDER_NOT_FOUND");
    assert_eq!(stock(&ada).await[&1], 9);
    for id in ["0", "-1", "abc", "1.0", "%ff", "9223372036854775808", "18446744073709551616"] {
        admin.get(&format!("/orders/{id}")).await.refuses(404, "ORDER_NOT_FOUND");
        admin.put(&format!("/orders/{id}"), json!({ "status": "paid" })).await.refuses(404, "ORDER_NOT_FOUND");
    }
}

#[tokio::test]
async fn a_body_other_than_a_json_object_is_refused_with_the_reason() {
    let shop = Shop::open().await;
    let ada = shop.user("ada").await;
    let id = placed(&ada, &[(1, 1)]).await;
    let path = format!("/orders/{id}");
    // Both routes accept this body if it is sent as JSON.
    let good = r#"{"items":[{"product_id":1,"quantity":1}],"status":"pending"}"#;
    let json = Some("application/json");
    let unusable = [
        (None, "", "absent"),
        (json, "", "empty"),
        (json, "  ", "blank"),
        (json, r#"{"items":[{"product_id":1,"quantity":1}],"status":"pending""#, "cut off"),
        (json, "items=1", "no JSON"),
        (json, "null", "null"),
        (json, "[]", "a list"),
        (json, "\"text\"", "a text"),
        (json, "17", "a number"),
        (json, "{}", "an empty object"),
        (None, good, "of no content type"),
        (Some("text/plain"), good, "of another content type"),
        (Some("application/x-www-form-urlencoded"), "items=1", "a form"),
        (Some("application/jsonp"), good, "of a content type that only looks like it"),
    ];
    for (content_type, body, what) in unusable {
        let answer = ada.send_body(Method::POST, "/orders", content_type, body).await;
        assert_eq!(answer.body["error"]["code"], "MISSING_ITEMS", "a body that is {what}: {}", answer.text);
        answer.refuses(400, "MISSING_ITEMS");
        ada.send_body(Method::PUT, &path, content_type, body).await.refuses(400, "MISSING_STATUS");
        // The body is checked before the row.
        ada.send_body(Method::PUT, "/orders/999", content_type, body).await.refuses(400, "MISSING_STATUS");
        ada.send_body(Method::PUT, "/orders/abc", content_type, body).await.refuses(400, "MISSING_STATUS");
    }
    let accepted = ["application/json", "application/vnd.x+json; charset=utf-8", "APPLICATION/JSON;charset=\"UTF-8\""];
    for content_type in accepted {
        ada.send_body(Method::POST, "/orders", Some(content_type), good).await.succeeds(201);
        ada.send_body(Method::PUT, &path, Some(content_type), good).await.succeeds(200);
    }
}

#[tokio::test]
async fn a_status_is_one_of_five_texts() {
    let shop = Shop::open().await;
    let (ada, admin) = (shop.user("ada").await, shop.admin().await);
    let id = placed(&ada, &[(1, 1)]).await;
    let path = format!("/orders/{id}");
    for client in [&ada, &admin] {
        for status in ["refunded", "Paid", " paid", "canceled", "paid\u{0}", "выполнен"] {
            change(client, id, status).await.refuses(400, "INVALID_STATUS");
            change(client, 999, status).await.refuses(404, "ORDER_NOT_FOUND");
        }
        for status in [json!(null), json!(""), json!(1), json!(true), json!(["paid"]), json!({})] {
            client.put(&path, json!({ "status": status })).await.refuses(400, "MISSING_STATUS");
            client.put("/orders/999", json!({ "status": status })).await.refuses(400, "MISSING_STATUS");
        }
    }
    assert_eq!(orders(&ada).await[0]["status"], "pending");
}

#[tokio::test]
async fn orders_of_the_same_second_have_a_stable_order() {
    let mut shop = Shop::open().await;
    let ada = shop.user("ada").await;
    futures::future::join_all((0..20).map(|_| placed(&ada, &[(3, 1)]))).await;
    shop.stop().await;
    shop.change_rows("orders", "UPDATE orders SET date_creation = '2024-02-29 12:00:00'").await;
    // The oldest ids get the newest dates, because the list is sorted by date first.
    shop.change_rows("orders", "UPDATE orders SET date_creation = '2024-02-29 12:00:01' WHERE id <= 2").await;
    shop.start_again().await;
    let ada = shop.anon().log_in("ada", PASSWORD).await;
    let listed = orders(&ada).await;
    let ids: Vec<i64> = listed.iter().map(|order| order["id"].as_i64().unwrap()).collect();
    let mut expected: Vec<i64> = (3..=20).rev().collect();
    expected.splice(0..0, [2, 1]);
    assert_eq!(ids, expected, "newest first, and within a second the highest id first");
    shop.restart().await;
    let ada = shop.anon().log_in("ada", PASSWORD).await;
    assert_eq!(orders(&ada).await, listed);
}
