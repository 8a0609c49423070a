//! The watch after a reload.

use serde_json::json;

use super::{PATIENCE, manifest, newest, status};
use testing::Shop;

fn relay(keys: &str) -> String {
    format!(
        "[services.relay]\ncomponent = \"guest_relay_p2.wasm\"\nmounts = [\"/relay\"]\npublic = [\"/relay\"]\n{keys}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_makes_a_service_worse_is_reverted_with_its_table() {
    let good = relay("calls = [\"relay\"]");
    let of = |service: &str| {
        let mut manifest = manifest(&[service.to_owned(), "[services.relay.limits]\nmemory = \"16 MiB\"\n".to_owned()]);
        manifest.deploy.watch = std::time::Duration::from_secs(600);
        manifest.listeners.requests_each = manifest.listeners.requests;
        manifest
    };
    let mut shop = Shop::with(of(&good)).await;
    for _ in 0..40 {
        assert_eq!(status(&shop, "/relay/finish").await, 200);
    }
    shop.reload(of(&relay(""))).await.succeeds(200);
    let reverted = async {
        loop {
            status(&shop, "/relay/finish").await;
            let newest = newest(&shop, "relay").await;
            if newest["action"] == "revert" && newest["result"] == "active" {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, reverted).await.expect("the reload is reverted");
    let serves = async { while status(&shop, "/relay/finish").await != 200 {} };
    tokio::time::timeout(PATIENCE, serves).await.expect("the old table is active again");
    let history = shop.operator().get("/services/relay/history").await;
    assert_eq!([&history.succeeds(200)[1]["action"], &history.succeeds(200)[1]["result"]], ["reload", "reverted"]);
    let noted = async || shop.operator().get("/readyz").await.body["notes"]["relay"].as_str().map(str::to_owned);
    let noticed = async { while noted().await.is_none() {} };
    tokio::time::timeout(PATIENCE, noticed).await.expect("a note");
    let note = noted().await.unwrap();
    assert!(note.contains("correct [services.relay] and run `comptoir reload`"), "{note}");
    // The manifest still differs from the table that is active, so another reload tries it again.
    let checked = shop.check_reload(of(&relay(""))).await;
    assert_eq!(checked.succeeds(200)["changed"], json!({ "relay": ["calls"] }));
    let corrected = shop.reload(of(&good)).await;
    assert_eq!(corrected.succeeds(200)["changed"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_is_not_worse_is_kept() {
    let of = |keys: &str| {
        let mut manifest = manifest(&[relay(keys)]);
        manifest.deploy.watch = std::time::Duration::from_millis(1);
        manifest
    };
    let mut shop = Shop::with(of("")).await;
    shop.reload(of("calls = [\"relay\"]")).await.succeeds(200);
    let kept = async { while newest(&shop, "relay").await["result"] != "kept" {} };
    tokio::time::timeout(PATIENCE, kept).await.expect("the reload is kept");
}
