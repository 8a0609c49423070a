//! What a reload changes about services.

use serde_json::json;

use super::{manifest, newest, plain, status, variant};
use testing::{AMPLE, Shop};

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_adds_removes_and_changes_services_and_a_restart_serves_the_same() {
    let mut shop = Shop::with(manifest(&[plain("one", ""), plain("two", "")])).await;
    let kept = shop.operator().get("/services/one").await.succeeds(200)["revision"].clone();
    let changed = plain("two", "").replace("[\"/two\"]", "[\"/second\"]");
    let reloaded = shop.reload(manifest(&[plain("three", ""), changed.clone()])).await;
    let report = reloaded.succeeds(200);
    assert_eq!(
        [&report["applied"], &report["added"], &report["removed"], &report["changed"], &report["keys"]],
        [&json!(true), &json!(["three"]), &json!(["one"]), &json!({ "two": ["mounts"] }), &json!([])]
    );
    let services: Vec<_> = report["revisions"].as_array().unwrap().iter().map(|one| &one["service"]).collect();
    assert_eq!(services, ["three", "two"]);
    for restart in [false, true] {
        if restart {
            shop.restart().await;
        }
        let statuses = ["/one", "/two", "/second", "/three"].map(|path| status(&shop, path));
        assert_eq!(futures::future::join_all(statuses).await, [404, 404, 200, 200], "{restart}");
    }
    shop.operator().get("/services/one").await.refuses(404, "UNKNOWN_SERVICE");
    // A service that comes back has its last active revision.
    shop.reload(manifest(&[plain("one", ""), changed])).await.succeeds(200);
    assert_eq!(shop.operator().get("/services/one").await.succeeds(200)["revision"], kept);
    assert_eq!(status(&shop, "/one").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_without_changes_makes_no_revision() {
    let mut shop = Shop::with(manifest(&[plain("one", "")])).await;
    let reloaded = shop.reload(manifest(&[plain("one", "")])).await;
    assert_eq!(reloaded.succeeds(200)["revisions"], json!([]));
    assert_eq!(newest(&shop, "one").await["action"], "start");
}

#[tokio::test(flavor = "multi_thread")]
async fn access_and_limits_hold_from_the_next_request() {
    let mut shop = Shop::with(manifest(&[variant(""), plain("one", "")])).await;
    let post = async |shop: &Shop| shop.anon().post("/variant/items", json!({ "name": "x".repeat(2000) })).await.status;
    assert_eq!((post(&shop).await.as_u16(), status(&shop, "/one").await), (201, 200));
    let private = plain("one", "").replace("\"public\"", "\"user\"");
    shop.reload(manifest(&[variant("limits = { body = \"1 KiB\" }"), private])).await.succeeds(200);
    assert_eq!((post(&shop).await.as_u16(), status(&shop, "/one").await), (413, 401));
    let line = newest(&shop, "variant").await;
    assert_eq!([&line["action"], &line["by"], &line["from"]], ["reload", "operator", line["to"].as_str().unwrap()]);
    // Without its own key, the service has the limit of all services again.
    shop.reload(manifest(&[variant(""), plain("one", "")])).await.succeeds(200);
    assert_eq!((post(&shop).await.as_u16(), status(&shop, "/one").await), (201, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_to_other_services_begin_and_end_with_a_reload() {
    let relay = |keys: &str| {
        format!(
            "[services.relay]\ncomponent = \"guest_relay_p2.wasm\"\nmounts = [\"/relay\"]\npublic = [\"/relay\"]\n{keys}\n"
        )
    };
    let mut shop = Shop::with(manifest(&[relay("")])).await;
    assert_eq!(status(&shop, "/relay/finish").await, 500);
    shop.reload(manifest(&[relay("calls = [\"relay\"]")])).await.succeeds(200);
    assert_eq!(status(&shop, "/relay/finish").await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_a_database_with_a_reload_and_finds_it_again_after_its_removal() {
    let mut shop = Shop::with(manifest(&[plain("one", "")])).await;
    let with_variant = manifest(&[plain("one", ""), variant("")]);
    for round in 0..3 {
        shop.reload(with_variant.clone()).await.succeeds(200);
        assert_eq!(shop.anon().get("/variant/items").await.succeeds(200)["items"], round);
        shop.anon().post("/variant/items", json!({ "name": "kept" })).await.succeeds(201);
        shop.reload(manifest(&[plain("one", "")])).await.succeeds(200);
        assert_eq!(status(&shop, "/variant/items").await, 404);
    }
    let metrics = shop.operator().get("/metrics").await.text;
    assert!(metrics.contains("comptoir_reloads_total{result=\"applied\"} 6"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_runs_during_a_reload_ends_on_its_revision() {
    let mut shop = Shop::with(manifest(&[variant(""), plain("one", "")])).await;
    let waiting = shop.anon();
    let waiting = tokio::spawn(async move { waiting.get("/variant/wait").await });
    while shop.operator().get("/services/variant").await.succeeds(200)["instances"]["in_use"] != 1 {
        tokio::task::yield_now().await;
    }
    shop.reload(manifest(&[plain("one", "")])).await.succeeds(200);
    assert_eq!(status(&shop, "/variant/items").await, 404);
    // The service comes back with the database that the running request still uses.
    shop.reload(manifest(&[variant(""), plain("one", "")])).await.succeeds(200);
    shop.anon().post("/variant/items", json!({ "name": "wake" })).await.succeeds(201);
    let answer = tokio::time::timeout(AMPLE, waiting).await.unwrap().unwrap();
    assert_eq!(answer.succeeds(200), "awake");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_activates_a_new_component_file_and_a_rollback_keeps_the_new_table() {
    let file = tempfile::tempdir().unwrap().keep().join("built.wasm");
    std::fs::write(&file, crate::deploys::variant("good")).unwrap();
    let of = |keys: &str| {
        let mut manifest = manifest(&[variant(keys)]);
        manifest.services.get_mut("variant").unwrap().component = file.clone();
        manifest
    };
    let mut shop = Shop::with(of("")).await;
    let revision = async |shop: &Shop| shop.operator().get("/services/variant").await.succeeds(200)["revision"].clone();
    let old = revision(&shop).await;
    std::fs::write(&file, crate::deploys::variant("good-2")).unwrap();
    shop.reload(of("limits = { body = \"1 KiB\" }")).await.succeeds(200);
    assert_eq!(revision(&shop).await, crate::deploys::digest(&crate::deploys::variant("good-2")));
    testing::send(shop.operator().request(reqwest::Method::POST, "/services/variant/rollback")).await.succeeds(200);
    assert_eq!(revision(&shop).await, old);
    let large = shop.anon().post("/variant/items", json!({ "name": "x".repeat(2000) })).await;
    large.refuses(413, "BODY_TOO_LARGE");
    // The file was deployed before, so neither a reload nor a restart activates it again.
    shop.reload(of("")).await.succeeds(200);
    assert_eq!(revision(&shop).await, old);
    shop.restart().await;
    assert_eq!(revision(&shop).await, old);
    std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
}
