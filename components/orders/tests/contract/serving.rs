//! The service's health, its description, and unknown routes.

use kit::native::{self, get};
use orders::SERVICE;

use super::start;

#[test]
fn health_has_no_envelope_and_reads_the_database() {
    start();
    let answer = get("/health").send();
    assert_eq!((answer.status, answer.text.as_str()), (200, r#"{"status":"healthy","service":"orders-service"}"#));
}

#[test]
fn unknown_routes_are_refused_in_the_envelope() {
    start();
    assert_eq!(get("/nothing").send().outcome(), (404, "NOT_FOUND"));
    assert_eq!(get("/products/").send().outcome(), (404, "NOT_FOUND"));
    let answer = native::delete("/orders").send();
    assert_eq!(answer.outcome(), (405, "METHOD_NOT_ALLOWED"));
    assert_eq!(answer.headers, [("allow", "GET, HEAD, POST".to_owned())]);
}

#[test]
fn the_description_lists_all_routes() {
    let description = SERVICE.describe();
    assert_eq!((description.name.as_str(), description.health.as_deref()), ("orders-service", Some("/health")));
    assert_eq!((description.schema.minimum, description.schema.maximum), (2, 2));
    assert_eq!(description.migrations.len(), 2);
    let routes: Vec<String> = description
        .routes
        .iter()
        .map(|route| format!("{:?} {} {:?}", route.method, route.path, route.access))
        .collect();
    assert_eq!(
        routes,
        [
            "Method::Get /products Access::Public",
            "Method::Get /products/{id} Access::Public",
            "Method::Get /orders Access::User",
            "Method::Post /orders Access::User",
            "Method::Get /orders/{id} Access::User",
            "Method::Put /orders/{id} Access::User",
            "Method::Get /internal/products Access::Internal",
            "Method::Delete /internal/buyers/{username} Access::Internal",
        ]
    );
}
