//! `reuse` in the manifest: which requests an instance may answer after its first.

use comptoir::clock::Clock;
use comptoir::host::Host;
use comptoir::manifest::Manifest;
use futures::future::join_all;
use reqwest::Method;
use testing::{Client, Shop, component, manifest_of, options, send, shop_manifest};

/// The shop, and a service whose instances count their requests.
fn counting(reuse: &str, limits: &str) -> Manifest {
    let unruly = manifest_of(&format!(
        r#"
[services.unruly]
component = "guest_unruly.wasm"
mounts = ["/unruly"]
public = ["/unruly"]
grants = ["storage"]
calls = ["unruly"]
{reuse}
limits = {{ {limits} }}
"#
    ));
    let mut manifest = shop_manifest();
    manifest.services.extend(unruly.services);
    manifest
}

async fn open(reuse: &str) -> Shop {
    Shop::with(counting(reuse, "")).await
}

async fn count(client: &Client) -> u64 {
    client.get("/unruly/count").await.succeeds(200).as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn by_default_an_instance_answers_one_request() {
    for reuse in ["", "reuse = \"never\""] {
        let shop = open(reuse).await;
        let admin = shop.admin().await;
        for _ in 0..3 {
            assert_eq!((count(&shop.anon()).await, count(&admin).await), (1, 1), "{reuse}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_for_anyone_answers_up_to_a_thousand_requests() {
    let shop = open("reuse = \"anyone\"").await;
    let (anon, admin) = (shop.anon(), shop.admin().await);
    for expected in [1, 3, 5] {
        assert_eq!((count(&anon).await, count(&admin).await), (expected, expected + 1));
    }
    for expected in 7..=1000 {
        assert_eq!(count(&anon).await, expected);
    }
    assert_eq!(count(&anon).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_for_a_session_answers_only_that_session() {
    let shop = open("reuse = \"session\"").await;
    let (anon, first, second) = (shop.anon(), shop.admin().await, shop.admin().await);
    for expected in [1, 2, 3] {
        assert_eq!(count(&first).await, expected);
        assert_eq!(count(&anon).await, 1, "anonymous callers share no instance");
    }
    assert_eq!(count(&second).await, 1, "another session of the same user gets another instance");
    assert_eq!(count(&first).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trapped_looping_grown_or_unfinished_instance_is_not_reused() {
    let shop = Shop::with(counting("reuse = \"anyone\"", "cpu = \"100ms\"")).await;
    let anon = shop.anon();
    for fault in ["trap", "spin", "count-and-swell", "count-and-leave-open"] {
        assert_eq!((count(&anon).await, count(&anon).await), (1, 2), "before {fault}");
        let answer = anon.get(&format!("/unruly/{fault}")).await;
        if answer.status == 200 {
            assert_eq!(answer.succeeds(200).as_u64(), Some(3), "{fault}");
        }
        assert_eq!(count(&anon).await, 1, "after {fault}");
        // The writer is free, because the open transaction ended with its instance.
        anon.post("/unruly/notes", serde_json::json!({})).await.succeeds(200);
        send(shop.operator().request(Method::PUT, "/services/unruly").body(another(fault))).await.succeeds(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_starts_without_reusable_instances() {
    let shop = open("reuse = \"anyone\"").await;
    let anon = shop.anon();
    assert_eq!((count(&anon).await, count(&anon).await), (1, 2));
    send(shop.operator().request(Method::PUT, "/services/unruly").body(another("swap"))).await.succeeds(200);
    assert_eq!((count(&anon).await, count(&anon).await), (1, 2));
    send(shop.operator().request(Method::POST, "/services/unruly/rollback")).await.succeeds(200);
    assert_eq!(count(&anon).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_instances_occupy_no_slot() {
    let mut manifest = counting("reuse = \"session\"", "concurrency = 2");
    manifest.instances = 2;
    let shop = Shop::with(manifest).await;
    let admins = join_all((0..6).map(|_| shop.admin())).await;
    for _ in 0..3 {
        let answers = join_all(admins.iter().map(|admin| admin.get("/unruly/count"))).await;
        assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_of_wasi_0_3_cannot_reuse_instances() {
    let manifest = manifest_of(
        "[services.plain]\ncomponent = \"guest_plain_p3.wasm\"\nmounts = [\"/plain\"]\naccess = \"public\"\nreuse = \"anyone\"\n",
    );
    let data = tempfile::tempdir().unwrap();
    let refused = match Host::start(manifest, data.path(), options(&Clock::default())).await {
        Ok(_) => panic!("the host starts"),
        Err(error) => format!("{error:#}"),
    };
    assert!(refused.contains("answers only one request: remove `reuse` from [services.plain]"), "{refused}");
}

/// The same component with another digest, because a custom section is added.
fn another(name: &str) -> Vec<u8> {
    let mut bytes = std::fs::read(component("guest_unruly")).unwrap();
    let length = u8::try_from(name.len()).unwrap();
    bytes.extend([0, length + 1, length]);
    bytes.extend(name.as_bytes());
    bytes
}
