//! Revisions that pass the probes and then go wrong: taken back by the host. And those that only seem to.

use serde_json::Value;

use super::load::Load;
use super::{Stand, manifest, refuses, variant};

/// A watch that is longer than any test, and little time to compute for those that loop.
fn long_watch() -> comptoir::manifest::Manifest {
    manifest("watch = \"10m\"", "cpu = \"200ms\", memory = \"16 MiB\"")
}

/// Requests that the old revision answers before it is compared with.
const BEFORE: u64 = 200;

fn is_revert(history: &[Value]) -> bool {
    history[0]["action"] == "revert" && history[0]["result"] == "active"
}

/// Waits until the host took a revision back, and gives the history.
async fn taken_back(stand: &Stand) -> Vec<Value> {
    let history = stand.until(is_revert).await;
    // The disk knows of it a moment before the requests do.
    while stand.active().await != history[0]["to"] {
        tokio::task::yield_now().await;
    }
    history
}

/// Deploys a revision that goes wrong under load, and asserts that it is taken back, for this reason and for good.
async fn is_taken_back(words: &str, reason: &str) {
    let mut stand = Stand::with(long_watch()).await;
    let old = stand.active().await;
    let load = Load::begin(stand.shop.addresses().gateway, 4, || None);
    load.run(BEFORE).await;
    let bad = stand.deployed(words).await;
    let history = taken_back(&stand).await;
    load.run(20).await;
    load.end().await;
    stand.serves(&old).await;

    let [revert, deploy, ..] = &history[..] else { panic!("two lines: {history:#?}") };
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
async fn a_revision_that_fails_three_requests_of_ten_is_taken_back() {
    is_taken_back("fails-some", "requests, the previous revision 0 of").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_fails_only_post_is_taken_back() {
    is_taken_back("fails-post", "POST /variant/items failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_answers_404_to_everything_is_taken_back() {
    is_taken_back("finds-nothing", "/variant/items answered 404 to all of").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_traps_is_taken_back() {
    is_taken_back("traps", "/variant/items failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_is_many_times_slower_is_taken_back() {
    is_taken_back("slow", "ms, the previous revision took").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_takes_all_the_memory_it_may_have_is_taken_back() {
    is_taken_back("leaks", "/variant/items failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_loops_is_taken_back() {
    is_taken_back("loops", "/variant/items failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_is_wrong_only_when_two_requests_meet_is_taken_back() {
    is_taken_back("collides", "POST /variant/items failed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revert_that_the_disk_does_not_take_is_tried_again_until_it_does() {
    let stand = Stand::with(long_watch()).await;
    let old = stand.active().await;
    let bad = stand.deployed("fails-post").await;
    let record = rusqlite::Connection::open(stand.shop.data.path().join("deploys.db")).unwrap();
    record.busy_timeout(super::PATIENCE).unwrap();
    // As a full disk would: every line of a revert fails, and this counts how many were tried.
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
    let history = taken_back(&stand).await;
    assert_eq!([&history[0]["from"], &history[0]["to"], &history[1]["result"]], [&bad, &old, "reverted"]);
    stand.serves(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_end_the_watch() {
    let mut stand = Stand::with(long_watch()).await;
    let old = stand.active().await;
    let bad = stand.deployed("fails-post").await;
    stand.shop.restart().await;
    stand.serves(&bad).await;
    let load = Load::begin(stand.shop.addresses().gateway, 2, || None);
    let history = taken_back(&stand).await;
    load.end().await;
    assert_eq!([&history[0]["from"], &history[0]["to"], &history[1]["result"]], [&bad, &old, "reverted"]);
    stand.serves(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_goes_sour_while_nobody_asks_is_taken_back() {
    let stand = Stand::with(long_watch()).await;
    let old = stand.active().await;
    let bad = stand.deployed("sours").await;
    stand.add("sour").await.succeeds(201);
    let history = taken_back(&stand).await;
    assert_eq!([&history[0]["from"], &history[0]["to"]], [&bad, &old]);
    let why = history[1]["detail"].as_str().unwrap();
    assert!(why.contains("the probe GET /health was answered with 500"), "{why}");
    stand.serves(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_was_taken_back_and_is_forced_is_judged_by_what_it_does_now() {
    let stand = Stand::with(manifest("watch = \"1500ms\"", "")).await;
    let load = Load::begin(stand.shop.addresses().gateway, 2, || None);
    load.run(BEFORE).await;
    stand.deployed("traps").await;
    taken_back(&stand).await;
    load.end().await;
    // Nobody asks it anything that it fails now, and its code is the same as before, with the same counters.
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
async fn a_database_that_fails_is_not_the_fault_of_a_revision() {
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
    assert!(tally.failures.len() > 10, "writes failed all the time");
    assert_eq!([&history[0]["to"], &history[0]["result"]], [&new, "kept"], "{:#}", history[0]);
}
