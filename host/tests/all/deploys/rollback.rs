//! Rollbacks: at once, by digest, without the disk, and across migrations.

use serde_json::json;

use super::{Stand, digest, variant};

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_activates_the_previous_revision_and_survives_a_restart() {
    let mut stand = Stand::open().await;
    let old = stand.active().await;
    let new = stand.deployed("good-2").await;
    let answer = stand.roll_back("?reason=a+feeling").await;
    let report = answer.succeeds(200);
    assert_eq!([&report["from"], &report["to"]], [&new, &old]);
    stand.serves(&old).await;
    let line = &stand.history().await[0];
    assert_eq!([&line["action"], &line["result"], &line["reason"]], ["rollback", "active", "a feeling"]);
    stand.shop.restart().await;
    stand.serves(&old).await;
    stand.roll_back(&format!("?to={new}")).await.succeeds(200);
    stand.serves(&new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_rollback_never_goes_forward_unless_its_target_is_named() {
    let mut stand = Stand::open().await;
    let first = stand.active().await;
    let second = stand.deployed("good-2").await;
    stand.roll_back("").await.succeeds(200);
    for _ in 0..2 {
        let refused = stand.roll_back("").await;
        refused.refuses(409, "TARGET_NEEDED");
        let message = refused.body["error"]["message"].as_str().unwrap();
        assert!(message.contains(&second) && message.contains("--to"), "{message}");
        stand.serves(&first).await;
        stand.shop.restart().await;
    }
    // After another activation it is a rollback target again.
    stand.roll_back(&format!("?to={second}")).await.succeeds(200);
    stand.deployed("good-3").await;
    assert_eq!(stand.roll_back("").await.succeeds(200)["to"], second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_needs_neither_the_stored_components_nor_the_compiler() {
    let mut stand = Stand::open().await;
    let old = stand.active().await;
    stand.deployed("good-2").await;
    let stored = stand.shop.data.path().join("revisions");
    std::fs::remove_dir_all(&stored).unwrap();
    let answer = stand.roll_back("").await;
    let steps = answer.succeeds(200)["steps"].as_array().unwrap();
    assert_eq!(steps.iter().map(|step| &step["step"]).collect::<Vec<_>>(), ["active"]);
    stand.serves(&old).await;
    stand.shop.restart().await;
    stand.serves(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_may_name_its_target() {
    let stand = Stand::open().await;
    let first = stand.active().await;
    let second = stand.deployed("good-2").await;
    let third = stand.deployed("good-3").await;
    stand.roll_back(&format!("?to={}", &first[..8])).await.succeeds(200);
    stand.serves(&first).await;
    stand.roll_back(&format!("?to={third}")).await.succeeds(200);
    stand.serves(&third).await;
    for wrong in [&third, &second[..7], "0123456789abcdef"] {
        stand.roll_back(&format!("?to={wrong}")).await.refuses(409, "NOTHING_BEFORE");
    }
    stand.serves(&third).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_previous_revision_a_rollback_is_refused() {
    let stand = Stand::open().await;
    stand.deploy("health-500").await.refuses(422, "DEPLOY_REFUSED");
    stand.roll_back("").await.refuses(409, "NOTHING_BEFORE");
    let refused = digest(&variant("health-500"));
    stand.roll_back(&format!("?to={refused}")).await.refuses(409, "NOTHING_BEFORE");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_loads_a_revision_from_the_disk_if_it_is_no_longer_in_memory() {
    let stand = Stand::with(super::manifest("keep = 1", "")).await;
    let first = stand.active().await;
    for words in ["good-2", "good-3"] {
        stand.deployed(words).await;
    }
    let kept = stand.status().await["kept"].clone();
    assert!(!kept.as_array().unwrap().contains(&json!(first)), "{kept}");
    stand.roll_back(&format!("?to={first}")).await.succeeds(200);
    stand.serves(&first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_previous_revision_can_serve_after_an_additive_migration() {
    let mut stand = Stand::open().await;
    let old = stand.active().await;
    let new = stand.deployed("additive").await;
    assert_eq!(stand.status().await["schema"], 2);
    stand.roll_back("").await.succeeds(200);
    stand.serves(&old).await;
    stand.add("after").await.succeeds(201);
    stand.shop.restart().await;
    stand.serves(&old).await;
    let another = stand.deployed("good-2").await;
    stand.serves(&another).await;
    stand.roll_back(&format!("?to={new}")).await.succeeds(200);
    stand.serves(&new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_migration_does_not_prevent_a_rollback() {
    let mut stand = Stand::open().await;
    let old = stand.active().await;
    stand.deploy("failing").await.refuses(422, "DEPLOY_REFUSED");
    stand.shop.restart().await;
    stand.serves(&old).await;
    stand.deployed("additive").await;
    stand.roll_back("").await.succeeds(200);
    stand.serves(&old).await;
}
