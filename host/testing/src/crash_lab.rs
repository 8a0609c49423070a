//! Kills a serving host again and again, and checks after each restart that no acknowledged write is lost.
//!
//! With a [`Disk`], each kill is also a power cut: the disk loses what was not synced.
//!
//! Buyers note each write and each acknowledgement. After a restart every acknowledged write must be there exactly once and
//! unchanged. A write without an answer must be there completely or not at all. Stock is conserved, each login has its profile,
//! and SQLite's integrity check passes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::client::Client;
use crate::ledger::{Buyer, PRODUCTS, random};
use crate::lost_writes::Disk;
use crate::shop_process::{Serves, ShopProcess, data, log};

const BUYERS: usize = 6;

/// Units of each product: more than a laboratory can buy.
const STOCK: i64 = 100_000_000;

/// The most acknowledgements between two kills.
const WRITES: u64 = 120;

/// Every fourth cycle also kills a host while it starts.
const STARTS: usize = 4;

/// The most milliseconds from the start of such a host to its kill.
const START_MS: u64 = 150;

/// A shop that is killed again and again, and its buyers.
pub struct Lab {
    _own: Option<TempDir>,
    pub folder: PathBuf,
    pub process: ShopProcess,
    buyers: Vec<Buyer>,
    pub tally: Tally,
    /// Loses unsynced writes whenever the host is killed. None: only the process dies, and the kernel keeps its writes.
    pub disk: Option<Disk>,
}

/// The results.
#[derive(Debug, Default)]
pub struct Tally {
    pub kills: usize,
    pub kills_at_start: usize,
    /// Unsynced changes of files and folders, which a power cut may undo.
    pub unsynced: usize,
    /// For each start, the time until the host served.
    pub ready: Vec<Duration>,
    /// The number of writes that were answered with an error.
    pub refused: usize,
    /// Violations: lost, doubled, partial or damaged data. Empty if all is well.
    pub findings: Vec<String>,
}

/// Starts a host and waits until it serves.
pub async fn start(folder: &Path, disk: Option<&Disk>) -> (ShopProcess, Serves) {
    let mut process = ShopProcess::spawn_with(folder, disk.map(Disk::environment).unwrap_or_default());
    match process.serves().await {
        Some(serves) => (process, serves),
        None => panic!("the host does not start: {}", std::fs::read_to_string(log(folder)).unwrap_or_default()),
    }
}

impl Lab {
    /// A shop in a new temporary folder.
    pub async fn open() -> Self {
        let own = tempfile::tempdir().unwrap();
        let folder = own.path().to_owned();
        Self { _own: Some(own), ..Self::open_in(&folder, None).await }
    }

    /// The same on a disk that loses unsynced writes. None if the system cannot simulate one.
    pub async fn open_on_disk(seed: u64) -> Option<Self> {
        let own = tempfile::tempdir().unwrap();
        let folder = own.path().to_owned();
        let disk = Disk::below(&folder, seed)?;
        Some(Self { _own: Some(own), ..Self::open_in(&folder, Some(disk)).await })
    }

    /// A shop in this folder.
    pub async fn open_in(folder: &Path, mut disk: Option<Disk>) -> Self {
        let mut tally = Tally::default();
        let (mut process, _) = start(folder, disk.as_ref()).await;
        process.kill().await;
        tally.unsynced += disk.as_mut().map_or(0, Disk::cut);
        let orders = Connection::open(data(folder).join("orders.db")).unwrap();
        orders.execute("UPDATE products SET stock = ?1", [STOCK]).unwrap();
        drop(orders);
        let (process, Serves { gateway, took, .. }) = start(folder, disk.as_ref()).await;
        tally.ready.push(took);
        let anon = Client::new(&gateway);
        let admin = anon.log_in("admin", "admin").await;
        let mut buyers = Vec::new();
        for number in 0..BUYERS {
            buyers.push(Buyer::new(&format!("buyer{number}"), &anon, &admin).await);
        }
        Self { _own: None, folder: folder.to_owned(), process, buyers, tally, disk }
    }

    /// Kills the host at a random moment, also amid a write, starts it again, and checks.
    pub async fn kill_once(mut self) -> Self {
        let (count, buyers) = self.work(usize::MAX);
        let moment = 1 + random(WRITES);
        count.subscribe().wait_for(|count| *count >= moment).await.unwrap();
        self.process.kill().await;
        self.cut();
        self.tally.kills += 1;
        self.take_back(buyers.await.unwrap());
        if self.tally.kills.is_multiple_of(STARTS) {
            let environment = self.disk.as_ref().map(Disk::environment);
            let mut starting = ShopProcess::spawn_with(&self.folder, environment.unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(random(START_MS))).await;
            starting.kill().await;
            self.cut();
            self.tally.kills_at_start += 1;
        }
        let refused = self.take_refused();
        self.tally.findings.extend(refused);
        self.start_again().await
    }

    /// Cuts the disk's power if there is a disk. The host must not run.
    fn cut(&mut self) {
        self.tally.unsynced += self.disk.as_mut().map_or(0, Disk::cut);
    }

    /// Starts the host after a kill, and checks.
    pub async fn start_again(mut self) -> Self {
        let (process, Serves { gateway, took, .. }) = start(&self.folder, self.disk.as_ref()).await;
        self.tally.ready.push(took);
        self.process = process;
        self.buyers = self.buyers.into_iter().map(|buyer| buyer.moved_to(&gateway)).collect();
        self.check().await;
        self
    }

    /// Lets all buyers write in tasks of their own, each until a write is not acknowledged, at most `most` times.
    ///
    /// Returns the number of acknowledgements so far, which keeps growing, and a handle. When all buyers are done, the handle
    /// returns them.
    pub fn work(&mut self, most: usize) -> (Arc<watch::Sender<u64>>, tokio::task::JoinHandle<Vec<Buyer>>) {
        let count = Arc::new(watch::Sender::new(0));
        let working = std::mem::take(&mut self.buyers).into_iter().map(|buyer| buyer.work(most, count.clone()));
        (count.clone(), tokio::spawn(futures::future::join_all(working)))
    }

    /// Puts the buyers back after their tasks ended.
    pub fn take_back(&mut self, buyers: Vec<Buyer>) {
        self.buyers = buyers;
    }

    /// The writes refused since the last call.
    pub fn take_refused(&mut self) -> Vec<String> {
        let refused: Vec<String> = self.buyers.iter_mut().flat_map(|buyer| buyer.refused.drain(..)).collect();
        self.tally.refused += refused.len();
        refused
    }

    /// Adds every violation to the findings. Never panics because of one.
    pub async fn check(&mut self) {
        for buyer in &mut self.buyers {
            buyer.check(&mut self.tally.findings).await;
        }
        check_files(&data(&self.folder), &mut self.tally.findings);
    }

    /// The number of acknowledgements by kind of write.
    pub fn acknowledged(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for (word, count) in self.buyers.iter().flat_map(|buyer| &buyer.acknowledged) {
            *all.entry(*word).or_default() += count;
        }
        all
    }
}

/// Checks the SQLite files and the rows while the host serves.
fn check_files(data: &Path, findings: &mut Vec<String>) {
    for name in ["auth", "user", "orders", "sessions", "deploys"] {
        let database = Connection::open(data.join(format!("{name}.db"))).unwrap();
        let found: String = database.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).unwrap();
        if found != "ok" {
            findings.push(format!("{name}.db is damaged: {found}"));
        }
        if database.prepare("PRAGMA foreign_key_check").unwrap().exists([]).unwrap() {
            findings.push(format!("{name}.db has a row that violates a foreign key"));
        }
    }
    let orders = Connection::open(data.join("orders.db")).unwrap();
    let held =
        "SELECT p.stock + coalesce((SELECT sum(i.quantity) FROM order_items AS i JOIN orders AS o ON o.id = i.order_id
                WHERE i.product_id = p.id AND o.status <> 'cancelled'), 0) FROM products AS p WHERE p.id = ?1";
    for product in 1..=PRODUCTS {
        let units: i64 = orders.query_row(held, [product], |row| row.get(0)).unwrap();
        if units != STOCK {
            findings.push(format!("product {product}: stock and orders have {} units too many", units - STOCK));
        }
    }
    let half = "SELECT o.id FROM orders AS o LEFT JOIN order_items AS i ON i.order_id = o.id
                GROUP BY o.id HAVING o.total_cents <> coalesce(sum(i.quantity * i.price_cents), -1)";
    if orders.prepare(half).unwrap().exists([]).unwrap() {
        findings.push("the total of an order is not the sum of its items".to_owned());
    }
    let auth = Connection::open(data.join("auth.db")).unwrap();
    auth.execute("ATTACH ?1 AS profiles", [data.join("user.db").to_str().unwrap()]).unwrap();
    for (sql, what) in [
        (
            "SELECT username FROM logins WHERE state = 'active' EXCEPT SELECT username FROM profiles",
            "login without a profile",
        ),
        ("SELECT username FROM profiles EXCEPT SELECT username FROM logins", "profile without a login or a claim"),
    ] {
        let name = auth.prepare(sql).unwrap().query_map([], |row| row.get::<_, String>(0)).unwrap().next();
        findings.extend(name.map(|name| format!("{} is a {what}", name.unwrap())));
    }
}
