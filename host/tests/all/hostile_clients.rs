//! Clients that break the rules on purpose, over real sockets. None makes the host fail or hurts another client.

mod connections;
mod floods;
mod framing;
mod shares;

use std::pin::pin;
use std::time::Duration;

use testing::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A timeout that is reached only if a test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs an attack while another client keeps sending requests. Asserts that all of them succeed.
async fn beside<T>(other: &Client, attack: impl Future<Output = T>) -> T {
    let mut attack = pin!(attack);
    let result = loop {
        tokio::select! {
            result = tokio::time::timeout(PATIENCE, attack.as_mut()) => break result.expect("the attack ends"),
            answer = other.get("/products") => assert_eq!(answer.status, 200, "{}", answer.text),
        }
    };
    assert_eq!(other.get("/products").await.status, 200);
    result
}

/// Sends bytes and reads until the host closes the connection. A reset at the end is fine.
async fn exchange(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let (mut incoming, mut outgoing) = stream.split();
    let mut answer = Vec::new();
    // The host may answer and close before it received everything.
    let (_, read) =
        tokio::join!(outgoing.write_all(bytes), tokio::time::timeout(PATIENCE, incoming.read_to_end(&mut answer)));
    let _ = read.expect("the host closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The statuses of the answers.
fn statuses(answers: &str) -> Vec<u16> {
    let heads = answers.split("HTTP/1.").skip(1);
    heads.map(|head| head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")).collect()
}

/// The address of a shop's gateway.
fn address(shop: &testing::Shop) -> String {
    shop.addresses().gateway.to_string()
}
