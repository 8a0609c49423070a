//! Tens of swaps under continuous load. Clients notice only the revision's name.

use std::sync::{Arc, Mutex};

use reqwest::Method;
use testing::send;

use super::load::{Load, Wire};
use super::{label, serve, variant};

/// The number of swaps between two revisions. Every fourth is a rollback.
const SWAPS: usize = 40;

/// Descriptors that may come and go for other reasons, such as closing connections and database readers.
const SLACK: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn swaps_under_load_lose_no_request_and_leak_no_descriptor() {
    let folder = tempfile::tempdir().unwrap();
    let process = serve(folder.path()).await;
    let operator = process.operator();
    for words in ["good-2", "good"] {
        operator.deploy(variant(words)).await.succeeds(200);
    }
    let expected: Arc<Mutex<Option<String>>> = Arc::default();
    let announced = expected.clone();
    let load = Load::begin(process.gateway, 6, move || announced.lock().unwrap().clone());
    load.run(200).await;
    let before = process.descriptors();
    for swap in 0..SWAPS {
        // A request that begins during the swap may get either revision.
        *expected.lock().unwrap() = None;
        let answer = if swap % 4 == 3 {
            send(operator.request(Method::POST, "/services/variant/rollback")).await
        } else {
            operator.deploy(variant(if swap % 2 == 0 { "good-2" } else { "good" })).await
        };
        let report = answer.succeeds(200);
        assert_eq!(report["changed"], true, "swap {swap}");
        *expected.lock().unwrap() = Some(label(report["to"].as_str().unwrap()));
        load.run(20).await;
    }
    let after = process.descriptors();
    load.end().await.lost_nothing();
    assert!(after <= before + SLACK, "the host had {before} file descriptors before the swaps and {after} after them");
    let mut wire = Wire::open(process.gateway).await.unwrap();
    assert_eq!(wire.send("GET", "/variant/items").await.unwrap().0, 200);
    process.kill().await;
}
