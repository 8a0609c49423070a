//! In any interleaving of reads and writes, an answer includes every write that was acknowledged before its request.

use std::sync::atomic::{AtomicI64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::json;
use testing::Client;

use super::{Counters as _, outcome, stand};

/// Limits that a busy machine does not reach: the clients wait for one writer, and each other's processor time.
const AMPLE: &str =
    r#"time = "10m", cpu = "10m", queue_time = "10m", statement_time = "10m", transaction_time = "10m""#;

/// The number of counters.
const COUNTERS: usize = 3;

/// One step of a client.
#[derive(Debug, Clone, Copy)]
enum Act {
    Read(usize),
    ReadAll,
    Write(usize),
    /// Writes a table that no answer reads.
    WriteOther,
    /// Writes two counters in a transaction and rolls it back.
    Undo,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..COUNTERS).prop_map(Act::Read),
        2 => Just(Act::ReadAll),
        3 => (0..COUNTERS).prop_map(Act::Write),
        1 => Just(Act::WriteOther),
        1 => Just(Act::Undo),
    ]
}

/// The values of the counters whose writes began, and those whose writes were acknowledged.
#[derive(Default)]
struct Counters {
    begun: [AtomicI64; COUNTERS],
    acknowledged: [AtomicI64; COUNTERS],
    /// Locked while a counter is written. So a counter only grows, and the greater of two values is the newer.
    writing: [tokio::sync::Mutex<()>; COUNTERS],
    hits: AtomicI64,
}

impl Counters {
    async fn act(&self, client: &Client, act: Act) {
        match act {
            Act::Read(counter) => {
                let at_least = self.acknowledged[counter].load(Ordering::SeqCst);
                let answer = client.get(&format!("/answers/counters/{}", counter + 1)).await;
                self.hits.fetch_add((outcome(&answer) == "hit").into(), Ordering::Relaxed);
                self.check(counter, at_least, answer.succeeds(200).as_i64().unwrap());
            }
            Act::ReadAll => {
                let at_least: Vec<i64> = self.acknowledged.iter().map(|n| n.load(Ordering::SeqCst)).collect();
                let answer = client.get("/answers/counters").await;
                for (counter, at_least) in at_least.into_iter().enumerate() {
                    self.check(counter, at_least, answer.succeeds(200)[counter].as_i64().unwrap());
                }
            }
            Act::Write(counter) => {
                let _writing = self.writing[counter].lock().await;
                let n = self.begun[counter].fetch_add(1, Ordering::SeqCst) + 1;
                client.sets(counter as u32 + 1, n).await;
                self.acknowledged[counter].store(n, Ordering::SeqCst);
            }
            Act::WriteOther => drop(client.post("/answers/others", json!({})).await.succeeds(200)),
            Act::Undo => drop(client.post("/answers/counters/move", json!({ "keeps": false })).await.succeeds(200)),
        }
    }

    fn check(&self, counter: usize, at_least: i64, seen: i64) {
        assert!(seen >= at_least, "counter {counter} was {seen} after {at_least} was acknowledged");
        let at_most = self.begun[counter].load(Ordering::SeqCst);
        assert!(seen <= at_most, "counter {counter} was {seen}, but no write of more than {at_most} began");
    }
}

#[test]
fn no_answer_is_older_than_the_last_acknowledged_write() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let shop = runtime.block_on(stand(AMPLE));
    let counters = Counters::default();
    let clients: Vec<Client> = (0..4).map(|_| shop.anon()).collect();
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let acts = prop::collection::vec(prop::collection::vec(act(), 1..24), clients.len());
    let held = runner.run(&acts, |acts| {
        let counters = &counters;
        let clients = clients.iter().zip(acts).map(|(client, acts)| async move {
            for act in acts {
                counters.act(client, act).await;
            }
        });
        runtime.block_on(futures::future::join_all(clients));
        Ok(())
    });
    held.unwrap();
    assert!(counters.hits.load(Ordering::Relaxed) > 0, "no answer came from the cache");
    runtime.block_on(async move { drop(shop) });
}
