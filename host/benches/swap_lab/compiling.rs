//! Measures what compiling a new component costs another service, and how long its deploy takes.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use testing::{Client, Shop};

use crate::{deploy, milliseconds, row};

/// Functions added to the component, and operations in each. They make it about one MiB large.
const FUNCTIONS: u64 = 440;
const OPERATIONS: u64 = 48;

/// New components that are deployed.
const ROUNDS: u8 = 6;

/// How long the first round measures the quiet host. Later rounds measure as long as the last deploy took.
const FIRST_QUIET: Duration = Duration::from_secs(1);

/// The limit of the 99th percentile beside a compiler: the quiet one times this factor, plus this time.
const FACTOR: u32 = 2;
const MORE: Duration = Duration::from_millis(2);

/// The measurements.
pub(crate) struct Compiling {
    component_bytes: usize,
    /// Latencies of another service while the host was quiet, and while a compiler ran.
    quiet: Vec<Duration>,
    beside: Vec<Duration>,
    /// The duration of each deploy: of a new component, and of the same component a second time.
    never_seen: Vec<Duration>,
    seen: Vec<Duration>,
}

/// Deploys several new components. After each, deploys `first`, and then the same component again.
pub(crate) async fn measure(shop: &Shop, first: &[u8]) -> Compiling {
    let (operator, user) = (shop.operator(), shop.admin().await);
    let heavy = [first, &ballast()].concat();
    let (mut quiet, mut beside, mut never_seen, mut seen) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut quiet_time = FIRST_QUIET;
    for round in 0..ROUNDS {
        // An empty custom section whose name no other round has (WebAssembly core specification, section 5.5.3).
        let component = [&heavy[..], &[0, 2, 1, b'a' + round]].concat();
        request_while(&user, tokio::time::sleep(quiet_time), &mut quiet).await;
        quiet_time = request_while(&user, timed(operator.clone(), component.clone()), &mut beside).await;
        never_seen.push(quiet_time);
        timed(operator.clone(), first.to_vec()).await;
        seen.push(timed(operator.clone(), component).await);
        timed(operator.clone(), first.to_vec()).await;
        eprintln!("{} of {ROUNDS} new components", round + 1);
    }
    for measured in [&mut quiet, &mut beside, &mut never_seen, &mut seen] {
        measured.sort_unstable();
    }
    Compiling { component_bytes: heavy.len(), quiet, beside, never_seen, seen }
}

impl Compiling {
    /// Prints the rows. Returns whether the other service stayed within its limit.
    pub(crate) fn print(&self) -> bool {
        let size = format!("{:.1} MiB", self.component_bytes as f64 / f64::from(1 << 20));
        row(&format!("deploy of {size}, new"), &milliseconds(median(&self.never_seen)));
        row(&format!("deploy of {size}, known"), &milliseconds(median(&self.seen)));
        for (what, part) in [("another service, median", 50), ("another service, 99 %", 99)] {
            let [quiet, beside] = [&self.quiet, &self.beside].map(|took| milliseconds(quantile(took, part)));
            row(what, &format!("quiet {quiet}, beside a compiler {beside}"));
        }
        row("its requests", &format!("{}, {}", self.quiet.len(), self.beside.len()));
        quantile(&self.beside, 99) <= quantile(&self.quiet, 99) * FACTOR + MORE
    }
}

/// Deploys a component and returns how long that took.
async fn timed(operator: Client, component: Vec<u8>) -> Duration {
    let started = Instant::now();
    deploy(&operator, &component).await;
    started.elapsed()
}

/// Requests the user service, one request after the other, until a future is done. Returns its result.
async fn request_while<T: Send + 'static>(
    user: &Client,
    other: impl Future<Output = T> + Send + 'static,
    took: &mut Vec<Duration>,
) -> T {
    let other = tokio::spawn(other);
    while !other.is_finished() {
        let started = Instant::now();
        user.get("/users/profile").await.succeeds(200);
        took.push(started.elapsed());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    other.await.unwrap()
}

/// A section with a core module that is compiled but never instantiated (component model, section 1).
///
/// It has arithmetic, memory accesses and branches. No two operations use the same numbers.
fn ballast() -> Vec<u8> {
    let mut text = String::from("(module (memory 1)");
    for function in 0..FUNCTIONS {
        text.push_str("(func (param i64) (result i64)");
        for operation in 0..OPERATIONS {
            let number = (function * OPERATIONS + operation).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1;
            let offset = number % 60_000;
            let _ = write!(
                text,
                "(local.set 0 (i64.add (i64.mul (local.get 0) (i64.const {number})) (i64.load offset={offset} (i32.const 0))))
                 (if (i64.gt_s (local.get 0) (i64.const {offset})) (then (i64.store offset={offset} (i32.const 8) (local.get 0))))"
            );
        }
        text.push_str("(local.get 0))");
    }
    text.push(')');
    let module = wat::parse_str(text).unwrap();
    let mut section = vec![1];
    let mut length = module.len();
    while length >= 0x80 {
        section.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    section.push(u8::try_from(length).unwrap());
    section.extend(module);
    section
}

fn median(sorted: &[Duration]) -> Duration {
    quantile(sorted, 50)
}

fn quantile(sorted: &[Duration], part: usize) -> Duration {
    sorted[(sorted.len() - 1) * part / 100]
}
