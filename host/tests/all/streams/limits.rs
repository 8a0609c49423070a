//! The limits of streams: bytes, time and number. What a limit cuts, and what it leaves alone.

use reqwest::Method;
use serde_json::json;
use testing::{PASSWORD, Shop, shop_manifest};

use super::bodies::{SERVICES, streams, until_streams};
use super::wire::Exchange;

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_413_before_the_response_and_cuts_it_afterwards() {
    let shop = Shop::with(streams(r#"body = "1 KiB""#)).await;
    for service in SERVICES {
        let mut exchange = Exchange::post(shop.addresses().gateway, &format!("/{service}/count")).await;
        // The guest has begun to read when the rest arrives.
        exchange.request.send(&[b'x'; 1000]).await.unwrap();
        until_streams(&shop, service, 1).await;
        exchange.request.send(&[b'x'; 1000]).await.unwrap();
        let head = exchange.response.head().await;
        assert!(head.starts_with("HTTP/1.1 413") && head.contains("connection: close"), "{service}: {head}");
        assert!(exchange.response.rest().await.contains("BODY_TOO_LARGE"), "{service}");

        let mut exchange = Exchange::post(shop.addresses().gateway, &format!("/{service}/echo")).await;
        exchange.request.send(&[b'x'; 1000]).await.unwrap();
        assert!(exchange.response.head().await.starts_with("HTTP/1.1 200"), "{service}");
        assert_eq!(exchange.response.read(1000).await.unwrap().len(), 1000, "{service}");
        exchange.request.send(&[b'x'; 1000]).await.unwrap();
        exchange.is_cut().await;
        until_streams(&shop, service, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_over_the_limit_is_cut() {
    let shop = Shop::with(streams(r#"response = "1 KiB""#)).await;
    for service in SERVICES {
        let mut exchange = Exchange::post(shop.addresses().gateway, &format!("/{service}/echo")).await;
        exchange.request.send(&[b'x'; 1000]).await.unwrap();
        exchange.response.head().await;
        assert_eq!(exchange.response.read(1000).await.unwrap().len(), 1000, "{service}");
        exchange.request.send(&[b'x'; 1000]).await.unwrap();
        exchange.is_cut().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_is_cut_and_an_idle_upload_is_408() {
    let shop = Shop::with(streams(r#"idle_time = "200ms""#)).await;
    for service in SERVICES {
        let mut exchange = Exchange::post(shop.addresses().gateway, &format!("/{service}/echo")).await;
        exchange.request.send(b"one").await.unwrap();
        assert!(exchange.response.head().await.starts_with("HTTP/1.1 200"), "{service}");
        exchange.is_cut().await;
        let mut exchange = Exchange::open(shop.addresses().gateway, "GET", &format!("/{service}/events"), "").await;
        assert!(exchange.response.head().await.starts_with("HTTP/1.1 200"), "{service}");
        exchange.is_cut().await;
        let mut exchange = Exchange::post(shop.addresses().gateway, &format!("/{service}/count")).await;
        exchange.request.send(b"one").await.unwrap();
        let head = exchange.response.head().await;
        assert!(head.starts_with("HTTP/1.1 408"), "{service}: {head}");
        assert!(exchange.response.rest().await.contains("BODY_TOO_SLOW"), "{service}");
        until_streams(&shop, service, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_lasts_no_longer_than_the_stream_time() {
    let shop = Shop::with(streams(r#"stream_time = "300ms", idle_time = "1h""#)).await;
    for service in SERVICES {
        let mut exchange = Exchange::post(shop.addresses().gateway, &format!("/{service}/echo")).await;
        exchange.request.send(b"one").await.unwrap();
        exchange.response.head().await;
        // It ends, although bytes pass all the time.
        while exchange.request.send(b"more").await.is_ok() && exchange.response.read(1).await.is_ok() {}
        until_streams(&shop, service, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_the_client_does_not_count_as_time_of_the_guest() {
    let mut manifest = streams(r#"time = "2s""#);
    let unruly = "[services.unruly]\ncomponent = \"guest_unruly.wasm\"\nmounts = [\"/unruly\"]\npublic = [\"/unruly\"]\n\
                  grants = [\"storage\"]\ncalls = [\"unruly\"]\nlimits = { time = \"3s\" }\n";
    manifest.services.extend(testing::manifest_of(unruly).services);
    let shop = Shop::with(manifest).await;
    let mut exchanges = Vec::new();
    for service in SERVICES {
        let mut exchange = Exchange::post(shop.addresses().gateway, &format!("/{service}/count")).await;
        exchange.request.send(b"one").await.unwrap();
        until_streams(&shop, service, 1).await;
        exchanges.push((service, exchange));
    }
    // This takes longer than the time of the requests above.
    shop.anon().get("/unruly/sleep").await.refuses(504, "DEADLINE_EXCEEDED");
    for (service, mut exchange) in exchanges {
        exchange.request.send(b"two").await.unwrap();
        exchange.request.end("").await;
        let head = exchange.response.head().await;
        assert!(head.starts_with("HTTP/1.1 200"), "{service}: {head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_have_a_limit_of_their_own_and_leave_the_instances_to_others() {
    let shop = Shop::with(streams(r#"streams = 1, concurrency = 1, queue_time = "20ms""#)).await;
    for service in SERVICES {
        let path = format!("/{service}/events");
        let mut exchange = Exchange::open(shop.addresses().gateway, "GET", &path, "").await;
        assert!(exchange.response.head().await.starts_with("HTTP/1.1 200"), "{service}");
        let refused = shop.anon().get(&path).await;
        refused.refuses(503, "TOO_MANY_STREAMS");
        assert_eq!(refused.header("retry-after"), "1");
        let mut upload = Exchange::post(shop.addresses().gateway, &format!("/{service}/count")).await;
        assert!(upload.response.head().await.starts_with("HTTP/1.1 503"), "{service}");
        assert!(upload.response.rest().await.contains("TOO_MANY_STREAMS"), "{service}");
        // A request that is complete at once needs no stream.
        let short = shop.anon().request(Method::POST, &format!("/{service}/count")).body("one").send().await.unwrap();
        assert_eq!(short.text().await.unwrap(), "3", "{service}");
        drop(exchange);
        until_streams(&shop, service, 0).await;
        let mut exchange = Exchange::open(shop.addresses().gateway, "GET", &path, "").await;
        assert!(exchange.response.head().await.starts_with("HTTP/1.1 200"), "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_has_its_share_of_streams() {
    let mut manifest = streams(r#"queue_time = "20ms""#);
    manifest.listeners.streams_each = 1;
    let shop = Shop::with(manifest).await;
    let mut exchange = Exchange::open(shop.addresses().gateway, "GET", "/streams-p2/events", "").await;
    assert!(exchange.response.head().await.starts_with("HTTP/1.1 200"));
    shop.anon().get("/streams-p3/events").await.refuses(503, "TOO_MANY_STREAMS");
    let other = shop.anon().calling_from(2).request(Method::GET, "/streams-p3/events").send().await.unwrap();
    assert_eq!(other.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_the_session_of_its_caller() {
    let mut manifest = shop_manifest();
    manifest.services.extend(streams("").services);
    let shop = Shop::with(manifest).await;
    shop.anon().post("/auth/register", json!({ "username": "ada", "password": PASSWORD })).await.succeeds(201);
    for (service, sends) in SERVICES.into_iter().flat_map(|service| [(service, true), (service, false)]) {
        let user = shop.anon().log_in("ada", PASSWORD).await;
        let fields = format!("transfer-encoding: chunked\r\nauthorization: Bearer {}\r\n", user.access_token());
        let path = format!("/{service}/private");
        let mut exchange = Exchange::open(shop.addresses().gateway, "POST", &path, &fields).await;
        exchange.request.send(b"one").await.unwrap();
        assert!(exchange.response.head().await.starts_with("HTTP/1.1 200"), "{service}");
        assert_eq!(exchange.response.read(3).await.unwrap(), b"one", "{service}");
        user.post("/auth/logout", json!({})).await.succeeds(200);
        if sends {
            exchange.request.send(b"two").await.unwrap();
        }
        exchange.is_cut().await;
    }
}
