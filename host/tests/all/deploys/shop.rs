//! The shop's own services, swapped with copies of themselves: nobody notices.

use reqwest::Method;
use serde_json::json;

use crate::harness::{PASSWORD, Shop, component, send};

/// The same code under another digest: a custom section without contents at its end.
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
async fn lockouts_sessions_and_stock_are_the_same_after_a_swap() {
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
