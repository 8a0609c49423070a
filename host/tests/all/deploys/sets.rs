//! Several components in one deploy: all of them or none.

use reqwest::Method;
use serde_json::Value;

use super::{digest, manifest_text, variant};
use crate::harness::{Shop, component, manifest_of, send};
use crate::process::run;

/// A service that describes nothing, under another digest for each mark.
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

/// The digests in charge: of the plain service and of the variant.
async fn active(shop: &Shop) -> [String; 2] {
    let services = shop.operator().get("/services").await;
    let revision = |at: usize| services.data()[at]["revision"].as_str().unwrap().to_owned();
    [revision(0), revision(1)]
}

/// `comptoir deploy-set` with these two components.
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
async fn a_set_is_put_in_charge_as_a_whole() {
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
async fn a_set_of_which_one_goes_wrong_is_taken_back_as_a_whole() {
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
async fn many_deploys_of_one_service_leave_the_way_back_of_another() {
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
    // As after a clock that went back: whatever else lies there looks newer than what is active.
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
    assert!(kept <= 22, "{kept} components are kept for the two services");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_not_mixed_with_a_canary_that_runs() {
    let shop = open().await;
    let begun = shop.operator().request(Method::PUT, "/services/variant?canary=5%25").body(variant("good-3"));
    send(begun).await.succeeds(200);
    let before = active(&shop).await;
    let set = deploy_set(&shop, &plain(1), &variant("good-2")).await;
    assert!(!set.status.success());
    assert_eq!(active(&shop).await, before);
    assert_eq!(shop.operator().get("/canary").await.data()["share"], "5%");
}
