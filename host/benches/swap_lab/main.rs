//! `just swap-lab`: swaps a component a thousand times under load, then reloads the manifest a hundred times, and prints the cost.
//!
//! Clients send 70 % POST and 30 % GET over kept and over fresh connections, and never retry. Each notes the number of
//! completed swaps before it sends a request. So it notices an answer from a revision that was already replaced.
//!
//! First it measures what compiling costs another service. It fails if a request is lost, if memory or descriptors grow with
//! the swaps or reloads, or if compiling makes another service much slower.

#![allow(clippy::unwrap_used, missing_docs, reason = "a laboratory may panic")]

mod compiling;
mod reloading;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use comptoir::host::Options;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use testing::built::program;
use testing::{Client, Shop, component, send, shop_manifest};
use tokio::net::TcpStream;

/// Clients that keep their connection, and clients that open one for each request.
const KEPT: usize = 8;
const FRESH: usize = 4;

/// The state that all clients share.
struct Lab {
    /// A reload may move it.
    gateway: Mutex<SocketAddr>,
    token: String,
    /// Swaps that began, and swaps whose deploy was answered.
    begun: AtomicUsize,
    answered: AtomicUsize,
    /// The active revision after an even and after an odd number of swaps.
    labels: [String; 2],
    done: AtomicBool,
    requests: AtomicU64,
    posts: AtomicU64,
    failed: AtomicU64,
    resets: AtomicU64,
    stale: AtomicU64,
}

/// Reloads after the swaps.
const RELOADS: usize = 100;

/// Swaps before the baseline of memory and descriptors is taken.
const WARM_UP: usize = 100;

/// The growth that later swaps may cause. If each swap leaked its revision's code, this would be some hundred MiB.
const GROWTH_KIB: u64 = 16 << 10;
const MORE_FILES: usize = 16;

/// Resources of this process, which runs the host.
#[derive(Clone, Copy)]
struct Usage {
    files: usize,
    resident_kib: u64,
}

/// The measurements of all swaps.
struct Swaps {
    seconds: f64,
    /// For each swap, the microseconds from writing its record to switching the pointer, sorted.
    took: Vec<u64>,
    /// Before the first swap, after the warm-up, and after the last swap.
    usage: [Usage; 3],
}

fn main() {
    let swaps = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if !runtime.block_on(run(swaps)) {
        std::process::exit(1);
    }
}

/// Whether all checks passed.
async fn run(swaps: usize) -> bool {
    let (mut shop, revisions) = open().await;
    let compiling = compiling::measure(&shop, &revisions[0]).await;
    let lab = Arc::new(Lab::new(&shop, &revisions).await);
    let clients: Vec<_> = (0..KEPT + FRESH).map(|number| tokio::spawn(lab.clone().client(number))).collect();
    let swapped = lab.swap(&shop.operator(), &revisions, swaps).await;
    let reloaded = reloading::reload(&lab, &mut shop, RELOADS).await;
    lab.done.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    let sound = [lab.print(&swapped), swapped.print(), reloaded.print(), compiling.print()];
    shop.stop().await;
    for (sound, complaint) in sound.into_iter().zip([
        "requests were lost, or answered by a replaced revision",
        "memory or descriptors grew with the number of swaps",
        "memory or descriptors grew with the number of reloads",
        "another service was slow beside a compiler; if the machine was busy, run this again",
    ]) {
        if !sound {
            eprintln!("failed: {complaint}");
        }
    }
    sound == [true; 4]
}

/// The shop with more stock than the lab can buy, and two components of orders that differ only in a custom section.
async fn open() -> (Shop, [Vec<u8>; 2]) {
    let first = std::fs::read(component("orders")).unwrap();
    // An empty custom section named "v" (WebAssembly core specification, section 5.5.3).
    let second = [&first[..], &[0, 2, 1, b'v']].concat();
    // An empty compilation cache, so that new components really are new, and a compiler process as in production.
    let compiler = Some(program());
    let own = |options| Options { cache: None, compiler, ..options };
    let mut manifest = shop_manifest();
    // No automatic rollback: on a busy machine the same code is sometimes much slower than before.
    manifest.deploy.watch = Duration::from_millis(1);
    let mut shop = Shop::with_options(manifest, own).await;
    shop.stop().await;
    let database = rusqlite::Connection::open(shop.data.path().join("orders.db")).unwrap();
    database.execute("UPDATE products SET stock = 1000000000", []).unwrap();
    drop(database);
    shop.start_again().await;
    (shop, [first, second])
}

/// Deploys, and returns the revision's label and the microseconds of its activation.
async fn deploy(operator: &Client, bytes: &[u8]) -> (String, u64) {
    let answer = send(operator.request(Method::PUT, "/services/orders").body(bytes.to_vec())).await;
    let report = answer.succeeds(200);
    let active = report["steps"].as_array().unwrap().iter().find(|step| step["step"] == "active");
    let label = format!("orders@{}", &report["to"].as_str().unwrap()[..12]);
    (label, active.map_or(0, |step| step["took_us"].as_u64().unwrap()))
}

impl Lab {
    /// Deploys both components once, so that they are compiled before the measurement.
    async fn new(shop: &Shop, [first, second]: &[Vec<u8>; 2]) -> Self {
        let operator = shop.operator();
        let odd = deploy(&operator, second).await.0;
        let even = deploy(&operator, first).await.0;
        Self {
            gateway: Mutex::new(shop.addresses().gateway),
            token: shop.admin().await.access_token().to_owned(),
            begun: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            labels: [even, odd],
            done: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            posts: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            stale: AtomicU64::new(0),
        }
    }

    async fn swap(&self, operator: &Client, [first, second]: &[Vec<u8>; 2], swaps: usize) -> Swaps {
        let (before, started) = (Usage::now(), Instant::now());
        let (mut warm, mut took) = (before, Vec::with_capacity(swaps));
        for swap in 0..swaps {
            self.begun.fetch_add(1, Ordering::SeqCst);
            let (label, active_us) = deploy(operator, if swap % 2 == 0 { second } else { first }).await;
            assert_eq!(label, self.labels[(swap + 1) % 2]);
            self.answered.fetch_add(1, Ordering::SeqCst);
            took.push(active_us);
            if swap + 1 == WARM_UP {
                warm = Usage::now();
            }
            if swap % 100 == 99 {
                eprintln!("{} of {swaps} swaps, {} requests", swap + 1, self.requests.load(Ordering::Relaxed));
            }
        }
        took.sort_unstable();
        Swaps { seconds: started.elapsed().as_secs_f64(), took, usage: [before, warm, Usage::now()] }
    }

    /// Prints the rows. Returns whether every request was answered correctly.
    fn print(&self, swapped: &Swaps) -> bool {
        let count = |count: &AtomicU64| count.load(Ordering::SeqCst);
        row("swaps", &format!("{} in {:.1} s", swapped.took.len(), swapped.seconds));
        row("requests", &format!("{} ({} POST)", count(&self.requests), count(&self.posts)));
        row("answers other than 2xx", &count(&self.failed).to_string());
        row("broken connections", &count(&self.resets).to_string());
        row("answers of a replaced revision", &count(&self.stale).to_string());
        count(&self.failed) + count(&self.resets) + count(&self.stale) == 0
    }

    async fn client(self: Arc<Self>, number: usize) {
        let keeps = number < KEPT;
        let mut connection: Option<SendRequest<Full<Bytes>>> = None;
        let mut turn = number;
        while !self.done.load(Ordering::SeqCst) {
            turn += 1;
            let mut sender = match connection.take() {
                Some(sender) => sender,
                None => connect(self.gateway()).await,
            };
            let is_post = turn % 10 < 7;
            let known = self.answered.load(Ordering::SeqCst);
            self.requests.fetch_add(1, Ordering::Relaxed);
            self.posts.fetch_add(u64::from(is_post), Ordering::Relaxed);
            let Some((status, label, closes)) = exchange(&mut sender, self.request(is_post)).await else {
                self.resets.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            if !(200..300).contains(&status) {
                self.failed.fetch_add(1, Ordering::Relaxed);
            }
            // The other revision is correct only if another swap began meanwhile.
            if label != self.labels[known % 2] && self.begun.load(Ordering::SeqCst) == known {
                self.stale.fetch_add(1, Ordering::Relaxed);
            }
            connection = (keeps && !closes).then_some(sender);
            // Two cores can serve this load beside the swaps, so requests do not queue.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    fn gateway(&self) -> SocketAddr {
        *self.gateway.lock().unwrap()
    }

    fn move_to(&self, gateway: SocketAddr) {
        *self.gateway.lock().unwrap() = gateway;
    }

    fn request(&self, is_post: bool) -> Request<Full<Bytes>> {
        let request =
            Request::builder().uri("/orders").header("host", "localhost").header("content-type", "application/json");
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

/// Sends a request. Returns the status, the revision, and whether the host closes the connection.
async fn exchange(sender: &mut SendRequest<Full<Bytes>>, request: Request<Full<Bytes>>) -> Option<(u16, String, bool)> {
    sender.ready().await.ok()?;
    let response = sender.send_request(request).await.ok()?;
    let status = response.status().as_u16();
    let closes = response.headers().get("connection").is_some_and(|value| value == "close");
    let label = response.headers().get("x-comptoir-revision")?.to_str().ok()?.to_owned();
    response.into_body().collect().await.ok()?;
    Some((status, label, closes))
}

impl Usage {
    fn now() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident_kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default();
        Self { files: std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count), resident_kib }
    }
}

impl Swaps {
    /// Prints the rows. Returns whether memory and descriptors stopped growing after the warm-up.
    fn print(&self) -> bool {
        let quantile = |part: usize| self.took[(self.took.len() - 1) * part / 100];
        for (what, part) in [("record and pointer, median", 50), ("record and pointer, 99 %", 99)] {
            row(what, &milliseconds(Duration::from_micros(quantile(part))));
        }
        let [before, warm, after] = self.usage;
        let places = format!("before, after {WARM_UP} swaps, at the end");
        row("open files", &format!("{}, {}, {} ({places})", before.files, warm.files, after.files));
        let [a, b, c] = self.usage.map(|usage| usage.resident_kib >> 10);
        row("resident MiB", &format!("{a}, {b}, {c}"));
        after.files <= warm.files + MORE_FILES && after.resident_kib <= warm.resident_kib + GROWTH_KIB
    }
}

/// Prints one line of the table.
fn row(what: &str, value: &str) {
    println!("{what:<34}{value}");
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
