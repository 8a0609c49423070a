//! `just hostile-lab`: measures what each attack of the hostile components costs a sibling service and the host.
//!
//! Several clients repeat an attack while others request the sibling. The table shows the sibling's latency and the host's
//! memory. Clients and host share the machine, so the table also has a harmless neighbour under the same load.
//!
//! It fails if a request to the sibling gets no 200, or if the sibling's 99th percentile or the host's memory exceeds its
//! ceiling. The ceiling of the latency is meant for a machine with two processors.

#![allow(clippy::unwrap_used, missing_docs, reason = "a laboratory may panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use testing::hostile::code;
use testing::hostile::ground::{Ground, path_of};
use testing::hostile::verdicts::{CEILING_MIB, ENDLESS, VERDICTS};

/// The default duration of each attack in milliseconds, and the default number of its clients.
const MILLISECONDS: u64 = 1500;
const ATTACKERS: u64 = 4;

/// Clients of the sibling, and the pause of each between two requests.
const CLIENTS: usize = 4;
const REST: Duration = Duration::from_millis(1);

/// A path that the hostile component answers at once: no attack, for comparison.
const HARMLESS: &str = "nothing";

/// The highest 99th percentile of the sibling beside any attack.
const CEILING: Duration = Duration::from_millis(50);

/// What an attack cost the sibling and the host.
struct Row {
    name: &'static str,
    attacks: u64,
    quiet: Duration,
    beside: Duration,
    /// Requests of the sibling that were not answered with 200.
    refused: usize,
    peak_mib: u64,
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (milliseconds, attackers) = (numbers.next().unwrap_or(MILLISECONDS), numbers.next().unwrap_or(ATTACKERS));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut rows = runtime.block_on(run(Duration::from_millis(milliseconds), attackers));
    let beside_harmless = rows[0].beside;
    rows.sort_by_key(|row| std::cmp::Reverse(row.beside));
    print(&rows);
    let count = |is: &dyn Fn(&Row) -> bool| rows.iter().filter(|row| row.name != HARMLESS && is(row)).count();
    let attacks = rows.len() - 1;
    println!(
        "sibling's p99 at most twice its quiet p99: {} of {attacks} attacks",
        count(&|row| row.beside <= row.quiet * 2)
    );
    let within = count(&|row| row.beside <= beside_harmless * 2);
    println!(
        "sibling's p99 at most twice that beside a harmless neighbour (`{HARMLESS}`): {within} of {attacks} attacks"
    );
    let over = count(&|row| row.beside > CEILING || row.refused > 0 || row.peak_mib > CEILING_MIB);
    let ceiling = CEILING.as_millis();
    println!("sibling refused, p99 above {ceiling} ms, or host above {CEILING_MIB} MiB: {over} of {attacks} attacks");
    if over > 0 {
        std::process::exit(1);
    }
}

/// Measures the sibling alone and then beside each attack, for the same time.
async fn run(time: Duration, attackers: u64) -> Vec<Row> {
    let ground = Ground::open(&code::components()).await;
    let hostile = VERDICTS.iter().map(|(name, ..)| *name);
    let hostile = [HARMLESS].into_iter().chain(hostile);
    let names: Vec<_> = hostile.chain([ENDLESS]).chain(code::ATTACKS.iter().map(|(name, ..)| *name)).collect();
    let mut rows = Vec::new();
    for name in &names {
        ground.forget_peak_memory();
        let (quiet, _) = sibling(&ground, time).await;
        let attack = Attack::begin(&ground.url(&path_of(name)), attackers);
        let (beside, refused) = sibling(&ground, time).await;
        let attacks = attack.end().await;
        rows.push(Row { name, attacks, quiet, beside, refused, peak_mib: ground.peak_memory_mib() });
        eprintln!("{} of {} attacks", rows.len(), names.len());
    }
    rows
}

/// Requests the sibling for this time. Returns the 99th percentile, and the number of answers other than 200.
async fn sibling(ground: &Ground, time: Duration) -> (Duration, usize) {
    let (url, until) = (ground.url("/sibling/x"), Instant::now() + time);
    let clients = (0..CLIENTS).map(|_| {
        let (url, http) = (url.clone(), client());
        tokio::spawn(async move {
            let mut took = Vec::new();
            while Instant::now() < until {
                let began = Instant::now();
                let answer = http.get(&url).send().await.unwrap();
                // A refused request counts as one without an answer.
                let served = answer.status() == 200 && answer.bytes().await.is_ok();
                took.push(if served { began.elapsed() } else { Duration::MAX });
                tokio::time::sleep(REST).await;
            }
            took
        })
    });
    let mut took: Vec<Duration> =
        futures::future::join_all(clients).await.into_iter().flat_map(Result::unwrap).collect();
    took.sort_unstable();
    let refused = took.iter().filter(|took| **took == Duration::MAX).count();
    (took[(took.len() - 1) * 99 / 100], refused)
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

/// Clients that repeat an attack, whatever the answers are.
struct Attack {
    ends: Arc<AtomicBool>,
    count: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Attack {
    fn begin(url: &str, attackers: u64) -> Self {
        let (ends, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..attackers).map(|_| {
            let (ends, count, http, url) = (ends.clone(), count.clone(), client(), url.to_owned());
            tokio::spawn(async move {
                while !ends.load(Ordering::Relaxed) {
                    // An incomplete answer is fine.
                    if let Ok(answer) = http.get(&url).send().await {
                        let _ = answer.bytes().await;
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let clients = clients.collect();
        Self { ends, count, clients }
    }

    /// Waits for the running attacks. Returns the number of all attacks.
    async fn end(self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        futures::future::join_all(self.clients).await;
        self.count.load(Ordering::Relaxed)
    }
}

/// Prints the table, worst attack first.
fn print(rows: &[Row]) {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0;
    println!("| attack | attacks | sibling p99 ms, quiet | beside | ratio | refused | host MiB, at most |");
    println!("|---|---:|---:|---:|---:|---:|---:|");
    for Row { name, attacks, quiet, beside, refused, peak_mib } in rows {
        let (quiet, beside) = (milliseconds(*quiet), milliseconds(*beside));
        println!("| {name} | {attacks} | {quiet:.2} | {beside:.2} | {:.1} | {refused} | {peak_mib} |", beside / quiet);
    }
}
