//! The order of checks: first the route, then the token, then the body, then the row.

use reqwest::Method;
use serde_json::json;
use testing::{Answer, Client, Shop};

/// Sends a body that is not JSON.
async fn send_broken(client: &Client, method: Method, path: &str) -> Answer {
    client.send_body(method, path, Some("application/json"), "{").await
}

/// Every path of the contract, with the methods that `Allow` must list.
const PATHS: [(&str, &[&str]); 15] = [
    ("/health", &["GET"]),
    ("/auth/login", &["POST"]),
    ("/auth/refresh", &["POST"]),
    ("/auth/verify", &["POST"]),
    ("/auth/logout", &["POST"]),
    ("/auth/register", &["POST"]),
    ("/auth/password", &["PUT"]),
    ("/users", &["GET", "POST"]),
    ("/users/profile", &["GET"]),
    ("/users/1", &["GET", "PUT", "DELETE"]),
    ("/users/abc", &["GET", "PUT", "DELETE"]),
    ("/products", &["GET"]),
    ("/products/1", &["GET"]),
    ("/orders", &["GET", "POST"]),
    ("/orders/1", &["GET", "PUT"]),
];

#[tokio::test]
async fn an_unsupported_method_is_405_with_or_without_a_token() {
    let shop = Shop::open().await;
    let clients = [shop.anon(), shop.anon().with_token("nonsense"), shop.admin().await];
    for (path, methods) in PATHS {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            if methods.contains(&method.as_str()) {
                continue;
            }
            for client in &clients {
                let answer = send_broken(client, method.clone(), path).await;
                assert_eq!(answer.status, 405, "{method} {path}: {}", answer.text);
                answer.refuses(405, "METHOD_NOT_ALLOWED");
                let allow: Vec<&str> = answer.header("allow").split(", ").collect();
                assert!(methods.iter().all(|method| allow.contains(method)), "{method} {path}: {allow:?}");
                let known = |method: &&str| methods.contains(method) || ["HEAD", "OPTIONS"].contains(method);
                assert!(allow.iter().all(known), "{method} {path}: {allow:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_path_is_404_with_or_without_a_token() {
    let shop = Shop::open().await;
    let clients = [shop.anon(), shop.anon().with_token("nonsense"), shop.admin().await];
    for path in
        ["/", "/auth", "/auth/nothing", "/users/1/2", "/users/", "/orders/", "/orders/1/items", "/internal", "/ORDERS"]
    {
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            for client in &clients {
                let answer = send_broken(client, method.clone(), path).await;
                assert_eq!(answer.status, 404, "{method} {path}: {}", answer.text);
                answer.refuses(404, "NOT_FOUND");
            }
        }
    }
}

#[tokio::test]
async fn the_token_is_checked_before_the_body() {
    let shop = Shop::open().await;
    let marta = shop.user("marta").await;
    for (method, path) in [
        (Method::POST, "/auth/logout"),
        (Method::PUT, "/auth/password"),
        (Method::POST, "/users"),
        (Method::PUT, "/users/1"),
        (Method::PUT, "/users/abc"),
        (Method::POST, "/orders"),
        (Method::PUT, "/orders/1"),
    ] {
        send_broken(&shop.anon(), method.clone(), path).await.refuses(401, "MISSING_TOKEN");
        let forged = shop.anon().with_token("nonsense");
        send_broken(&forged, method, path).await.refuses(401, "INVALID_TOKEN");
    }
    send_broken(&marta, Method::POST, "/users").await.refuses(403, "FORBIDDEN");
}

#[tokio::test]
async fn the_body_is_checked_before_the_row() {
    let shop = Shop::open().await;
    let (admin, marta) = (shop.admin().await, shop.user("marta").await);
    for client in [&admin, &marta] {
        for path in ["/users/999", "/users/abc"] {
            send_broken(client, Method::PUT, path).await.refuses(400, "UPDATE_FAILED");
            client.put(path, json!({})).await.refuses(400, "UPDATE_FAILED");
            client.put(path, json!({ "phone": "1" })).await.refuses(404, "USER_NOT_FOUND");
        }
        for path in ["/orders/999", "/orders/abc"] {
            send_broken(client, Method::PUT, path).await.refuses(400, "MISSING_STATUS");
            client.put(path, json!({})).await.refuses(400, "MISSING_STATUS");
            client.put(path, json!({ "status": "paid" })).await.refuses(404, "ORDER_NOT_FOUND");
        }
    }
    send_broken(&marta, Method::PUT, "/users/1").await.refuses(400, "UPDATE_FAILED");
    marta.put("/users/1", json!({ "phone": "1" })).await.refuses(403, "FORBIDDEN");
}
