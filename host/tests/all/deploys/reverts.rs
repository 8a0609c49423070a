//! Automatic rollbacks: revisions that pass the probes and then fail. And good ones that only look bad.

use serde_json::Value;

use super::load::Load;
use super::{Stand, manifest, refuses, variant};

/// A watch window longer than any test, and a short CPU limit for revisions that loop.
fn long_watch() -> comptoir::manifest::Manifest {
    manifest("watch = \"10m\"", "cpu = \"200ms\", memory = \"16 MiB\"")
}

/// Requests that the old revision answers first, to have a baseline.
const BEFORE: u64 = 200;

fn is_revert(history: &[Value]) -> bool {
    history[0]["action"] == "revert" && history[0]["result"] == "active"
}

/// Waits until the host reverted a revision, and returns the history.
async fn reverted(stand: &Stand) -> Vec<Value> {
    let history = stand.until(is_revert).await;
    // The history has the line a moment before the pointer moves.
    while stand.active().await != history[0]["to"] {
        tokio::task::yield_now().await;
    }
    history
}

/// Deploys a revision that fails under load, and asserts that it is reverted permanently for this reason.
async fn is_reverted(words: &str, reason: &str) {
    let mut stand = Stand::with(long_watch()).await;
    let old = stand.active().await;
    let load = Load::begin(stand.shop.addresses().gateway, 4, || None);
    load.run(BEFORE).await;
    let bad = stand.deployed(words).await;
    let history = reverted(&stand).await;
    load.run(20).await;
    load.end().await;
    stand.serves(&old).await;

    let [revert, deploy, ..] = &history[..] else { panic!("the history has fewer than two lines: {history:#?}") };
    assert_eq!([&revert["from"], &revert["to"], &revert["by"], &revert["result"]], [&bad, &old, "host", "active"]);
    assert_eq!([&deploy["to"], &deploy["by"], &deploy["result"]], [&bad, "operator", "reverted"]);
    assert_eq!(revert["reason"], deploy["detail"]);
    assert!(deploy["detail"].as_str().unwrap().contains(reason), "{deploy:#}");

    refuses(
        &stand.deploy(words).await,
        422,
        "DEPLOY_REFUSED",
        "verified",
        "the host has already reverted this component",
    );
    stand.roll_back("").await.refuses(409, "NOTHING_BEFORE");
    refuses(
        &stand.roll_back(&format!("?to={bad}")).await,
        422,
        "DEPLOY_REFUSED",
        "verified",
        "has already reverted this component",
    );
    stand.shop.restart().await;
    refuses(
        &stand.deploy(words).await,
        422,
        "DEPLOY_REFUSED",
        "verified",
        "the host has already reverted this component",
    );
    stand.serves(&old).await;
    stand.send("?force=true", variant(words)).await.succeeds(200);
    assert_eq!(stand.active().await, bad);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_fails_three_of_ten_requests_is_reverted() {
    is_reverted("fails-some", "requests, the previous revision 0 of").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_fails_only_post_is_reverted() {
    is_reverted("fails-post", "POST /variant/items failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_answers_404_to_everything_is_reverted() {
    is_reverted("finds-nothing", "/variant/items answered 404 to all of").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_traps_is_reverted() {
    is_reverted("traps", "/variant/items failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_is_many_times_slower_is_reverted() {
    is_reverted("slow", "ms, the previous revision took").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_uses_all_its_memory_is_reverted() {
    is_reverted("leaks", "/variant/items failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_loops_is_reverted() {
    is_reverted("loops", "/variant/items failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_fails_only_concurrent_requests_is_reverted() {
    is_reverted("collides", "POST /variant/items failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revert_that_cannot_be_recorded_is_retried() {
    let stand = Stand::with(long_watch()).await;
    let old = stand.active().await;
    let bad = stand.deployed("fails-post").await;
    let record = rusqlite::Connection::open(stand.shop.data.path().join("deploys.db")).unwrap();
    record.busy_timeout(super::PATIENCE).unwrap();
    // Simulates a full disk: writing the line of a revert fails, and the attempts are counted.
    let full = "CREATE TABLE tried (at INTEGER);
        CREATE TRIGGER full BEFORE INSERT ON history WHEN NEW.action = 'revert'
        BEGIN INSERT INTO tried VALUES (1); SELECT RAISE(FAIL, 'database or disk is full'); END;";
    record.execute_batch(full).unwrap();
    let tried = || record.query_row("SELECT count(*) FROM tried", [], |row| row.get::<_, u32>(0)).unwrap();
    while tried() == 0 {
        stand.add("one").await;
    }
    stand.serves(&bad).await;
    record.execute_batch("DROP TRIGGER full; DROP TABLE tried").unwrap();
    let history = reverted(&stand).await;
    assert_eq!([&history[0]["from"], &history[0]["to"], &history[1]["result"]], [&bad, &old, "reverted"]);
    stand.serves(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_end_the_watch_window() {
    let mut stand = Stand::with(long_watch()).await;
    let old = stand.active().await;
    let bad = stand.deployed("fails-post").await;
    stand.shop.restart().await;
    stand.serves(&bad).await;
    let load = Load::begin(stand.shop.addresses().gateway, 2, || None);
    let history = reverted(&stand).await;
    load.end().await;
    assert_eq!([&history[0]["from"], &history[0]["to"], &history[1]["result"]], [&bad, &old, "reverted"]);
    stand.serves(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_fails_without_traffic_is_reverted() {
    let stand = Stand::with(long_watch()).await;
    let old = stand.active().await;
    let bad = stand.deployed("sours").await;
    stand.add("sour").await.succeeds(201);
    let history = reverted(&stand).await;
    assert_eq!([&history[0]["from"], &history[0]["to"]], [&bad, &old]);
    let why = history[1]["detail"].as_str().unwrap();
    assert!(why.contains("the probe GET /health was answered with 500"), "{why}");
    stand.serves(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_revision_is_judged_by_its_new_requests_only() {
    let stand = Stand::with(manifest("watch = \"1500ms\"", "")).await;
    let load = Load::begin(stand.shop.addresses().gateway, 2, || None);
    load.run(BEFORE).await;
    stand.deployed("traps").await;
    reverted(&stand).await;
    load.end().await;
    // No request fails now. The code is the same as before and shares its counters.
    stand.send("?force=true", variant("traps")).await.succeeds(200);
    stand.until(|history| history[0]["result"] == "kept").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_revision_is_kept() {
    let stand = Stand::with(manifest("watch = \"1500ms\"", "")).await;
    let load = Load::reading(stand.shop.addresses().gateway, 2);
    load.run(BEFORE).await;
    let new = stand.deployed("good-2").await;
    let history = stand.until(|history| history[0]["result"] != "active").await;
    load.end().await.lost_nothing();
    assert_eq!([&history[0]["to"], &history[0]["result"]], [&new, "kept"], "{:#}", history[0]);
    stand.serves(&new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_database_does_not_count_against_a_revision() {
    let stand = Stand::with(manifest("watch = \"1500ms\"", "database = \"32 KiB\"")).await;
    while stand.add(&"x".repeat(500)).await.status == 201 {}
    let load = Load::begin(stand.shop.addresses().gateway, 2, || None);
    let new = stand.deployed("good-2").await;
    let history = stand.until(|history| history[0]["result"] != "active").await;
    let tally = load.end().await;
    assert!(
        tally.failures.iter().all(|failure| failure.starts_with("POST was answered with 503")),
        "{:?}",
        tally.failures
    );
    assert!(tally.failures.len() > 10, "writes failed during the whole watch");
    assert_eq!([&history[0]["to"], &history[0]["result"]], [&new, "kept"], "{:#}", history[0]);
}
