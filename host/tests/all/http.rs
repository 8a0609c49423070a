//! HTTP connections: shutdown, timeouts and malformed requests.

use std::time::Duration;

use testing::{AMPLE, Shop, manifest_of, shop_manifest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_waits_for_running_requests() {
    let mut shop = Shop::with(manifest_of(
        "[services.unruly]\ncomponent = \"guest_unruly.wasm\"\nmounts = [\"/unruly\"]\npublic = [\"/unruly\"]\n\
         grants = [\"storage\"]\ncalls = [\"unruly\"]\n",
    ))
    .await;
    let (client, operator) = (shop.anon(), shop.operator());
    let running = tokio::spawn(async move { client.get("/unruly/nap").await });
    while operator.get("/services").await.data()[0]["instances"]["in_use"] != 1 {
        tokio::task::yield_now().await;
    }
    assert!(shop.stop().await, "every request ended in time");
    running.await.unwrap().succeeds(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_waits_until_a_large_answer_is_read() {
    let mut manifest = manifest_of(
        "[services.records]\ncomponent = \"guest_records.wasm\"\nmounts = [\"/records\"]\npublic = [\"/records\"]\n",
    );
    manifest.listeners.shutdown_time = AMPLE;
    let mut shop = Shop::with(manifest).await;
    let gateway = shop.addresses().gateway;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(gateway).await.unwrap();
    stream.write_all(b"GET /records/body HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 12]).await.unwrap();
    let stopping = tokio::spawn(async move { shop.stop().await });
    while TcpStream::connect(gateway).await.is_ok() {
        tokio::task::yield_now().await;
    }
    let mut answer = Vec::new();
    tokio::time::timeout(AMPLE, stream.read_to_end(&mut answer)).await.expect("the connection ends").unwrap();
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("the answer has a head") + 4;
    assert_eq!(answer.len() - head, 2 << 20, "the answer was cut off");
    assert!(stopping.await.unwrap(), "every request ended in time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_closes_idle_connections() {
    let mut shop = Shop::open().await;
    let mut idle = TcpStream::connect(shop.addresses().gateway).await.unwrap();
    idle.write_all(b"GET /products HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    idle.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    assert!(shop.stop().await);
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_without_a_complete_head_are_closed() {
    let mut manifest = shop_manifest();
    manifest.listeners.header_time = Duration::from_millis(100);
    let shop = Shop::with(manifest).await;
    for beginning in [&b""[..], b"GET /prod", b"GET /products HTTP/1.1\r\nhost: sh", b"PRI * HTTP/2.0\r\n"] {
        let mut stream = TcpStream::connect(shop.addresses().gateway).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        let mut rest = Vec::new();
        // This ends only when the host closes or resets the connection.
        let _ = stream.read_to_end(&mut rest).await;
    }
}

/// A connection on which one request was already answered.
async fn used(shop: &Shop) -> TcpStream {
    let mut stream = TcpStream::connect(shop.addresses().gateway).await.unwrap();
    get_products(&mut stream).await;
    stream
}

/// Requests the products and reads the whole answer.
async fn get_products(stream: &mut TcpStream) {
    stream.write_all(b"GET /products/1 HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}}") {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK"));
}

/// Waits until the host closes or resets the connection.
async fn closes(mut stream: TcpStream) {
    let _ = tokio::time::timeout(AMPLE, stream.read_to_end(&mut Vec::new())).await.expect("the host closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_idle_time_may_exceed_the_time_for_a_head() {
    let mut manifest = shop_manifest();
    (manifest.listeners.header_time, manifest.listeners.idle_time) = (Duration::from_millis(100), AMPLE);
    let shop = Shop::with(manifest).await;
    let (mut idle, mut slow) = (used(&shop).await, used(&shop).await);
    slow.write_all(b"GET /prod").await.unwrap();
    closes(slow).await;
    get_products(&mut idle).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unused_connection_is_closed_after_the_idle_time() {
    let mut manifest = shop_manifest();
    manifest.listeners.idle_time = Duration::from_millis(100);
    let shop = Shop::with(manifest).await;
    closes(used(&shop).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_body_occupies_no_instance_and_times_out() {
    let mut manifest = shop_manifest();
    manifest.services.get_mut("auth").unwrap().limits.time = Duration::from_millis(200);
    let shop = Shop::with(manifest).await;
    let mut stream = TcpStream::connect(shop.addresses().gateway).await.unwrap();
    stream.write_all(b"POST /auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n{").await.unwrap();
    let mut answer = vec![0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicting_lengths_and_a_missing_host_are_refused() {
    let shop = Shop::open().await;
    let heads = [
        "POST /auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        "POST /auth/login HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "GET /products HTTP/1.1\r\n\r\n",
        "GET /products HTTP/1.1\r\nhost: one\r\nhost: two\r\n\r\n",
    ];
    for head in heads {
        let mut stream = TcpStream::connect(shop.addresses().gateway).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 400", "{head:?}");
    }
}
