//! `strip`: a service sees paths without its mount, and its own listener serves it at the root.

use reqwest::Method;
use testing::{Shop, manifest_of, send};

const STRIPPED: &str = r#"
[services.older]
component = "guest_plain_p2.wasm"
mounts = ["/older"]
strip = true
access = "public"
listen = "127.0.0.1:0"

[services.newer]
component = "guest_plain_p3.wasm"
mounts = ["/a/newer"]
strip = true
access = "public"
listen = "127.0.0.1:0"

[services.whole]
component = "guest_plain_p2.wasm"
mounts = ["/whole"]
access = "public"

[services.stateless]
component = "guest_stateless.wasm"
mounts = ["/greet"]
public = ["/greet/stateless"]
strip = true
listen = "127.0.0.1:0"

[services.orders]
component = "orders.wasm"
mounts = ["/shop"]
public = ["/shop/products"]
strip = true
listen = "127.0.0.1:0"
grants = ["storage"]
"#;

#[tokio::test(flavor = "multi_thread")]
async fn components_of_both_wasi_versions_see_paths_without_their_mount() {
    let shop = Shop::with(manifest_of(STRIPPED)).await;
    for (mount, version) in [("/older", "0.2"), ("/a/newer", "0.3")] {
        for (sent, seen) in
            [("", "/"), ("/", "/"), ("?x=1", "/?x=1"), ("/a/b?c=d", "/a/b?c=d"), ("/a%2Fb/", "/a%2Fb/"), (mount, mount)]
        {
            let text = shop.anon().get(&format!("{mount}{sent}")).await.text;
            assert_eq!(text, format!("{version} Method::Get {seen}"), "{mount}{sent}");
        }
    }
    assert_eq!(shop.anon().get("/whole/").await.text, "0.2 Method::Get /whole/");
    for path in ["/older2/x", "/older//evil.example/x", "/older//"] {
        shop.anon().get(path).await.refuses(404, "NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_of_a_stripped_service_serves_it_at_the_root() {
    let shop = Shop::with(manifest_of(STRIPPED)).await;
    for (service, version) in [("older", "0.2"), ("newer", "0.3")] {
        for path in ["/", "/a/b?c=d", "/older/x"] {
            let text = shop.door(service).get(path).await.text;
            assert_eq!(text, format!("{version} Method::Get {path}"), "{service}");
        }
        shop.door(service).get("//evil.example/x").await.refuses(404, "NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_stripped_guest_sees_a_forwarded_prefix_and_only_the_hosts() {
    let shop = Shop::with(manifest_of(STRIPPED)).await;
    for (client, path, expected) in [
        (shop.anon(), "/older/headers", &["x-forwarded-prefix: /older"][..]),
        (shop.door("older"), "/headers", &[]),
        (shop.anon(), "/whole/headers", &[]),
    ] {
        let request = client.request(Method::GET, path).header("x-forwarded-prefix", "/forged");
        let text = send(request.header("X-Forwarded-Prefix", "/forged")).await.text;
        let prefixes: Vec<&str> = text.lines().filter(|line| line.starts_with("x-forwarded-prefix")).collect();
        assert_eq!(prefixes, expected, "{path}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_a_stripped_component_describes_are_relative_to_the_mount() {
    let shop = Shop::with(manifest_of(STRIPPED)).await;
    assert_eq!(shop.anon().get("/greet/stateless/Ada").await.succeeds(200), "Hello, Ada.");
    assert_eq!(shop.door("stateless").get("/stateless/Ada").await.succeeds(200), "Hello, Ada.");
    for path in ["/stateless/Ada", "/greet", "/greet/", "/greet/health", "/greet//stateless/Ada"] {
        shop.anon().get(path).await.refuses(404, "NOT_FOUND");
    }
    shop.door("stateless").get("/greet/stateless/Ada").await.refuses(404, "NOT_FOUND");
    let health = shop.door("stateless").get("/health").await.text;
    assert_eq!(health, r#"{"status":"healthy","service":"stateless-service"}"#);
    assert_eq!(shop.anon().get("/health").await.body["services"]["stateless"], "healthy");
    shop.anon().get("/shop/orders").await.refuses(401, "MISSING_TOKEN");
    shop.door("orders").get("/orders").await.refuses(401, "MISSING_TOKEN");
    let status = shop.operator().get("/services").await.text;
    assert!(status.contains("/greet/stateless/{name}"), "the operator sees the paths of clients: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_has_the_paths_of_clients_with_the_components_documentation() {
    let shop = Shop::with(manifest_of(STRIPPED)).await;
    let document = shop.anon().get("/openapi.json").await.body;
    let paths = document["paths"].as_object().unwrap();
    for path in ["/shop/products/{id}", "/shop/orders", "/greet/stateless/{name}", "/older", "/older/{rest}", "/whole"]
    {
        assert!(paths.contains_key(path), "{path}: {:?}", paths.keys());
    }
    for path in ["/products/{id}", "/orders", "/stateless/{name}", "/older/", "/whole/"] {
        assert!(!paths.contains_key(path), "{path}");
    }
    assert!(paths["/shop/products/{id}"]["get"]["summary"].is_string(), "{}", paths["/shop/products/{id}"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn gateway_and_own_listener_share_cached_answers() {
    let shop = Shop::with(manifest_of(STRIPPED)).await;
    let first = shop.anon().get("/shop/products/1").await;
    let again = shop.door("orders").get("/products/1").await;
    assert_eq!((first.succeeds(200), first.header("x-comptoir-cache")), (again.succeeds(200), "miss"));
    assert_eq!(again.header("x-comptoir-cache"), "hit");
}
