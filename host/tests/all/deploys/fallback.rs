//! Starts with a component that cannot serve: all others serve, and the host reports the failure.

use std::path::Path;

use comptoir::manifest::Manifest;
use reqwest::Method;
use serde_json::Value;
use testing::{Shop, component, manifest_of, send};

use super::{digest, label, manifest_text, variant};

/// Seconds that move the clock beyond the year 2100.
const A_CENTURY: i64 = 100 * 366 * 86_400;

const OTHER: &str = r#"
[services.other]
component = "guest_plain_p2.wasm"
mounts = ["/other"]
access = "public"
"#;

/// A manifest of the variant and another service, which has its own listener.
fn manifest(limits: &str, variant: &Path, more: &str) -> Manifest {
    let text = manifest_text("watch = \"10m\"", limits, variant.to_str().unwrap());
    let mut manifest = manifest_of(&format!("{OTHER}{text}{more}"));
    manifest.services.get_mut("variant").unwrap().listen = Some(([127, 0, 0, 1], 0).into());
    manifest
}

fn sound() -> Manifest {
    manifest("", &component("guest_variant"), "")
}

async fn deploy(shop: &Shop, query: &str, component: Vec<u8>) -> Value {
    let request = shop.operator().request(Method::PUT, &format!("/services/variant{query}")).body(component);
    send(request).await.succeeds(200).clone()
}

async fn history(shop: &Shop, service: &str) -> Vec<Value> {
    shop.operator().get(&format!("/services/{service}/history")).await.succeeds(200).as_array().unwrap().clone()
}

/// Asserts that this revision of the variant serves, and also the other service.
async fn serves(shop: &Shop, digest: &str) {
    let answer = shop.anon().get("/variant/items").await;
    answer.succeeds(200);
    assert_eq!(answer.header("x-comptoir-revision"), label(digest));
    assert_eq!(shop.anon().get("/other").await.status, 200);
}

/// The status of `/readyz`, and its note about the variant.
async fn readiness(shop: &Shop) -> (u16, String) {
    let ready = shop.operator().get("/readyz").await;
    (ready.status.as_u16(), ready.body["notes"]["variant"].as_str().unwrap_or_default().to_owned())
}

/// Asserts that a start falls back to the previous revision if the active one can no longer describe itself.
async fn falls_back(words: &str, limits: &str, why: &str) {
    let mut shop = Shop::with(manifest(limits, &component("guest_variant"), "")).await;
    let old = digest(&variant("good"));
    deploy(&shop, "", variant(words)).await;
    let new = digest(&variant(words));
    serves(&shop, &new).await;
    shop.clock.shift(A_CENTURY);
    shop.restart().await;
    serves(&shop, &old).await;
    let line = &history(&shop, "variant").await[0];
    assert_eq!([&line["action"], &line["by"], &line["result"]], ["fallback", "host", "active"], "{line:#}");
    assert_eq!([&line["from"], &line["to"]], [&new, &old]);
    assert!(line["reason"].as_str().unwrap().contains(why), "{line:#}");
    let (status, note) = readiness(&shop).await;
    assert!(status == 200 && note.contains(&new[..12]) && note.contains(&old[..12]) && note.contains(why), "{note}");

    send(shop.operator().request(Method::POST, "/services/variant/rollback")).await.refuses(409, "TARGET_NEEDED");
    deploy(&shop, "", variant("good-2")).await;
    assert_eq!(readiness(&shop).await, (200, String::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_falls_back_if_the_active_revision_traps_in_describe() {
    falls_back("traps-later", "", "traps-later").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_falls_back_if_the_active_revision_hangs_in_describe() {
    falls_back("hangs-later", "time = \"5s\"", "could not be described").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_a_revision_answers_503_and_the_others_serve() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("only.wasm");
    std::fs::write(&file, variant("traps-later")).unwrap();
    let mut shop = Shop::with(manifest("", &file, "")).await;
    shop.clock.shift(A_CENTURY);
    shop.restart().await;
    for path in ["/variant", "/variant/items", "/variant/items/1"] {
        let answer = shop.anon().get(path).await;
        answer.refuses(503, "SERVICE_UNAVAILABLE");
        assert_eq!(answer.header("x-comptoir-revision"), "");
    }
    shop.door("variant").get("/health").await.refuses(503, "SERVICE_UNAVAILABLE");
    shop.anon().get("/elsewhere").await.refuses(404, "NOT_FOUND");
    assert_eq!(shop.anon().get("/other").await.status, 200);
    let documented = shop.anon().get("/openapi.json").await;
    assert!(documented.body["paths"].as_object().unwrap().keys().all(|path| !path.starts_with("/variant")));

    let (status, note) = readiness(&shop).await;
    assert!(
        status == 503 && note.starts_with("no active revision: ") && note.contains("traps-later"),
        "{status}: {note}"
    );
    assert_eq!(shop.anon().get("/health").await.body["services"]["variant"], "unhealthy");
    let listed = shop.operator().get("/services").await;
    assert_eq!(listed.body["count"], 2, "{}", listed.text);
    let status = shop.operator().get("/services/variant").await;
    assert_eq!((&status.succeeds(200)["revision"], &status.data()["note"]), (&Value::Null, &Value::from(note)));
    shop.restart().await;
    let lines = history(&shop, "variant").await;
    assert_eq!(lines.len(), 2, "a repeated refusal has only one line: {lines:#?}");
    assert_eq!([&lines[0]["action"], &lines[0]["result"]], ["start", "refused"], "{lines:#?}");

    deploy(&shop, "", variant("good-2")).await;
    serves(&shop, &digest(&variant("good-2"))).await;
    assert_eq!(readiness(&shop).await, (200, String::new()));
    assert_eq!(history(&shop, "variant").await[0]["from"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_service_that_fails_does_not_affect_the_others() {
    let mut shop = Shop::with(sound()).await;
    shop.stop().await;
    let folder = tempfile::tempdir().unwrap();
    let third = folder.path().join("third.wasm");
    std::fs::write(&third, variant("describe-traps")).unwrap();
    let more = format!(
        "[services.third]\ncomponent = \"{}\"\nmounts = [\"/third\"]\ngrants = [\"storage\"]\n",
        third.display()
    );
    shop.start_again_as(manifest("", &component("guest_variant"), &more), None).await.unwrap();
    serves(&shop, &digest(&variant("good"))).await;
    shop.anon().get("/third/x").await.refuses(503, "SERVICE_UNAVAILABLE");
    let ready = shop.operator().get("/readyz").await;
    assert!(ready.body["notes"]["third"].as_str().unwrap().contains("describe-traps"), "{}", ready.text);
}

/// A service with a catch-all route that collides with the one that the variant `more` adds.
const INSIDE: &str =
    "[services.inside]\ncomponent = \"guest_plain_p2.wasm\"\nmounts = [\"/variant/items/more\"]\naccess = \"public\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_whose_routes_collide_with_a_new_service_is_ended_at_the_start() {
    let mut shop = Shop::with(sound()).await;
    deploy(&shop, "?canary=5%25", variant("more")).await;
    shop.stop().await;
    shop.start_again_as(manifest("", &component("guest_variant"), INSIDE), None).await.unwrap();
    serves(&shop, &digest(&variant("good"))).await;
    assert_eq!(shop.anon().get("/variant/items/more").await.status, 200);
    assert_eq!(shop.operator().get("/canary").await.succeeds(200), &Value::Null);
    let line = &history(&shop, "variant").await[0];
    assert_eq!([&line["action"], &line["result"]], ["canary", "aborted"]);
    assert!(line["detail"].as_str().unwrap().contains("collides with"), "{line:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_service_whose_routes_collide_with_an_older_one_does_not_serve() {
    let mut shop = Shop::with(sound()).await;
    deploy(&shop, "", variant("more")).await;
    shop.stop().await;
    shop.start_again_as(manifest("", &component("guest_variant"), INSIDE), None).await.unwrap();
    serves(&shop, &digest(&variant("more"))).await;
    shop.anon().get("/variant/items/more/below").await.refuses(503, "SERVICE_UNAVAILABLE");
    let ready = shop.operator().get("/readyz").await;
    assert!(ready.body["notes"]["inside"].as_str().unwrap().contains("collides with"), "{}", ready.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_with_a_failing_revision_falls_back_as_a_whole() {
    let mut shop = Shop::with(sound()).await;
    let operator = shop.operator();
    let before = operator.get("/services").await;
    let mut other = std::fs::read(component("guest_plain_p2")).unwrap();
    other.extend([0, 2, 1, 1]);
    let stage = operator.request(Method::PUT, "/services/other?canary=0%25&set=both").body(other);
    send(stage).await.succeeds(200);
    deploy(&shop, "?canary=0%25&set=both", variant("traps-later")).await;
    send(operator.request(Method::POST, "/canary/promote?set=both")).await.succeeds(200);
    shop.clock.shift(A_CENTURY);
    shop.restart().await;
    let after = shop.operator().get("/services").await;
    for service in 0..2 {
        assert_eq!(after.data()[service]["revision"], before.data()[service]["revision"]);
    }
    for service in ["other", "variant"] {
        assert_eq!(history(&shop, service).await[0]["action"], "fallback", "{service}");
    }
}
