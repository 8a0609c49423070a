//! DNS rebinding: a listener on loopback accepts only `Host` names of loopback and of the manifest.

use comptoir::manifest::Manifest;
use reqwest::Method;
use testing::{Answer, Client, Shop, send, shop_manifest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn answering_to(hosts: &[&str]) -> Manifest {
    let mut manifest = shop_manifest();
    manifest.listeners.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    manifest
}

async fn ask(client: &Client, path: &str, host: &str) -> Answer {
    send(client.request(Method::GET, path).header("host", host)).await
}

#[tokio::test]
async fn every_listener_on_loopback_refuses_a_foreign_host_name() {
    let shop = Shop::with(answering_to(&[])).await;
    for (client, path) in [
        (shop.anon(), "/products"),
        (shop.anon(), "/health"),
        (shop.anon(), "/nowhere"),
        (shop.door("orders"), "/health"),
        (shop.operator(), "/livez"),
        (shop.operator(), "/metrics"),
        (shop.operator(), "/services"),
    ] {
        let answer = ask(&client, path, "evil.example").await;
        answer.refuses(421, "FOREIGN_HOST");
        assert!(
            answer.body["error"]["message"].as_str().unwrap().contains("`hosts` in [listeners]"),
            "{}",
            answer.text
        );
        assert_eq!(answer.body["error"]["request_id"], answer.header("x-request-id"));
        for host in ["localhost", "LOCALHOST:80", "shop.localhost", "127.9.9.9:1", "[::1]"] {
            assert_ne!(ask(&client, path, host).await.status, 421, "{path} {host}");
        }
    }
}

#[tokio::test]
async fn listed_host_names_are_accepted_and_a_star_allows_all_except_for_the_operator() {
    let shop = Shop::with(answering_to(&["shop.example"])).await;
    for client in [shop.anon(), shop.operator()] {
        assert_eq!(ask(&client, "/health", "Shop.example:443").await.status, 200);
        ask(&client, "/health", "evil.example").await.refuses(421, "FOREIGN_HOST");
    }
    let shop = Shop::with(answering_to(&["*"])).await;
    assert_eq!(ask(&shop.anon(), "/products", "any.example").await.status, 200);
    assert_eq!(ask(&shop.door("orders"), "/health", "any.example").await.status, 200);
    ask(&shop.operator(), "/metrics", "any.example").await.refuses(421, "FOREIGN_HOST");
}

#[tokio::test]
async fn a_deploy_with_a_foreign_host_name_is_not_executed() {
    let shop = Shop::with(answering_to(&[])).await;
    let operator = shop.operator();
    let before = operator.get("/keys").await.body;
    let rotate = operator.request(Method::POST, "/keys/rotate").header("host", "evil.example");
    send(rotate).await.refuses(421, "FOREIGN_HOST");
    assert_eq!(operator.get("/keys").await.body, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_refuses_two_lengths_or_hosts_like_the_gateway() {
    let shop = Shop::open().await;
    let listeners = [shop.addresses().gateway, shop.addresses().admin];
    for fields in
        ["content-length: 0\r\ncontent-length: 90", "content-length: 0, 90", "transfer-encoding: chunked, identity"]
    {
        for address in listeners {
            let answer = exchange(address, &format!("host: localhost\r\n{fields}")).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{fields:?} at {address}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{fields:?} at {address}: {answer}");
        }
    }
    for hosts in ["host: localhost\r\nhost: 127.0.0.1", "x: y"] {
        for address in listeners {
            let answer = exchange(address, hosts).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{hosts:?} at {address}: {answer}");
        }
    }
    // The chunks decide the length, and the connection ends with the answer (RFC 9112, section 6.1).
    for fields in ["content-length: 0\r\ntransfer-encoding: chunked", "transfer-encoding: chunked\r\ncontent-length: 0"]
    {
        for address in listeners {
            let answer = exchange(address, &format!("host: localhost\r\n{fields}")).await;
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{fields:?} at {address}: {answer}");
        }
    }
}

/// Sends a request with these fields and an empty chunked body, and another request after it.
async fn exchange(address: std::net::SocketAddr, fields: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let sent = format!(
        "GET /health HTTP/1.1\r\n{fields}\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(sent.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A reset at the end is fine.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}
