//! Clients that break the rules on purpose, over real sockets. None makes the host fail, and none hurts another client.

mod connections;
mod floods;
mod framing;
mod shares;

use std::pin::pin;
use std::time::Duration;

use testing::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longer than anything here takes, and reached only where something is wrong.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs an attack to its end while another client goes on buying. Asserts that this client notices nothing.
async fn beside<T>(other: &Client, attack: impl Future<Output = T>) -> T {
    let mut attack = pin!(attack);
    let result = loop {
        tokio::select! {
            result = tokio::time::timeout(PATIENCE, attack.as_mut()) => break result.expect("the attack comes to an end"),
            answer = other.get("/products") => assert_eq!(answer.status, 200, "{}", answer.text),
        }
    };
    assert_eq!(other.get("/products").await.status, 200);
    result
}

/// Sends bytes, and gives all that comes back until the host closes. A reset at the end is as good as a close.
async fn exchange(address: &str, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let (mut incoming, mut outgoing) = stream.split();
    let mut answer = Vec::new();
    // The host may answer, and close, before it has everything.
    let (_, read) =
        tokio::join!(outgoing.write_all(bytes), tokio::time::timeout(PATIENCE, incoming.read_to_end(&mut answer)));
    let _ = read.expect("the host closes the connection");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The statuses of the answers in what came back.
fn statuses(answers: &str) -> Vec<u16> {
    let heads = answers.split("HTTP/1.").skip(1);
    heads.map(|head| head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status")).collect()
}

/// `127.0.0.1:…` of a client's host.
fn address(shop: &testing::Shop) -> String {
    shop.addresses().gateway.to_string()
}
