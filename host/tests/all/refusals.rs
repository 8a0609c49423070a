//! Refusals before the body is read. A client that sends the whole body before it reads still gets the answer.

use std::net::SocketAddr;

use futures::future::join_all;
use testing::{AMPLE, Shop, shop_manifest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Bytes of a body that exceeds the socket buffers of both ends.
const BODY_BYTES: usize = 900_000;

/// The number of concurrent clients.
const CLIENTS: usize = 20;

/// Sends a head and a whole body, and only then reads until the host closes. Returns the status.
async fn status(address: SocketAddr, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body).await.expect("the host takes the body");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(AMPLE, stream.read_to_end(&mut answer)).await.expect("the host closes");
    read.expect("the connection is not reset");
    let answer = String::from_utf8_lossy(&answer);
    let (head, _) = answer.split_once("\r\n\r\n").expect("the answer has a whole head");
    assert!(head.contains("connection: close"), "{head}");
    head.split(' ').nth(1).unwrap().to_owned()
}

/// Does this with many clients. Half of them send the body in chunks.
async fn statuses(address: SocketAddr, line: &str, fields: &str) -> Vec<String> {
    let chunked = format!("{BODY_BYTES:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(BODY_BYTES)).into_bytes();
    let plain = vec![b'x'; BODY_BYTES];
    let (chunked, plain) = (&chunked, &plain);
    join_all((0..CLIENTS).map(async |number| {
        let (length, body) = if number % 2 == 0 {
            (format!("content-length: {BODY_BYTES}"), plain)
        } else {
            ("transfer-encoding: chunked".to_owned(), chunked)
        };
        status(address, &format!("{line} HTTP/1.1\r\nhost: localhost\r\n{fields}{length}\r\n\r\n"), body).await
    }))
    .await
}

async fn all_are(expected: &str, address: SocketAddr, line: &str, fields: &str) {
    let seen = statuses(address, line, fields).await;
    assert!(seen.iter().all(|status| status == expected), "{line:.40}: {seen:?} instead of {expected}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_sends_its_whole_body_first_gets_the_refusal_and_no_reset() {
    let mut manifest = shop_manifest();
    manifest.services.get_mut("auth").unwrap().limits.body_bytes = 1000;
    let shop = Shop::with(manifest).await;
    let gateway = shop.addresses().gateway;
    let user = format!("authorization: Bearer {}\r\n", shop.user("nadia").await.access_token());
    all_are("401", gateway, "POST /orders", "authorization: Bearer none\r\n").await;
    all_are("403", gateway, "POST /users", &user).await;
    all_are("404", gateway, "POST /nowhere", "").await;
    all_are("405", gateway, "PUT /products", "").await;
    all_are("413", gateway, "POST /auth/login", "").await;
    all_are("414", gateway, &format!("POST /products?{}", "x".repeat(9000)), "").await;
    all_are("431", gateway, "POST /orders", &format!("x-large: {}\r\n", "x".repeat(40_000))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_refuses_alike() {
    let shop = Shop::open().await;
    let (admin, operator) = (shop.addresses().admin, shop.operator());
    let operator = format!("authorization: Bearer {}\r\n", operator.access_token());
    all_are("401", admin, "PUT /services/orders", "").await;
    all_are("404", admin, "PUT /nowhere", "").await;
    all_are("405", admin, "POST /services", &operator).await;
    all_are("400", admin, "PUT /services/orders?unknown=1", &operator).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_at_its_limit_refuses_alike() {
    let mut manifest = shop_manifest();
    (manifest.listeners.requests, manifest.listeners.requests_each) = (1, 1);
    let shop = Shop::with(manifest).await;
    let gateway = shop.addresses().gateway;
    let mut holder = TcpStream::connect(gateway).await.unwrap();
    let head = "POST /auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\nexpect: 100-continue\r\n\r\n";
    holder.write_all(head.as_bytes()).await.unwrap();
    // The host reads this body, so the request counts.
    holder.read_exact(&mut [0; 12]).await.unwrap();
    let request = format!("POST /auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-length: {BODY_BYTES}\r\n\r\n");
    for _ in 0..CLIENTS {
        assert_eq!(status(gateway, &request, &vec![b'x'; BODY_BYTES]).await, "503");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_http2_the_refusal_arrives_and_the_connection_stays_open() {
    let shop = Shop::open().await;
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}/orders", shop.addresses().gateway);
    for _ in 0..CLIENTS {
        let request = client.post(&url).bearer_auth("none").body(vec![b'x'; BODY_BYTES]);
        assert_eq!(request.send().await.expect("an answer").status(), 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_too_large_head_is_refused_without_a_reset() {
    let shop = Shop::open().await;
    let head = format!("POST /orders HTTP/1.1\r\nhost: localhost\r\nx-large: {}\r\n\r\n", "x".repeat(BODY_BYTES));
    assert_eq!(status(shop.addresses().gateway, &head, b"").await, "431");
}
