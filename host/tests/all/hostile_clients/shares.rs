//! Each client address may use only its share of connections, requests and memory.

use std::net::SocketAddr;

use reqwest::Method;
use serde_json::json;
use testing::shop_process::ShopProcess;
use testing::{Client, Shop, manifest_of, shop_manifest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::floods::{END_HEADERS, END_STREAM, POST_VERIFY, RST_STREAM, beginning, frame, request};
use super::{PATIENCE, beside};

const SETTINGS: u8 = 4;

/// Sends a request without the last byte of its body.
async fn send_but_one(address: SocketAddr, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST /auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b' '; length - 1]).await.unwrap();
    stream
}

/// Repeats a request until an answer has this status.
async fn until_answered(client: &Client, path: &str, status: u16) {
    let asking = async {
        while client.get(path).await.status != status {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("an answer has this status");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_with_a_full_share_of_bodies_can_still_send_small_requests() {
    let mut manifest = shop_manifest();
    (manifest.listeners.bodies_bytes, manifest.listeners.bodies_each_bytes) = (4 << 20, 1_500_000);
    let shop = Shop::with(manifest).await;
    let mut held = Vec::new();
    // Two of these bodies exceed the share. A body that is being answered counts too, so a held one may be refused: try several.
    let large = json!({ "token": "x".repeat(900_000) });
    let until = async |status: u16| {
        let asking = async { while shop.anon().post("/auth/verify", large.clone()).await.status != status {} };
        tokio::time::timeout(PATIENCE, asking).await.expect("an answer has this status");
    };
    while held.len() < 8 || shop.anon().post("/auth/verify", large.clone()).await.status != 503 {
        held.push(send_but_one(shop.addresses().gateway, 1_000_000).await);
    }
    shop.anon().calling_from(2).post("/auth/verify", large.clone()).await.refuses(401, "INVALID_TOKEN");
    shop.admin().await;
    drop(held);
    until(401).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_body_may_exceed_its_clients_share() {
    let mut manifest = shop_manifest();
    manifest.listeners.bodies_each_bytes = 10_000;
    let shop = Shop::with(manifest).await;
    shop.anon().post("/auth/verify", json!({ "token": "x".repeat(900_000) })).await.refuses(401, "INVALID_TOKEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_limited_to_its_share_of_open_requests() {
    let mut manifest = shop_manifest();
    manifest.listeners.requests_each = 20;
    let shop = Shop::with(manifest).await;
    let mut stream = TcpStream::connect(shop.addresses().gateway).await.unwrap();
    stream.write_all(&beginning()).await.unwrap();
    let attacker = shop.anon();
    // None if the host closes the connection instead, because it already sends too many refusals.
    let status = async || attacker.request(Method::GET, "/products").send().await.ok().map(|answer| answer.status());
    // Requests that are being answered count too, so the share may be full with fewer than twenty open requests.
    let attack = async {
        let mut number = 0;
        while number < 20 || status().await.is_some_and(|status| status == 200) {
            stream.write_all(&request(number, END_HEADERS, POST_VERIFY)).await.unwrap();
            number += 1;
        }
        while status().await.is_none_or(|status| status != 503) {}
    };
    beside(&shop.anon().calling_from(2), attack).await;
    attacker.get("/products").await.refuses(503, "OVERLOADED");
    drop(stream);
    until_answered(&attacker, "/products", 200).await;
}

/// A service with answers of two MiB, and an HTTP/2 client whose flow-control window is zero.
async fn unread(manifest: impl FnOnce(&mut comptoir::manifest::Manifest)) -> (Shop, TcpStream) {
    let mut records = manifest_of(
        "[services.records]\ncomponent = \"guest_records.wasm\"\nmounts = [\"/records\"]\npublic = [\"/records\"]\n",
    );
    manifest(&mut records);
    let shop = Shop::with(records).await;
    let mut stream = TcpStream::connect(shop.addresses().gateway).await.unwrap();
    stream.write_all(&beginning()).await.unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE of zero.
    stream.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await.unwrap();
    (shop, stream)
}

/// `GET /records/…`, with method and scheme from the static table (RFC 7541, appendix A).
fn get(path: &str) -> Vec<u8> {
    let path = format!("/records/{path}");
    [&[0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()], path.as_bytes(), b"\x41\x04shop"].concat()
}

/// Reads frames until one has this type. Returns its stream.
async fn until_frame(stream: &mut TcpStream, kind: u8) -> u32 {
    let reading = async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.expect("the connection stays open");
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
            if head[3] == kind {
                return u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            }
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("a frame of this type arrives")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_answer_over_http2_is_cancelled_and_other_streams_continue() {
    for path in ["body", "small"] {
        let change = |manifest: &mut comptoir::manifest::Manifest| {
            manifest.listeners.header_time = std::time::Duration::from_millis(200);
        };
        let (_shop, mut stream) = unread(change).await;
        stream.write_all(&request(0, END_HEADERS | END_STREAM, &get(path))).await.unwrap();
        assert_eq!(until_frame(&mut stream, RST_STREAM).await, 1, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_limited_to_its_share_of_unread_answers() {
    let change = |manifest: &mut comptoir::manifest::Manifest| manifest.listeners.responses_each_bytes = 3 << 20;
    let (shop, mut stream) = unread(change).await;
    let attacker = shop.anon();
    assert_eq!(attacker.get("/records/small").await.status, 200);
    for number in 0..2 {
        stream.write_all(&request(number, END_HEADERS | END_STREAM, &get("body"))).await.unwrap();
    }
    until_answered(&attacker, "/records/small", 503).await;
    assert_eq!(attacker.calling_from(2).get("/records/small").await.status, 200);
    drop(stream);
    until_answered(&attacker, "/records/small", 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_answer_over_http1_is_cancelled() {
    let mut manifest = manifest_of(
        "[services.flood]\ncomponent = \"guest_flood_p2.wasm\"\nmounts = [\"/flood\"]\naccess = \"public\"\n\
         limits = { time = \"10m\", cpu = \"10m\", response = \"1 GiB\" }\n",
    );
    manifest.listeners.header_time = std::time::Duration::from_millis(200);
    let shop = Shop::with(manifest).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(shop.addresses().gateway).await.unwrap();
    stream.write_all(b"GET /flood/full HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    stream.read_exact(&mut [0; 12]).await.unwrap();
    super::connections::nothing_runs(&shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_can_connect_while_clients_hold_every_connection() {
    let mut manifest = shop_manifest();
    manifest.listeners.connections = 4;
    let shop = Shop::with(manifest).await;
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(TcpStream::connect(shop.addresses().gateway).await.unwrap());
    }
    let answer = tokio::time::timeout(PATIENCE, shop.operator().get("/readyz")).await.expect("an answer");
    assert_eq!(answer.status, 200);
}

/// The most KiB that a host may keep of a flood of two hundred MiB.
const KEPT_KIB: u64 = 64 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_of_a_flood_is_returned_to_the_system() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = ShopProcess::spawn(folder.path());
    let gateway = process.serves().await.expect("the host starts").gateway;
    let client = Client::new(&gateway);
    assert_eq!(client.get("/products").await.status, 200);
    let before = process.resident_kib();
    let mut held = Vec::new();
    for _ in 0..200 {
        held.push(send_but_one(gateway.trim_start_matches("http://").parse().unwrap(), 1 << 20).await);
    }
    let until = async |is_there: fn(u64, u64) -> bool| {
        let waiting = async {
            while !is_there(process.resident_kib(), before) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await.expect("the memory reaches the bound");
    };
    until(|now, before| now > before + 2 * KEPT_KIB).await;
    drop(held);
    until(|now, before| now < before + KEPT_KIB).await;
    process.kill().await;
}
