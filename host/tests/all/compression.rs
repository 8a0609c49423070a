//! gzip compression of answers.

use std::io::Read as _;

use comptoir::manifest::{Grant, Manifest};
use flate2::read::GzDecoder;
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::json;
use testing::{Client, Shop, shop_manifest};

const ORDERS: usize = 10;

/// A shop, and a buyer with enough orders that compressing their list saves bytes.
async fn buyer(manifest: Manifest) -> (Shop, Client) {
    let shop = Shop::with(manifest).await;
    let buyer = shop.user("nadia").await;
    for _ in 0..ORDERS {
        buyer.post("/orders", json!({ "items": [{ "product_id": 4, "quantity": 1 }] })).await.succeeds(201);
    }
    (shop, buyer)
}

/// The raw headers and bytes of an answer that was not streamed.
///
/// On a busy machine a guest may be interrupted before its end, and then the host streams its answer.
async fn fetch(client: &Client, method: Method, path: &str, accept: &str) -> (HeaderMap, Vec<u8>) {
    loop {
        let request = client.request(method.clone(), path);
        let request = if accept.is_empty() { request } else { request.header("accept-encoding", accept) };
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        if response.headers().contains_key("content-length") {
            return (response.headers().clone(), response.bytes().await.unwrap().to_vec());
        }
    }
}

fn unpack(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).expect("gzip");
    plain
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test]
async fn a_long_answer_is_compressed_for_clients_that_accept_gzip() {
    let (_shop, buyer) = buyer(shop_manifest()).await;
    let (plain_headers, plain) = fetch(&buyer, Method::GET, "/orders", "").await;
    assert!(plain.len() > 1024, "{}", plain.len());
    assert_eq!((text(&plain_headers, "content-encoding"), text(&plain_headers, "vary")), ("", "accept-encoding"));
    let (headers, packed) = fetch(&buyer, Method::GET, "/orders", "br, gzip;q=0.8").await;
    assert_eq!((text(&headers, "content-encoding"), text(&headers, "vary")), ("gzip", "accept-encoding"));
    assert_eq!(text(&headers, "content-length"), packed.len().to_string());
    assert_eq!(text(&headers, "content-type"), text(&plain_headers, "content-type"));
    assert!(packed.len() < plain.len() / 2, "{} of {}", packed.len(), plain.len());
    assert_eq!(unpack(&packed), plain);
    let (head, nothing) = fetch(&buyer, Method::HEAD, "/orders", "gzip").await;
    for name in ["content-encoding", "content-length", "content-type", "vary"] {
        assert_eq!(text(&head, name), text(&headers, name), "{name}");
    }
    assert!(nothing.is_empty());
    let (headers, bytes) = fetch(&buyer, Method::GET, "/orders", "gzip;q=0, *").await;
    assert_eq!((text(&headers, "content-encoding"), bytes), ("", plain));
}

#[tokio::test]
async fn a_short_answer_is_not_compressed() {
    let shop = Shop::open().await;
    let (headers, bytes) = fetch(&shop.anon(), Method::GET, "/products/4", "gzip").await;
    assert_eq!((text(&headers, "content-encoding"), text(&headers, "vary")), ("", ""));
    assert!(bytes.starts_with(b"{"));
}

#[tokio::test]
async fn no_answer_of_a_service_that_issues_tokens_is_compressed() {
    let mut manifest = shop_manifest();
    manifest.services.get_mut("orders").unwrap().grants.insert(Grant::Tokens);
    let (_shop, buyer) = buyer(manifest).await;
    let (headers, bytes) = fetch(&buyer, Method::GET, "/orders", "gzip").await;
    assert!(bytes.len() > 1024);
    assert_eq!((text(&headers, "content-encoding"), text(&headers, "vary")), ("", ""));
}
