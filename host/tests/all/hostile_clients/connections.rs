//! Connections: half-closed, reset, slow, idle and too many.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use testing::shop_process::ShopProcess;
use testing::{Client, Shop, shop_manifest};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{PATIENCE, address, beside, statuses};

const GET: &[u8] = b"GET /products HTTP/1.1\r\nhost: localhost\r\n\r\n";

async fn connect(shop: &Shop) -> TcpStream {
    TcpStream::connect(address(shop)).await.expect("a connection")
}

/// Makes closing the stream send a reset.
fn reset(stream: &TcpStream) {
    stream.set_zero_linger().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_closed_client_gets_its_answer_or_is_considered_gone() {
    let shop = Shop::open().await;
    for _ in 0..20 {
        let mut stream = connect(&shop).await;
        stream.write_all(GET).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        let seen = statuses(&answer);
        assert!(seen.is_empty() || seen == [200], "{answer}");
    }
    nothing_runs(&shop).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_reset_at_any_moment_leak_nothing() {
    let shop = Shop::open().await;
    let post = b"POST /auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\r\n{\"username\":";
    let attack = async {
        for sent in [&GET[..10], GET, post, &GET.repeat(50), &[GET, post].concat(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
        {
            for reads in [false, true] {
                for _ in 0..20 {
                    let mut stream = connect(&shop).await;
                    let _ = stream.write_all(sent).await;
                    if reads && sent.starts_with(GET) {
                        let _ = stream.read(&mut [0; 64]).await;
                    }
                    reset(&stream);
                }
            }
        }
    };
    beside(&shop.anon(), attack).await;
    nothing_runs(&shop).await;
}

/// Waits until no service has an instance in use.
pub async fn nothing_runs(shop: &Shop) {
    let operator = shop.operator();
    let quiet = async {
        loop {
            let services = operator.get("/services").await;
            let services = services.data().as_array().unwrap();
            if services
                .iter()
                .all(|service| service["instances"]["in_use"] == 0 && service["instances"]["waiting"] == 0)
            {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, quiet).await.expect("every instance slot is freed");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_occupy_no_instance() {
    let mut manifest = shop_manifest();
    manifest.services.get_mut("auth").unwrap().limits.time = Duration::from_millis(500);
    manifest.services.get_mut("auth").unwrap().limits.concurrency = 2;
    let shop = Shop::with(manifest).await;
    let head = b"POST /auth/verify HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n";
    let slow = async || {
        let mut stream = connect(&shop).await;
        stream.write_all(head).await.unwrap();
        let (mut incoming, mut outgoing) = stream.split();
        let mut answer = [0; 12];
        let send = async {
            while outgoing.write_all(b" ").await.is_ok() {
                tokio::task::yield_now().await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            read = incoming.read_exact(&mut answer) => drop(read.unwrap()),
            () = send => {}
        }
        String::from_utf8_lossy(&answer).into_owned()
    };
    let attack = futures::future::join_all((0..20).map(|_| slow()));
    let client = shop.anon();
    let (answers, ()) = tokio::join!(beside(&client, attack), async {
        for _ in 0..10 {
            let answer = client.post("/auth/verify", serde_json::json!({ "token": "none" })).await;
            answer.refuses(401, "INVALID_TOKEN");
        }
    });
    assert!(answers.iter().all(|answer| answer == "HTTP/1.1 408"), "{answers:?}");
}

/// Idle connections. Each has sent a part of a request that depends on its number.
const IDLE: usize = 10_000;

/// Files that client and host each open besides the connections.
const OTHER_FILES: u64 = 1_000;

/// The host runs in its own process, because each side of the connections may need all the open files that a process can have.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_hurt_no_other_client() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let enough = maximum.is_none_or(|most| most >= IDLE as u64 + OTHER_FILES);
    assert!(enough, "this test needs more open files than the hard limit of {maximum:?}: raise `ulimit -Hn`");
    let folder = tempfile::tempdir().unwrap();
    let mut process = ShopProcess::spawn(folder.path());
    let gateway = process.serves().await.expect("the host starts").gateway;
    let address = gateway.trim_start_matches("http://");
    let attack = async {
        let mut held = Vec::new();
        for number in 0..IDLE {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.write_all(&GET[..number % GET.len()]).await.unwrap();
            held.push(stream);
        }
        held
    };
    let held = beside(&Client::new(&gateway), attack).await;
    let mut first = held.into_iter().next().unwrap();
    first.write_all(GET).await.unwrap();
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_until_idle_ones_are_closed() {
    let mut manifest = shop_manifest();
    (manifest.listeners.connections, manifest.listeners.header_time) = (4, Duration::from_millis(200));
    let shop = Shop::with(manifest).await;
    let mut held = Vec::new();
    for _ in 0..12 {
        held.push(connect(&shop).await);
    }
    let answer =
        tokio::time::timeout(PATIENCE, shop.anon().get("/products")).await.expect("a waiting connection is served");
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_limited_to_its_share_of_connections() {
    let mut manifest = shop_manifest();
    manifest.listeners.connections_each = 4;
    let shop = Shop::with(manifest).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(&shop).await;
        stream.write_all(GET).await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        held.push(stream);
    }
    // Whether another connection is answered instead of closed.
    let is_served = async || {
        let mut stream = connect(&shop).await;
        let _ = stream.write_all(GET).await;
        let mut answer = [0; 12];
        let read = tokio::time::timeout(PATIENCE, stream.read_exact(&mut answer)).await;
        read.expect("the connection is answered or closed").is_ok()
    };
    for _ in 0..8 {
        assert!(!is_served().await);
    }
    shop.anon().calling_from(2).get("/products").await.succeeds(200);
    held.pop();
    let served = async {
        while !is_served().await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, served).await.expect("a connection is accepted again");
}
