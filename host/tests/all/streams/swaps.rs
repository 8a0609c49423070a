//! A deploy or a reload while streams run.

use reqwest::Method;
use testing::{Answer, Shop, component, send};

use super::bodies::{SERVICES, streams, until_streams};
use super::wire::Exchange;

/// The same component with another digest: a custom section changes nothing else (WebAssembly core specification, 5.5.3).
fn another(service: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(component(&format!("guest_{}", service.replace('-', "_")))).unwrap();
    bytes.extend(b"\x00\x05\x04next");
    bytes
}

async fn deploy(shop: &Shop, service: &str) -> Answer {
    let order = shop.operator().request(Method::PUT, &format!("/services/{service}"));
    send(order.body(another(service))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_over_a_deploy_and_new_requests_get_the_new_revision() {
    let shop = Shop::with(streams("")).await;
    for service in SERVICES {
        let path = format!("/{service}/echo");
        let mut exchange = Exchange::post(shop.addresses().gateway, &path).await;
        exchange.request.send(b"one").await.unwrap();
        let old = exchange.response.head().await;
        assert_eq!(exchange.response.read(3).await.unwrap(), b"one", "{service}");
        let digest = deploy(&shop, service).await;
        let digest = digest.succeeds(200)["to"].as_str().unwrap().to_owned();
        exchange.bounce(b"two").await;
        let mut next = Exchange::post(shop.addresses().gateway, &path).await;
        next.request.end("").await;
        let new = next.response.head().await;
        let label = format!("x-comptoir-revision: {service}@{}", &digest[..12]);
        assert!(new.contains(&label) && !old.contains(&label), "{service}: {old} {new}");
        exchange.bounce(b"three").await;
        exchange.request.end("").await;
        assert_eq!(exchange.response.read(1).await.unwrap(), b"", "{service}");
        until_streams(&shop, service, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_revision_has_the_drain_time_for_its_streams() {
    let shop = Shop::with(streams(r#"drain_time = "100ms""#)).await;
    for service in SERVICES {
        let path = format!("/{service}/events");
        let mut exchange = Exchange::open(shop.addresses().gateway, "GET", &path, "").await;
        exchange.response.head().await;
        deploy(&shop, service).await.succeeds(200);
        exchange.is_cut().await;
        // Those of the new revision stay.
        let mut exchange = Exchange::open(shop.addresses().gateway, "GET", &path, "").await;
        assert!(exchange.response.head().await.starts_with("HTTP/1.1 200"), "{service}");
        until_streams(&shop, service, 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_over_a_reload_and_counts_against_the_new_limit() {
    let mut shop = Shop::with(streams(r#"drain_time = "1h""#)).await;
    let mut exchanges = Vec::new();
    for service in SERVICES {
        let mut exchange = Exchange::post(shop.addresses().gateway, &format!("/{service}/echo")).await;
        exchange.request.send(b"one").await.unwrap();
        exchange.response.head().await;
        assert_eq!(exchange.response.read(3).await.unwrap(), b"one", "{service}");
        exchanges.push(exchange);
    }
    let reloaded = shop.reload(streams(r#"drain_time = "2h", streams = 1, queue_time = "20ms""#)).await;
    let changed = &reloaded.succeeds(200)["changed"];
    assert_eq!(changed[SERVICES[0]], serde_json::json!(["limits.drain_time", "limits.streams", "limits.queue_time"]));
    for (service, mut exchange) in SERVICES.into_iter().zip(exchanges) {
        exchange.bounce(b"two").await;
        let path = format!("/{service}/events");
        shop.anon().get(&path).await.refuses(503, "TOO_MANY_STREAMS");
        exchange.request.end("").await;
        assert_eq!(exchange.response.read(1).await.unwrap(), b"", "{service}");
        until_streams(&shop, service, 0).await;
        let mut next = Exchange::open(shop.addresses().gateway, "GET", &path, "").await;
        assert!(next.response.head().await.starts_with("HTTP/1.1 200"), "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_streams_follow_the_manifest_and_a_removed_service_has_its_drain_time() {
    let mut shop = Shop::with(streams(r#"drain_time = "1h""#)).await;
    shop.reload(streams(r#"drain_time = "100ms", stream_time = "1h", idle_time = "100ms""#)).await.succeeds(200);
    for service in SERVICES {
        let mut exchange = Exchange::post(shop.addresses().gateway, &format!("/{service}/echo")).await;
        exchange.request.send(b"one").await.unwrap();
        exchange.is_cut().await;
        until_streams(&shop, service, 0).await;
    }
    // A stream that sends all the time ends too.
    shop.reload(streams(r#"drain_time = "100ms", stream_time = "100ms", idle_time = "1h""#)).await.succeeds(200);
    let mut exchange = Exchange::post(shop.addresses().gateway, &format!("/{}/echo", SERVICES[0])).await;
    while exchange.request.send(b"one").await.is_ok() && exchange.response.read(1).await.is_ok() {}
    until_streams(&shop, SERVICES[0], 0).await;
    let mut current = streams(r#"drain_time = "100ms""#);
    shop.reload(current.clone()).await.succeeds(200);
    let path = format!("/{}/events", SERVICES[1]);
    let mut exchange = Exchange::open(shop.addresses().gateway, "GET", &path, "").await;
    exchange.response.head().await;
    current.services.remove(SERVICES[1]);
    current.services.get_mut(SERVICES[0]).unwrap().calls.clear();
    shop.reload(current).await.succeeds(200);
    exchange.is_cut().await;
}
