//! Swaps of the shop's services with copies of themselves, which no client notices.

use std::collections::BTreeSet;

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;
use testing::{PASSWORD, Shop, component, send};

/// The same code with another digest, because an empty custom section is added.
pub(super) fn copy(name: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(component(name)).unwrap();
    bytes.extend([0, 5, 4]);
    bytes.extend(b"copy");
    bytes
}

async fn swap(shop: &Shop, name: &str) {
    let before = shop.operator().get(&format!("/services/{name}")).await.data()["revision"].clone();
    let answer = send(shop.operator().request(Method::PUT, &format!("/services/{name}")).body(copy(name))).await;
    let report = answer.succeeds(200);
    assert_eq!((&report["changed"], &report["from"], &report["differences"]), (&json!(true), &before, &json!([])));
    assert_ne!(report["to"], before);
}

#[tokio::test(flavor = "multi_thread")]
async fn lockouts_sessions_and_stock_survive_a_swap() {
    let shop = Shop::open().await;
    let user = shop.user("marta").await;
    shop.user("guessed").await;
    let guess = |password: &str| json!({ "username": "guessed", "password": password });
    for turn in 0..10 {
        let answer = shop.anon().post("/auth/login", guess(&format!("guess {turn}"))).await;
        answer.refuses(401, "INVALID_CREDENTIALS");
    }
    shop.anon().post("/auth/login", guess(PASSWORD)).await.refuses(429, "TOO_MANY_ATTEMPTS");
    let order = json!({ "items": [{ "product_id": 1, "quantity": 4 }] });
    user.post("/orders", order.clone()).await.succeeds(201);
    let (products, orders) = (shop.anon().get("/products").await.text, user.get("/orders").await.text);

    for name in ["auth", "user", "orders"] {
        swap(&shop, name).await;
    }

    shop.anon().post("/auth/login", guess(PASSWORD)).await.refuses(429, "TOO_MANY_ATTEMPTS");
    assert_eq!(shop.anon().get("/products").await.text, products);
    assert_eq!(user.get("/orders").await.text, orders);
    let pair = shop.anon().post("/auth/refresh", json!({ "refresh_token": user.refresh_token() })).await;
    let user = user.with_pair(pair.succeeds(200));
    user.post("/orders", order).await.succeeds(201);
    let left = shop.anon().get("/products/1").await;
    assert_eq!(left.succeeds(200)["stock"], 2);
    shop.admin().await;
}

/// Stock that sells out within a few rounds of orders.
const PRODUCT: i64 = 3;
const STOCK: usize = 20;

/// Activates the copy of `orders`, or rolls back. Both are compiled already.
async fn turn(shop: &Shop, to_copy: bool) -> String {
    let operator = shop.operator();
    let request = if to_copy {
        operator.request(Method::PUT, "/services/orders").body(copy("orders"))
    } else {
        operator.request(Method::POST, "/services/orders/rollback")
    };
    send(request).await.succeeds(200)["to"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_during_a_swap_are_all_answered_and_sell_each_unit_once() {
    let shop = Shop::open().await;
    let buyers = [shop.user("ada").await, shop.user("bob").await];
    let order = json!({ "items": [{ "product_id": PRODUCT, "quantity": 1 }] });
    turn(&shop, true).await;
    turn(&shop, false).await;
    let (mut answers, mut revisions) = (Vec::new(), BTreeSet::new());
    for round in 0..3 {
        let orders = join_all((0..8).map(|turn| buyers[turn % 2].post("/orders", order.clone())));
        let (placed, revision) = tokio::join!(orders, turn(&shop, round % 2 == 0));
        answers.extend(placed);
        let after = buyers[0].post("/orders", order.clone()).await;
        assert_eq!(after.header("x-comptoir-revision"), format!("orders@{}", &revision[..12]));
        answers.push(after);
        revisions.insert(revision);
    }
    assert_eq!(revisions.len(), 2);
    let (sold, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!(sold.len(), STOCK);
    refused.iter().for_each(|answer| answer.refuses(400, "ORDER_CREATION_FAILED"));
    assert_eq!(shop.anon().get(&format!("/products/{PRODUCT}")).await.succeeds(200)["stock"], 0);
    let mut listed = BTreeSet::new();
    for buyer in &buyers {
        listed.extend(
            buyer.get("/orders").await.succeeds(200).as_array().unwrap().iter().map(|order| order["id"].to_string()),
        );
    }
    let ids: BTreeSet<String> = sold.iter().map(|answer| answer.data()["id"].to_string()).collect();
    assert_eq!(listed, ids, "the list has exactly the orders that were answered with 201");
}
