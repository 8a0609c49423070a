//! Access control: every route for every kind of caller, and headers in which only the host may make claims.

mod headers;
mod matrix;
mod order;

use reqwest::Method;
use serde_json::{Value, json};
use testing::Shop;

const SERVICES: [&str; 3] = ["auth", "user", "orders"];

/// Routes for calls between services, with bodies that would do harm if a client reached them.
fn internal_routes() -> [(Method, &'static str, Value); 9] {
    let taken_over = json!({ "username": "eve", "password": "a password of eve's" });
    let profile = json!({ "registration": "operator", "username": "admin", "email": "eve@example.com" });
    [
        (Method::POST, "/internal/logins", taken_over.clone()),
        (Method::DELETE, "/internal/logins/marta", Value::Null),
        (Method::DELETE, "/internal/logins/admin", Value::Null),
        (Method::GET, "/internal/operator", Value::Null),
        (Method::PUT, "/internal/operator", json!({ "password": "a password of eve's" })),
        (Method::POST, "/internal/profiles", profile),
        (Method::DELETE, "/internal/buyers/marta", Value::Null),
        (Method::POST, "//internal/logins", taken_over.clone()),
        (Method::POST, "/auth/../internal/logins", taken_over),
    ]
}

#[tokio::test]
async fn internal_routes_do_not_exist_from_outside() {
    let shop = Shop::open().await;
    let (admin, marta) = (shop.admin().await, shop.user("marta").await);
    let doors = SERVICES.map(|service| format!("http://{}", shop.addresses().services[service]));
    for base in doors.iter().chain([&format!("http://{}", shop.addresses().gateway)]) {
        for client in [shop.anon(), marta.clone(), admin.clone()].map(|client| client.at(base)) {
            for (method, path, body) in internal_routes() {
                for caller in [None, Some("auth"), Some("user"), Some("host")] {
                    let request = client.request(method.clone(), path).json(&body);
                    let request = match caller {
                        Some(caller) => request.header("x-comptoir-caller", caller).header("host", "auth.internal"),
                        None => request,
                    };
                    let answer = testing::send(request).await;
                    assert_eq!(answer.status, 404, "{method} {base}{path} as {caller:?}: {}", answer.text);
                    answer.refuses(404, "NOT_FOUND");
                }
            }
        }
    }
    marta.get("/users/profile").await.succeeds(200);
    assert_eq!(shop.admin().await.get("/users/profile").await.data()["email"], "admin@example.com");
}

#[tokio::test]
async fn every_service_reports_its_health_on_its_own_listener() {
    let shop = Shop::open().await;
    for (service, path, name) in [
        ("auth", "/auth/health", "auth-service"),
        ("user", "/health", "user-service"),
        ("orders", "/health", "orders-service"),
    ] {
        let answer = shop.door(service).get(path).await;
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &json!({ "status": "healthy", "service": name })));
        assert_eq!(answer.header("content-type"), "application/json");
        assert!(answer.header("x-comptoir-revision").starts_with(&format!("{service}@")), "the component answers");
        let posted = shop.door(service).post(path, json!({})).await;
        posted.refuses(405, "METHOD_NOT_ALLOWED");
        assert!(posted.header("allow").contains("GET"), "{}", posted.header("allow"));
    }
    shop.door("auth").get("/health").await.refuses(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_services_listener_serves_no_other_service() {
    let shop = Shop::open().await;
    let admin = shop.admin().await;
    for (service, path) in [
        ("auth", "/users"),
        ("auth", "/products"),
        ("user", "/orders"),
        ("user", "/auth/health"),
        ("orders", "/users"),
        ("orders", "/users/profile"),
    ] {
        let door = shop.door(service).with_token(admin.access_token());
        door.get(path).await.refuses(404, "NOT_FOUND");
    }
    let login = json!({ "username": "admin", "password": "admin" });
    shop.door("orders").post("/auth/login", login.clone()).await.refuses(404, "NOT_FOUND");
    shop.door("auth").post("/auth/login", login).await.succeeds(200);
}
