//! What a reload changes about the capabilities of a component: configuration, folders, entries, paths and credentials.

use reqwest::Method;
use serde_json::{Value, json};
use testing::{Shop, send};

use super::{manifest, plain, status};

/// A component that shows its configuration and its files.
fn site(keys: &str) -> String {
    format!(
        "[services.site]\ncomponent = \"guest_site_p2.wasm\"\nmounts = [\"/site\"]\naccess = \"public\"\npublic = [\"/site\"]\n{keys}\n"
    )
}

async fn text(shop: &Shop, path: &str) -> String {
    shop.anon().get(path).await.text
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_and_folders_follow_the_manifest() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "one").unwrap();
    let config = |value: &str| format!("[services.site.config]\ncurrency = \"{value}\"");
    let mut shop = Shop::with(manifest(&[site(&config("EUR"))])).await;
    // Twice, so that the second answer comes from the cache.
    for _ in 0..2 {
        assert_eq!(text(&shop, "/site/all").await, "currency=EUR\n");
    }
    let files = format!("files = [{{ from = {:?}, to = \"/www\" }}]\n", folder.path());
    let reloaded = shop.reload(manifest(&[site(&(files + &config("CHF")))])).await;
    assert_eq!(reloaded.succeeds(200)["changed"], json!({ "site": ["config", "files"] }));
    assert_eq!(text(&shop, "/site/all").await, "currency=CHF\n");
    assert_eq!(text(&shop, "/site/read?/www/a.txt").await, "one");
    shop.reload(manifest(&[site("")])).await.succeeds(200);
    assert_eq!(text(&shop, "/site/all").await, "");
    assert_eq!(text(&shop, "/site/read?/www/a.txt").await, "NotFound");
}

#[tokio::test(flavor = "multi_thread")]
async fn stripped_mounts_and_passed_credentials_follow_the_manifest() {
    let mut shop = Shop::with(manifest(&[plain("one", "")])).await;
    let passed = async |shop: &Shop| {
        let request = shop.anon().request(Method::GET, "/one/headers").header("authorization", "Basic YWRhOng=");
        send(request).await.text.contains("authorization: Basic")
    };
    assert_eq!(text(&shop, "/one/a").await, "0.2 Method::Get /one/a");
    assert!(!passed(&shop).await);
    let reloaded = shop.reload(manifest(&[plain("one", "strip = true")])).await;
    assert_eq!(reloaded.succeeds(200)["changed"], json!({ "one": ["strip"] }));
    assert_eq!(text(&shop, "/one/a").await, "0.2 Method::Get /a");
    shop.reload(manifest(&[plain("one", "credentials = \"pass\"")])).await.succeeds(200);
    assert_eq!(text(&shop, "/one/a").await, "0.2 Method::Get /one/a");
    assert!(passed(&shop).await);
    shop.reload(manifest(&[plain("one", "")])).await.succeeds(200);
    assert!(!passed(&shop).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_its_entries_with_a_reload_and_finds_them_again() {
    let entries = "[services.kv]\ncomponent = \"guest_keyvalue.wasm\"\nmounts = [\"/keyvalue\"]\npublic = [\"/keyvalue\"]\n\
                   grants = [\"keyvalue\"]\n";
    let with = |limits: &str| manifest(&[plain("one", ""), entries.to_owned() + limits]);
    let mut shop = Shop::with(manifest(&[plain("one", "")])).await;
    shop.reload(with("")).await.succeeds(200);
    assert_eq!(shop.anon().post("/keyvalue/set?default:a=one", Value::Null).await.text, "done");
    // With another table, the service keeps the same database.
    shop.reload(with("limits = { concurrency = 7 }\n")).await.succeeds(200);
    assert_eq!(text(&shop, "/keyvalue/get?default:a").await, "Some(\"one\")");
    shop.reload(manifest(&[plain("one", "")])).await.succeeds(200);
    assert_eq!(status(&shop, "/keyvalue/get?default:a").await, 404);
    shop.reload(with("")).await.succeeds(200);
    assert_eq!(text(&shop, "/keyvalue/get?default:a").await, "Some(\"one\")");
}
