//! Headers in which a client claims an identity have no effect, on the gateway and on the services' own listeners.

use reqwest::Method;
use serde_json::{Value, json};
use testing::{Answer, Client, Shop, send};

/// Headers that only the host may set, in the spelling that services read and in other spellings.
const CLAIMS: [(&str, &str); 12] = [
    ("x-user-id", "admin"),
    ("X-User-ID", "admin"),
    ("x-user-role", "admin"),
    ("x-user-name", "admin"),
    ("x-user-roles", "admin"),
    ("x-session-id", "another"),
    ("x-comptoir-caller", "auth"),
    ("x-comptoir-user", "admin"),
    ("x-comptoir-revision", "another"),
    ("x-client-address", "192.0.2.1"),
    ("x-forwarded-user", "admin"),
    ("x-authenticated-user", "admin"),
];

/// Sends the request with each of these headers twice.
async fn ask(client: &Client, method: Method, path: &str, body: Value) -> Answer {
    let mut request = client.request(method, path).json(&body);
    for (name, value) in CLAIMS.iter().chain(&CLAIMS) {
        request = request.header(*name, *value);
    }
    send(request).await
}

#[tokio::test]
async fn claims_do_not_identify_an_anonymous_caller() {
    let shop = Shop::open().await;
    for (service, method, path, body) in [
        ("user", Method::GET, "/users", Value::Null),
        ("user", Method::POST, "/users", json!({ "username": "eve" })),
        ("user", Method::GET, "/users/profile", Value::Null),
        ("user", Method::PUT, "/users/1", json!({ "email": "eve@example.com" })),
        ("user", Method::DELETE, "/users/1", Value::Null),
        ("orders", Method::GET, "/orders", Value::Null),
        ("orders", Method::POST, "/orders", json!({ "items": [{ "product_id": 1, "quantity": 1 }] })),
        ("auth", Method::POST, "/auth/logout", json!({})),
    ] {
        for client in [shop.anon(), shop.door(service)] {
            ask(&client, method.clone(), path, body.clone()).await.refuses(401, "MISSING_TOKEN");
        }
    }
    for client in [shop.anon(), shop.door("orders")] {
        ask(&client, Method::GET, "/products", Value::Null).await.succeeds(200);
    }
    let admin = shop.admin().await;
    assert_eq!(admin.get("/users").await.body["count"], 1);
    assert_eq!(admin.get("/users/profile").await.data()["email"], "admin@example.com");
}

#[tokio::test]
async fn claims_do_not_change_the_user_of_a_token() {
    let shop = Shop::open().await;
    let (admin, marta) = (shop.admin().await, shop.user("marta").await);
    let admins = admin.post("/orders", json!({ "items": [{ "product_id": 1, "quantity": 1 }] })).await;
    let admins = format!("/orders/{}", admins.succeeds(201)["id"]);
    for at in [None, Some("user"), Some("orders")] {
        let client = match at {
            None => marta.clone(),
            Some(service) => shop.door(service).with_token(marta.access_token()),
        };
        if at != Some("orders") {
            let profile = ask(&client, Method::GET, "/users/profile", Value::Null).await;
            assert_eq!(profile.succeeds(200)["username"], "marta");
            ask(&client, Method::GET, "/users", Value::Null).await.refuses(403, "FORBIDDEN");
            ask(&client, Method::GET, "/users/1", Value::Null).await.refuses(403, "FORBIDDEN");
            ask(&client, Method::DELETE, "/users/1", Value::Null).await.refuses(403, "FORBIDDEN");
        }
        if at != Some("user") {
            ask(&client, Method::GET, &admins, Value::Null).await.refuses(404, "ORDER_NOT_FOUND");
            let order = json!({ "items": [{ "product_id": 2, "quantity": 1 }] });
            let order = ask(&client, Method::POST, "/orders", order).await;
            assert_eq!(order.succeeds(201)["user_id"], "marta");
            let orders = ask(&client, Method::GET, "/orders", Value::Null).await;
            assert!(orders.succeeds(200).as_array().unwrap().iter().all(|order| order["user_id"] == "marta"));
            let shipped = json!({ "status": "paid" });
            let path = format!("/orders/{}", order.data()["id"]);
            ask(&client, Method::PUT, &path, shipped).await.refuses(403, "FORBIDDEN");
        }
    }
    assert_eq!(admin.get("/orders").await.body["count"], 1);
}

#[tokio::test]
async fn a_logout_ignores_a_session_that_the_client_names_in_a_header() {
    let shop = Shop::open().await;
    let (admin, marta) = (shop.admin().await, shop.user("marta").await);
    let sid = |client: &Client| {
        use base64::Engine as _;
        let payload = client.access_token().split('.').nth(1).expect("a payload").to_owned();
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).expect("base64url");
        let claims: Value = serde_json::from_slice(&payload).expect("JSON");
        claims["sid"].as_str().expect("a session").to_owned()
    };
    let at_door = shop.door("auth").with_token(marta.access_token());
    let request = at_door.request(Method::POST, "/auth/logout").header("x-session-id", sid(&admin));
    send(request.header("x-user-id", "admin")).await.succeeds(200);
    admin.get("/users").await.succeeds(200);
    marta.get("/users/profile").await.refuses(401, "INVALID_TOKEN");
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let shop = Shop::open().await;
    let (admin, marta) = (shop.admin().await, shop.user("marta").await);
    for client in [shop.anon(), shop.door("user")] {
        let request = client.request(Method::GET, "/users").bearer_auth(marta.access_token());
        send(request.bearer_auth(admin.access_token())).await.refuses(401, "INVALID_TOKEN");
    }
}

#[tokio::test]
async fn the_scheme_may_be_written_in_any_case() {
    let shop = Shop::open().await;
    let marta = shop.user("marta").await;
    for scheme in ["Bearer", "bearer", "BEARER"] {
        let value = format!("{scheme} {}", marta.access_token());
        let request = shop.anon().request(Method::GET, "/users/profile").header("authorization", value);
        send(request).await.succeeds(200);
    }
}
