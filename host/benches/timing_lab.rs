//! `just timing-lab`: checks that the time of a refused login does not reveal whether an account exists.
//!
//! It logs in with wrong passwords: to an unknown name, and to accounts with each kind of password hash, in turns. Each account
//! is tried once. Then it compares a known and an unknown account while both are throttled. These answers differ from the
//! others, so they are compared only with each other.
//!
//! The measure is the AUC (area under the ROC curve) of two kinds: the share of pairs of samples in which the first is
//! slower. At 0.5 the time reveals nothing. Chance alone moves the AUC of n samples by about `1 / sqrt(6 n)`, which is 0.024
//! for 300. So about one run in seven exceeds the bound without a reason; with 1,000 samples none of two hundred did.
//!
//! Run it on an idle machine. Other work slows all kinds alike, because they take turns, and so hides a difference.

#![allow(clippy::unwrap_used, missing_docs, reason = "a laboratory may panic")]

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use testing::{Client, Shop, shop_manifest};

/// How far from 0.5 an AUC may be.
const BOUND: f64 = 0.05;

/// Attempts after which a login is refused without checking the password, whether the account exists or not.
const BURST: usize = 10;

/// How many more samples a throttled account gets: such an answer takes a thousandth of the time.
const THROTTLED: usize = 10;

/// The kinds of account and their password hashes: of "admin", or of "correct horse battery staple" for those of werkzeug.
const KINDS: [(&str, Option<&str>); 4] = [
    ("unknown", None),
    (
        "argon2id",
        Some("$argon2id$v=19$m=19456,t=2,p=1$ONxQb3FLT503PUnnLu0iqg$HbzAdyNwdXFHScoCTQM5RaWa26PnHFCY3Af8oKhek+Q"),
    ),
    (
        "scrypt",
        Some(
            "scrypt:32768:8:1$5UiYXMH4tBgWV7Wb$1c328c0af0c8861ab53cb24fbf03602a3f0dec9096f85907ddc04b63f222234b\
             5a030c9606b55cc303012ed663e992cccdd0c968cb54af3d6da8502906cfd58e",
        ),
    ),
    (
        "pbkdf2",
        Some("pbkdf2:sha256:600000$2GyhqaOqQ9lMzUdQ$f6357950e2238b7448a137d668f6ace6fc0ed945b8267f936774f00cb99b7072"),
    ),
];

/// The measured times of one kind.
struct Samples {
    kind: &'static str,
    took: Vec<Duration>,
}

fn main() {
    let samples = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(300);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if !runtime.block_on(run(samples)) {
        std::process::exit(1);
    }
}

/// Whether the times do not distinguish any two kinds.
async fn run(samples: usize) -> bool {
    let mut shop = open(samples + BURST).await;
    let refused = refused(&shop.anon(), samples).await;
    let throttled = throttled(&shop.anon(), samples, samples * THROTTLED).await;
    shop.stop().await;
    println!(
        "{samples} samples of each kind, {THROTTLED} times as many when throttled; chance moves an AUC by {:.3}",
        (1.0 / (6.0 * samples as f64)).sqrt()
    );
    println!("{:<36}{:>12}{:>12}", "", "median ms", "99 % ms");
    for kind in refused.iter().chain(&throttled) {
        println!("{:<36}{:>12.2}{:>12.2}", kind.kind, kind.quantile(0.5), kind.quantile(0.99));
    }
    println!("{:<36}{:>12}", "AUC", "");
    let mut sound = true;
    for kinds in [&refused[..], &throttled[..]] {
        for (position, one) in kinds.iter().enumerate() {
            for other in &kinds[position + 1..] {
                let auc = auc(&one.took, &other.took);
                let is_within = (auc - 0.5).abs() <= BOUND;
                sound &= is_within;
                let verdict = if is_within { "" } else { "  more than 0.05 from 0.5" };
                println!("{:<36}{auc:>12.3}{verdict}", format!("{} / {}", one.kind, other.kind));
            }
        }
    }
    sound
}

/// The shop with `accounts` accounts of each kind, like those taken over from the original shop's database.
async fn open(accounts: usize) -> Shop {
    let mut shop = Shop::with(shop_manifest()).await;
    shop.stop().await;
    let mut database = rusqlite::Connection::open(shop.data.path().join("auth.db")).unwrap();
    let transaction = database.transaction().unwrap();
    for (kind, hash) in KINDS {
        for number in 0..accounts {
            let Some(hash) = hash else { break };
            let sql = "INSERT INTO logins
                           (username, name_key, password_hash, role, state, registration, claimed_at, development)
                       VALUES (?1, ?1, ?2, 'user', 'active', ?1, 0, 0)";
            transaction.execute(sql, [name(kind, number).as_str(), hash]).unwrap();
        }
    }
    transaction.commit().unwrap();
    drop(database);
    shop.start_again().await;
    shop
}

/// A username. All have the same length.
fn name(kind: &str, number: usize) -> String {
    format!("{kind:-<8}-{number:06}")
}

/// Tries a wrong password on one account of each kind per round, in a different order each round. The first rounds warm up.
async fn refused(client: &Client, samples: usize) -> Vec<Samples> {
    let mut all: Vec<Samples> = KINDS.iter().map(|(kind, _)| Samples { kind, took: Vec::new() }).collect();
    for round in 0..samples + BURST {
        for turn in 0..all.len() {
            // Within four rounds, every kind comes before and after every other one.
            let place = if round % 8 < 4 { turn + round } else { round + all.len() - turn } % all.len();
            let took = log_in(client, &name(all[place].kind, round), 401).await;
            if round >= BURST {
                all[place].took.push(took);
            }
        }
        if round % 50 == 49 {
            eprintln!("{} of {} rounds", round + 1, samples + BURST);
        }
    }
    all
}

/// Measures a known and an unknown account while both are throttled.
async fn throttled(client: &Client, number: usize, samples: usize) -> Vec<Samples> {
    let kinds = [("throttled unknown", name("unknown", number)), ("throttled argon2id", name("argon2id", number))];
    let mut all = kinds.each_ref().map(|(kind, _)| Samples { kind, took: Vec::new() });
    for (_, name) in &kinds {
        // All at once, because the throttle lasts only a minute.
        join_all((0..BURST).map(|_| client.post("/auth/login", json!({ "username": name, "password": "wrong" }))))
            .await;
    }
    for round in 0..samples {
        for turn in 0..all.len() {
            let place = (turn + round) % all.len();
            let took = log_in(client, &kinds[place].1, 429).await;
            all[place].took.push(took);
        }
    }
    all.into()
}

/// Tries a wrong password. Returns how long the answer took.
async fn log_in(client: &Client, username: &str, status: u16) -> Duration {
    let started = Instant::now();
    let answer = client.post("/auth/login", json!({ "username": username, "password": "not the password" })).await;
    let took = started.elapsed();
    assert_eq!(answer.status, status, "{}", answer.text);
    took
}

impl Samples {
    fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        sorted[((sorted.len() - 1) as f64 * part) as usize].as_secs_f64() * 1000.0
    }
}

/// The part of all pairs in which the first is slower. A tie counts half.
fn auc(one: &[Duration], other: &[Duration]) -> f64 {
    let points = |a: &Duration, b: &Duration| match a.cmp(b) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    let won: f64 = one.iter().flat_map(|a| other.iter().map(move |b| points(a, b))).sum();
    won / (one.len() * other.len()) as f64
}
