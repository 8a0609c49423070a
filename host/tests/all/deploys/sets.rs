//! Sets: several components in one deploy, all or none.

use reqwest::Method;
use serde_json::{Value, json};
use testing::process::run;
use testing::{Shop, component, manifest_of, send};

use super::{digest, manifest_text, variant};

/// A component without a description. Each mark gives it another digest.
fn plain(mark: u8) -> Vec<u8> {
    let mut bytes = std::fs::read(component("guest_plain_p2")).unwrap();
    bytes.extend([0, 2, 1, mark]);
    bytes
}

async fn open() -> Shop {
    let other = r#"
[services.other]
component = "guest_plain_p2.wasm"
mounts = ["/other"]
access = "public"
"#;
    let text = manifest_text("watch = \"10m\"", "", "guest_variant.wasm");
    Shop::with(manifest_of(&format!("{other}{text}"))).await
}

/// The active digests of the plain service and of the variant.
async fn active(shop: &Shop) -> [String; 2] {
    let services = shop.operator().get("/services").await;
    let revision = |at: usize| services.data()[at]["revision"].as_str().unwrap().to_owned();
    [revision(0), revision(1)]
}

/// Runs `comptoir deploy-set` with these two components.
async fn deploy_set(shop: &Shop, plain: &[u8], variant: &[u8]) -> std::process::Output {
    let files = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = files.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let other = format!("other={}", file("plain.wasm", plain));
    let variant = format!("variant={}", file("variant.wasm", variant));
    let (admin, data) = (shop.addresses().admin.to_string(), shop.data.path().to_str().unwrap());
    run(&["deploy-set", &other, &variant, "--reason", "both", "--admin", &admin, "--data", data]).await
}

async fn newest(shop: &Shop, service: &str) -> Value {
    shop.operator().get(&format!("/services/{service}/history")).await.data()[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_activated_as_a_whole() {
    let mut shop = open().await;
    let set = deploy_set(&shop, &plain(1), &variant("good-2")).await;
    let said = String::from_utf8_lossy(&set.stdout).into_owned();
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    assert!(said.contains("other: ") && said.contains("variant: "), "{said}");
    let both = [digest(&plain(1)), digest(&variant("good-2"))];
    assert_eq!(active(&shop).await, both);
    for service in ["other", "variant"] {
        let line = newest(&shop, service).await;
        assert_eq!([&line["action"], &line["result"], &line["reason"]], ["promote", "active", "both"]);
    }
    shop.restart().await;
    assert_eq!(active(&shop).await, both);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_with_one_bad_component_changes_nothing() {
    let shop = open().await;
    let before = active(&shop).await;
    let set = deploy_set(&shop, &plain(1), &variant("health-500")).await;
    assert!(!set.status.success());
    let said = String::from_utf8_lossy(&set.stderr).into_owned();
    assert!(said.contains("`variant` could not be probed"), "{said}");
    assert_eq!(active(&shop).await, before);
    assert_eq!(shop.operator().get("/canary").await.succeeds(200), &Value::Null);
    assert_eq!(newest(&shop, "other").await["result"], "aborted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_with_one_failing_revision_is_reverted_as_a_whole() {
    let shop = open().await;
    let before = active(&shop).await;
    let set = deploy_set(&shop, &plain(1), &variant("traps")).await;
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    while active(&shop).await != before {
        shop.anon().get("/variant/items").await;
    }
    for service in ["other", "variant"] {
        let lines = shop.operator().get(&format!("/services/{service}/history")).await;
        assert_eq!([&lines.data()[0]["action"], &lines.data()[1]["result"]], ["revert", "reverted"], "{service}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_keeps_a_watched_set_together() {
    let mut shop = open().await;
    let before = active(&shop).await;
    let set = deploy_set(&shop, &plain(1), &variant("fails-post")).await;
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));
    shop.restart().await;
    assert_eq!(active(&shop).await, [digest(&plain(1)), digest(&variant("fails-post"))]);
    let is_reverted = |line: &Value| line["action"] == "revert" && line["result"] == "active";
    while !is_reverted(&newest(&shop, "variant").await) {
        shop.anon().post("/variant/items", json!({ "name": "one" })).await;
    }
    for service in ["other", "variant"] {
        let lines = shop.operator().get(&format!("/services/{service}/history")).await;
        assert_eq!([&lines.data()[0]["action"], &lines.data()[1]["result"]], ["revert", "reverted"], "{service}");
    }
    shop.restart().await;
    assert_eq!(active(&shop).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_concurrent_sets_never_mix() {
    let shop = open().await;
    for round in 0..4_u8 {
        let before = active(&shop).await;
        let sets = [1, 2].map(|side| (plain(10 * side + round), variant(&format!("good side-{side}-{round}"))));
        let [one, two] = &sets;
        let (first, second) = tokio::join!(deploy_set(&shop, &one.0, &one.1), deploy_set(&shop, &two.0, &two.1));
        let after = active(&shop).await;
        let [one, two] = sets.map(|(plain, variant)| [digest(&plain), digest(&variant)]);
        let succeeded: Vec<_> =
            [(first, one), (second, two)].into_iter().filter(|(set, _)| set.status.success()).collect();
        let expected: Vec<_> = succeeded.iter().map(|(_, digests)| digests).collect();
        assert!(
            expected.contains(&&after) || (expected.is_empty() && after == before),
            "{after:?} is active, expected {expected:?}"
        );
        assert_eq!(shop.operator().get("/canary").await.succeeds(200), &Value::Null, "no set stays staged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_services_of_a_staged_set_refuse_other_changes() {
    let mut shop = open().await;
    let stage = async |shop: &Shop, service: &str, query: &str, component: Vec<u8>| {
        let path = format!("/services/{service}?{query}");
        send(shop.operator().request(Method::PUT, &path).body(component)).await
    };
    let order = async |shop: &Shop, path: &str| send(shop.operator().request(Method::POST, path)).await;
    stage(&shop, "other", "canary=0%25&set=one", plain(1)).await.succeeds(200);
    for restarted in [false, true] {
        if restarted {
            shop.restart().await;
        }
        stage(&shop, "variant", "canary=0%25&set=two", variant("good-2")).await.refuses(409, "SET_RUNNING");
        stage(&shop, "variant", "canary=0%25", variant("good-2")).await.refuses(409, "SET_RUNNING");
        stage(&shop, "other", "", plain(2)).await.refuses(409, "SET_RUNNING");
        order(&shop, "/canary/promote").await.refuses(409, "SET_RUNNING");
        order(&shop, "/canary?share=5%25").await.refuses(409, "SET_RUNNING");
        order(&shop, "/canary/promote?set=two").await.refuses(409, "NO_CANARY");
        order(&shop, "/canary/abort?set=two").await.refuses(409, "NO_CANARY");
    }
    stage(&shop, "variant", "canary=0%25&set=one", variant("good-2")).await.succeeds(200);
    order(&shop, "/canary/promote?set=one").await.succeeds(200);
    assert_eq!(active(&shop).await, [digest(&plain(1)), digest(&variant("good-2"))]);

    stage(&shop, "other", "canary=0%25&set=three", plain(3)).await.succeeds(200);
    order(&shop, "/canary/abort").await.succeeds(200);
    for query in ["canary=5%25&set=four", "set=four", "canary=0%25&set="] {
        stage(&shop, "other", query, plain(3)).await.refuses(400, "BAD_REQUEST");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_may_contain_active_revisions_which_get_no_line_in_the_history() {
    let shop = open().await;
    let before = active(&shop).await;
    let other = std::fs::read(component("guest_plain_p2")).unwrap();
    let same = deploy_set(&shop, &other, &variant("good")).await;
    assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stderr));
    assert!(String::from_utf8_lossy(&same.stdout).contains("variant: "), "{same:?}");
    assert_eq!(active(&shop).await, before);
    for service in ["other", "variant"] {
        let line = newest(&shop, service).await;
        assert_eq!([&line["action"], &line["result"]], ["canary", "unchanged"], "{line:#}");
    }
    let one = deploy_set(&shop, &other, &variant("good-2")).await;
    assert!(one.status.success(), "{}", String::from_utf8_lossy(&one.stderr));
    assert_eq!(active(&shop).await, [before[0].clone(), digest(&variant("good-2"))]);
    assert_eq!(newest(&shop, "other").await["result"], "unchanged");
    assert_eq!(newest(&shop, "variant").await["action"], "promote");
    assert_eq!(shop.operator().get("/canary").await.succeeds(200), &Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_deploys_of_one_service_keep_the_rollback_targets_of_another() {
    let mut shop = open().await;
    let before = active(&shop).await;
    let put = async |shop: &Shop, service: &str, component: Vec<u8>| {
        let request = shop.operator().request(Method::PUT, &format!("/services/{service}"));
        send(request.body(component)).await.succeeds(200).clone()
    };
    put(&shop, "variant", variant("good-2")).await;
    for mark in 1..=21 {
        put(&shop, "other", plain(mark)).await;
    }
    // Simulates a clock that was set back: all other components look newer than the active one.
    let revisions = shop.data.path().join("revisions");
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1 << 30);
    for entry in std::fs::read_dir(&revisions).unwrap() {
        std::fs::File::options().write(true).open(entry.unwrap().path()).unwrap().set_modified(later).unwrap();
    }
    put(&shop, "other", plain(22)).await;
    shop.restart().await;
    assert_eq!(active(&shop).await, [digest(&plain(22)), digest(&variant("good-2"))]);
    let back = send(shop.operator().request(Method::POST, "/services/variant/rollback")).await;
    assert_eq!(back.succeeds(200)["to"], before[1]);
    shop.restart().await;
    assert_eq!(active(&shop).await[1], before[1]);
    let kept = std::fs::read_dir(&revisions).unwrap().count();
    assert!(kept <= 22, "the two services keep {kept} components");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_refused_while_a_canary_runs() {
    let shop = open().await;
    let begun = shop.operator().request(Method::PUT, "/services/variant?canary=5%25").body(variant("good-3"));
    send(begun).await.succeeds(200);
    let before = active(&shop).await;
    let set = deploy_set(&shop, &plain(1), &variant("good-2")).await;
    assert!(!set.status.success());
    assert_eq!(active(&shop).await, before);
    assert_eq!(shop.operator().get("/canary").await.data()["share"], "5%");
}
