//! CORS: which pages may read answers in a browser.

use comptoir::manifest::Manifest;
use reqwest::Method;
use reqwest::header::HeaderMap;
use testing::{Answer, Shop, manifest_of, send, shop_manifest};

const SHOP: &str = "https://shop.example";
const LOCAL: &str = "http://localhost:3000";

fn manifest() -> Manifest {
    let mut manifest = shop_manifest();
    manifest.listeners.cors = [SHOP, LOCAL].map(str::to_owned).to_vec();
    manifest
}

/// Sends a request from a page, with one header for each origin.
async fn from(shop: &Shop, method: Method, path: &str, origins: &[&str]) -> Answer {
    let request = shop.anon().request(method, path);
    send(origins.iter().fold(request, |request, origin| request.header("origin", *origin))).await
}

async fn preflight(shop: &Shop, path: &str, origin: &str) -> Answer {
    let request = shop.anon().request(Method::OPTIONS, path).header("origin", origin);
    let request = request.header("access-control-request-method", "POST");
    send(request.header("access-control-request-headers", "authorization,content-type")).await
}

fn about_cors(headers: &HeaderMap) -> Vec<&str> {
    headers.keys().map(reqwest::header::HeaderName::as_str).filter(|name| name.starts_with("access-control-")).collect()
}

fn varies_by(answer: &Answer, name: &str) -> bool {
    answer
        .headers
        .get_all("vary")
        .iter()
        .any(|value| value.to_str().unwrap().split(',').any(|part| part.trim() == name))
}

#[tokio::test]
async fn without_origins_in_the_manifest_no_page_is_allowed() {
    let shop = Shop::open().await;
    for answer in [from(&shop, Method::GET, "/products", &[SHOP]).await, preflight(&shop, "/orders", SHOP).await] {
        assert!(answer.status.is_success(), "{}", answer.text);
        assert_eq!(about_cors(&answer.headers), [""; 0]);
        assert!(!varies_by(&answer, "origin"));
    }
}

#[tokio::test]
async fn only_an_exact_origin_of_the_manifest_is_allowed() {
    let shop = Shop::with(manifest()).await;
    for origin in [SHOP, LOCAL] {
        for (path, status) in [("/products", 200), ("/orders", 401), ("/nowhere", 404), ("/health", 200)] {
            let answer = from(&shop, Method::GET, path, &[origin]).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("access-control-allow-origin"), origin, "{path}");
            assert!(answer.header("access-control-expose-headers").contains("x-request-id"));
            assert!(varies_by(&answer, "origin") && !answer.headers.contains_key("access-control-allow-credentials"));
        }
    }
    let others: [&[&str]; 19] = [
        &[],
        &["null"],
        &["*"],
        &[""],
        &["https://shop.example.evil.example"],
        &["https://evilshop.example"],
        &["https://evil.example/https://shop.example"],
        &["https://shop.example@evil.example"],
        &["https://shop.example:443"],
        &["https://shop.example:8443"],
        &["https://shop.example."],
        &["https://shop.example/"],
        &["https://SHOP.example"],
        &["HTTPS://shop.example"],
        &["http://shop.example"],
        &["http://localhost"],
        &["http://localhost:30000"],
        &["https://shop.example https://evil.example"],
        &[SHOP, "https://evil.example"],
    ];
    for origins in others {
        for method in [Method::GET, Method::OPTIONS] {
            let answer = from(&shop, method, "/products", origins).await;
            assert!(answer.status.is_success());
            assert_eq!(about_cors(&answer.headers), [""; 0], "{origins:?}");
            assert!(varies_by(&answer, "origin"), "a cache must not return this answer to an allowed page");
        }
    }
}

#[tokio::test]
async fn a_preflight_lists_what_may_be_sent_and_needs_no_token() {
    let shop = Shop::with(manifest()).await;
    let answer = preflight(&shop, "/orders", SHOP).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), SHOP);
    assert_eq!(answer.header("access-control-allow-methods"), answer.header("allow"));
    assert!(answer.header("access-control-allow-methods").contains("POST"));
    for name in ["authorization", "content-type", "if-match", "idempotency-key"] {
        assert!(answer.header("access-control-allow-headers").split(", ").any(|allowed| allowed == name), "{name}");
    }
    assert_eq!(answer.header("access-control-max-age"), "600");
    assert!(varies_by(&answer, "origin"));
    assert_eq!(about_cors(&preflight(&shop, "/orders", "null").await.headers), [""; 0]);
}

#[tokio::test]
async fn the_host_answers_preflights_even_for_a_component_that_accepts_every_method() {
    let service = "[services.closed]\ncomponent = \"guest_plain_p2.wasm\"\nmounts = [\"/closed\"]\n";
    let mut manifest = manifest_of(service);
    manifest.listeners.cors = vec![SHOP.to_owned()];
    let shop = Shop::with(manifest).await;
    let answer = preflight(&shop, "/closed/x", SHOP).await;
    assert_eq!(answer.status, 204);
    assert!(answer.header("access-control-allow-methods").contains("PATCH"));
    preflight(&shop, "/closed/x", "https://evil.example").await.refuses(401, "MISSING_TOKEN");
    from(&shop, Method::GET, "/closed/x", &[SHOP]).await.refuses(401, "MISSING_TOKEN");
}

#[tokio::test]
async fn a_page_may_send_headers_of_the_route_of_the_manifest_and_of_tracing() {
    let service =
        "[services.records]\ncomponent = \"guest_records.wasm\"\nmounts = [\"/records\"]\npublic = [\"/records\"]\n";
    let mut manifest = manifest_of(service);
    manifest.listeners.cors = vec![SHOP.to_owned()];
    manifest.listeners.cors_headers = vec!["x-campaign".to_owned()];
    let shop = Shop::with(manifest).await;
    let answer = preflight(&shop, "/records/x", SHOP).await;
    let allowed: Vec<&str> = answer.header("access-control-allow-headers").split(", ").collect();
    for name in ["x-shop-client", "x-campaign", "traceparent", "tracestate", "baggage", "authorization"] {
        assert_eq!(allowed.iter().filter(|allowed| **allowed == name).count(), 1, "{name} in {allowed:?}");
    }
    assert!(!allowed.contains(&"x-other"));
    // No route of this path has the method, so no route reads headers.
    let other = shop.anon().request(Method::OPTIONS, "/records/x").header("origin", SHOP);
    let other = send(other.header("access-control-request-method", "PATCH")).await;
    assert!(!other.header("access-control-allow-headers").contains("x-shop-client"));
    assert!(other.header("access-control-allow-headers").contains("x-campaign"));
}
