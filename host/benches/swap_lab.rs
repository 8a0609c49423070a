//! `just swap-lab`: swaps a component a thousand times under load and prints what that cost.
//!
//! Clients send 70 % POST and 30 % GET over kept and over fresh connections and never try again. Each notes how many swaps
//! were answered before it sent a request, so an answer of a revision that was replaced before is found out.

#![allow(clippy::unwrap_used, missing_docs, reason = "a laboratory may panic")]

#[path = "../tests/all/harness.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests, which use all of it")]
mod harness;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use harness::{Client, Shop, component, shop_manifest};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const KEPT: usize = 8;
const FRESH: usize = 4;

/// What all clients share.
struct Lab {
    gateway: SocketAddr,
    token: String,
    /// Swaps that were begun, and swaps that were answered.
    begun: AtomicUsize,
    answered: AtomicUsize,
    /// The revision that serves after an even and after an odd number of swaps.
    labels: [String; 2],
    done: AtomicBool,
    requests: AtomicU64,
    posts: AtomicU64,
    failed: AtomicU64,
    resets: AtomicU64,
    stale: AtomicU64,
}

fn main() {
    let swaps = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(run(swaps));
}

async fn run(swaps: usize) {
    let (mut shop, [first, second]) = open().await;
    let admin = shop.admin().await;
    let operator = shop.operator();
    // Both revisions are known before the clock runs.
    let labels = [deploy(&operator, &second).await.0, deploy(&operator, &first).await.0];
    let lab = Arc::new(Lab {
        gateway: shop.addresses().gateway,
        token: admin.access_token().to_owned(),
        begun: AtomicUsize::new(0),
        answered: AtomicUsize::new(0),
        labels: [labels[1].clone(), labels[0].clone()],
        done: AtomicBool::new(false),
        requests: AtomicU64::new(0),
        posts: AtomicU64::new(0),
        failed: AtomicU64::new(0),
        resets: AtomicU64::new(0),
        stale: AtomicU64::new(0),
    });
    let clients: Vec<_> = (0..KEPT + FRESH).map(|number| tokio::spawn(lab.clone().client(number))).collect();
    let (files, memory, started) = (open_files(), resident_kib(), Instant::now());
    let mut took = Vec::with_capacity(swaps);
    for swap in 0..swaps {
        lab.begun.fetch_add(1, Ordering::SeqCst);
        let (label, active_us) = deploy(&operator, if swap % 2 == 0 { &second } else { &first }).await;
        assert_eq!(label, lab.labels[(swap + 1) % 2]);
        lab.answered.fetch_add(1, Ordering::SeqCst);
        took.push(active_us);
        if swap % 100 == 99 {
            eprintln!("{} of {swaps} swaps, {} requests", swap + 1, lab.requests.load(Ordering::Relaxed));
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    lab.done.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    took.sort_unstable();
    let count = |count: &AtomicU64| count.load(Ordering::SeqCst);
    println!("swaps                          {swaps} in {seconds:.1} s");
    println!("requests                       {} ({} POST)", count(&lab.requests), count(&lab.posts));
    println!("not answered with 2xx          {}", count(&lab.failed));
    println!("resets and other broken        {}", count(&lab.resets));
    println!("answered by a replaced one     {}", count(&lab.stale));
    println!("record and pointer, median     {:.2} ms", took[took.len() / 2] as f64 / 1000.0);
    println!("record and pointer, 99 %       {:.2} ms", took[took.len() * 99 / 100] as f64 / 1000.0);
    println!("open files before and after    {files}, {}", open_files());
    println!("resident MiB before and after  {}, {}", memory >> 10, resident_kib() >> 10);
    shop.stop().await;
    if count(&lab.failed) + count(&lab.resets) + count(&lab.stale) > 0 {
        std::process::exit(1);
    }
}

/// The shop with more stock than the lab can buy, and two revisions of orders that differ in nothing but a comment.
async fn open() -> (Shop, [Vec<u8>; 2]) {
    let first = std::fs::read(component("orders")).unwrap();
    // An empty custom section named "v" (WebAssembly core specification, section 5.5.3).
    let second = [&first[..], &[0, 2, 1, b'v']].concat();
    let mut shop = Shop::with(shop_manifest()).await;
    shop.stop().await;
    let database = rusqlite::Connection::open(shop.data.path().join("orders.db")).unwrap();
    database.execute("UPDATE products SET stock = 1000000000", []).unwrap();
    drop(database);
    shop.start_again().await;
    (shop, [first, second])
}

/// Deploys and gives the revision's label and the microseconds that its activation took.
async fn deploy(operator: &Client, bytes: &[u8]) -> (String, u64) {
    let answer = harness::send(operator.request(Method::PUT, "/services/orders").body(bytes.to_vec())).await;
    let report = answer.succeeds(200);
    let active = report["steps"].as_array().unwrap().iter().find(|step| step["step"] == "active");
    let label = format!("orders@{}", &report["to"].as_str().unwrap()[..12]);
    (label, active.map_or(0, |step| step["took_us"].as_u64().unwrap()))
}

impl Lab {
    async fn client(self: Arc<Self>, number: usize) {
        let keeps = number < KEPT;
        let mut connection: Option<SendRequest<Full<Bytes>>> = None;
        let mut turn = number;
        while !self.done.load(Ordering::SeqCst) {
            turn += 1;
            let mut sender = match connection.take() {
                Some(sender) => sender,
                None => connect(self.gateway).await,
            };
            let is_post = turn % 10 < 7;
            let known = self.answered.load(Ordering::SeqCst);
            self.requests.fetch_add(1, Ordering::Relaxed);
            self.posts.fetch_add(u64::from(is_post), Ordering::Relaxed);
            let Some((status, label)) = exchange(&mut sender, self.request(is_post)).await else {
                self.resets.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            if !(200..300).contains(&status) {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
            // The other revision is right only if a further swap was begun meanwhile.
            if label != self.labels[known % 2] && self.begun.load(Ordering::SeqCst) == known {
                self.stale.fetch_add(1, Ordering::Relaxed);
            }
            connection = keeps.then_some(sender);
            // As much load as two cores carry beside the swaps, not as much as can be queued.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn request(&self, is_post: bool) -> Request<Full<Bytes>> {
        let request =
            Request::builder().uri("/orders").header("host", "shop").header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {}", self.token));
        if is_post {
            let body = r#"{"items":[{"product_id":2,"quantity":1}]}"#;
            return request.method(Method::POST).body(Full::from(body)).unwrap();
        }
        request.uri("/products").body(Full::default()).unwrap()
    }
}

async fn connect(gateway: SocketAddr) -> SendRequest<Full<Bytes>> {
    let stream = TcpStream::connect(gateway).await.unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn exchange(sender: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Option<(u16, String)> {
    sender.ready().await.ok()?;
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    let label = response.headers().get("x-comptoir-revision")?.to_str().ok()?.to_owned();
    response.into_body().collect().await.ok()?;
    Some((status, label))
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
