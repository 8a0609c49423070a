//! `just timing-lab`: whether the time of a refused login tells who has an account (AU-12).
//!
//! A name that nobody has, and accounts with a hash of each kind, are given a wrong password in turns, each account once. Then
//! an account and a name that nobody has are asked while both are throttled: that answer is another one, so it is compared
//! with its like alone. What is compared is the AUC of two kinds: how often the one was slower than the other, of all pairs
//! of their samples. At 0.5 the time says nothing.
//!
//! Chance alone moves the AUC of n samples each by about `1 / sqrt(6 n)`, 0.024 for 300, so about one run in seven shows a
//! pair beyond the bound where there is nothing to see; with 1,000 samples none of two hundred did. A machine that does
//! something else meanwhile adds as much to all kinds, since they come in turns, and so hides a difference rather than
//! making one: run it on an idle machine.

#![allow(clippy::unwrap_used, missing_docs, reason = "a laboratory may panic")]

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::json;
use testing::{Client, Shop, shop_manifest};

/// How far from 0.5 an AUC may be.
const BOUND: f64 = 0.05;

/// Attempts after which an account, known or not, is refused without a look at the password.
const BURST: usize = 10;

/// How much more often a throttled account is asked: that takes a thousandth of the time.
const THROTTLED: usize = 10;

/// The kinds of account, and their hashes of "admin" or of werkzeug's "correct horse battery staple".
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

/// The times of one kind.
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

/// Whether no kind can be told from another.
async fn run(samples: usize) -> bool {
    let mut shop = open(samples + BURST).await;
    let refused = refused(&shop.anon(), samples).await;
    let throttled = throttled(&shop.anon(), samples, samples * THROTTLED).await;
    shop.stop().await;
    println!(
        "{samples} samples of each kind, {THROTTLED} times as many throttled; chance moves an AUC by {:.3}",
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
                let verdict = if is_within { "" } else { "  beyond 0.05 of 0.5" };
                println!("{:<36}{auc:>12.3}{verdict}", format!("{} / {}", one.kind, other.kind));
            }
        }
    }
    sound
}

/// The shop with so many accounts of each kind, as a migration of the original's database would leave them.
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

/// Names of one length, whatever the kind.
fn name(kind: &str, number: usize) -> String {
    format!("{kind:-<8}-{number:06}")
}

/// A wrong password for one account of each kind after the other, the first of a round another one each time. The first
/// rounds warm up.
async fn refused(client: &Client, samples: usize) -> Vec<Samples> {
    let mut all: Vec<Samples> = KINDS.iter().map(|(kind, _)| Samples { kind, took: Vec::new() }).collect();
    for round in 0..samples + BURST {
        for turn in 0..all.len() {
            // Over four rounds every kind has come after every other.
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

/// The same for the accounts of one number, both throttled.
async fn throttled(client: &Client, number: usize, samples: usize) -> Vec<Samples> {
    let kinds = [("throttled unknown", name("unknown", number)), ("throttled argon2id", name("argon2id", number))];
    let mut all = kinds.each_ref().map(|(kind, _)| Samples { kind, took: Vec::new() });
    for (_, name) in &kinds {
        // All at once, for the account is refused only for a minute.
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

/// Of all pairs, the part in which the first is slower; a tie counts half.
fn auc(one: &[Duration], other: &[Duration]) -> f64 {
    let points = |a: &Duration, b: &Duration| match a.cmp(b) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    let won: f64 = one.iter().flat_map(|a| other.iter().map(move |b| points(a, b))).sum();
    won / (one.len() * other.len()) as f64
}
