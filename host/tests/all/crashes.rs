//! A few cycles of the crash laboratory (`just crash-lab` runs many), and a clock that jumps.

use std::collections::BTreeSet;

use comptoir::backup;
use serde_json::json;
use testing::crash_lab::Lab;
use testing::shop_process::data;
use testing::{PASSWORD, Shop};

const CYCLES: usize = 4;

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_a_kill_exactly_once() {
    let mut lab = Lab::open().await;
    for _ in 0..CYCLES {
        lab = lab.kill_once().await;
    }
    assert_eq!(lab.tally.findings, [""; 0]);
    assert!(lab.acknowledged()["orders"] > 0, "{:?}", lab.acknowledged());
    assert_eq!((lab.tally.kills, lab.tally.kills_at_start), (CYCLES, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_laboratory_notices_lost_writes() {
    let mut lab = Lab::open().await;
    let data = data(&lab.folder);
    let older = backup::create(&data, &lab.folder.join("backups")).unwrap();
    lab = lab.kill_once().await;
    lab.process.kill().await;
    backup::restore(&older.path, &data, true).unwrap();
    lab = lab.start_again().await;
    // The restored backup lacks all writes that were acknowledged before the kill. Their kinds are random.
    assert!(!lab.tally.findings.is_empty(), "{:?}", lab.acknowledged());
}

/// Needs Linux: see `testing::lost_writes`.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_a_power_cut_unless_the_disk_lies() {
    let mut lab = Lab::open_on_disk(1).await.unwrap();
    for _ in 0..3 {
        lab = lab.kill_once().await;
    }
    assert_eq!(lab.tally.findings, [""; 0]);
    assert!(lab.tally.unsynced > 0, "a cut had nothing to undo");
    lab.disk.as_mut().unwrap().lies = true;
    // The first kill ends the host that started on the honest disk.
    lab = lab.kill_once().await.kill_once().await;
    assert!(!lab.tally.findings.is_empty(), "{:?}", lab.acknowledged());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_loses_no_write_and_revives_no_session() {
    const DAY_SECONDS: i64 = 24 * 3600;
    let mut shop = Shop::open().await;
    let ended = shop.user("nadia").await;
    ended.post("/auth/logout", json!({})).await.succeeds(200);
    let mut placed = BTreeSet::new();
    for jump in [0, -20 * 3600, 10 * DAY_SECONDS, -9 * DAY_SECONDS] {
        shop.clock.shift(jump);
        let buyer = shop.anon().log_in("nadia", PASSWORD).await;
        let order = buyer.post("/orders", json!({ "items": [{ "product_id": 4, "quantity": 1 }] })).await;
        placed.insert(order.succeeds(201)["id"].as_i64().unwrap());
        shop.restart().await;
        let buyer = buyer.at(&format!("http://{}", shop.addresses().gateway));
        let orders = buyer.get("/orders").await;
        let orders: BTreeSet<i64> =
            orders.succeeds(200).as_array().unwrap().iter().map(|order| order["id"].as_i64().unwrap()).collect();
        assert_eq!(orders, placed, "after {jump} seconds");
        let ended = ended.clone().at(&format!("http://{}", shop.addresses().gateway));
        ended.get("/orders").await.refuses(401, "INVALID_TOKEN");
    }
    assert_eq!(shop.anon().get("/products/4").await.succeeds(200)["stock"], 12 - 4);
}
