//! `reuse` in the manifest: which requests an instance may answer after its first.

use std::collections::BTreeMap;

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

/// The instances of the active revision that were not reused, by reason. Without the reasons that never occurred.
async fn discarded(shop: &Shop, service: &str) -> Vec<(String, u64)> {
    let metrics = shop.operator().get("/metrics").await.text;
    let start = format!("comptoir_instances_discarded_total{{service=\"{service}\"");
    let reason = |line: &str| {
        let reason = line.split("reason=\"").nth(1)?.split('"').next()?;
        Some((reason.to_owned(), line.rsplit(' ').next()?.parse().ok()?))
    };
    let lines = metrics.lines().filter(|line| line.starts_with(&start));
    let all: BTreeMap<String, u64> = lines.filter_map(reason).collect();
    assert_eq!(all.len(), 6, "{metrics}");
    all.into_iter().filter(|(_, count)| *count > 0).collect()
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
    assert_eq!(discarded(&shop, "unruly").await, [("requests".to_owned(), 1)]);
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
    assert_eq!(discarded(&shop, "unruly").await, [("no-session".to_owned(), 3)]);
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
        let reason = match fault {
            "count-and-swell" => vec![("memory".to_owned(), 1)],
            "count-and-leave-open" => vec![("open-resource".to_owned(), 1)],
            _ => Vec::new(),
        };
        assert_eq!(discarded(&shop, "unruly").await, reason, "{fault}");
        // The writer is free, because the open transaction ended with its instance.
        anon.post("/unruly/notes", serde_json::json!({})).await.succeeds(200);
        send(shop.operator().request(Method::PUT, "/services/unruly").body(another(fault))).await.succeeds(200);
    }
}

/// A service that leaves handles open, and the service that it calls.
async fn hoarder() -> Shop {
    let services = "[services.hoarder]\ncomponent = \"guest_hoarder.wasm\"\nmounts = [\"/hoarder\"]\naccess = \"public\"\n\
                    reuse = \"anyone\"\ncalls = [\"relay\"]\n\n\
                    [services.relay]\ncomponent = \"guest_relay_p2.wasm\"\nmounts = [\"/relay\"]\npublic = [\"/relay\"]\n";
    Shop::with(manifest_of(services)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_with_open_handles_is_reused_but_they_lead_to_nothing() {
    let shop = hoarder().await;
    let anon = shop.anon();
    for expected in ["1 ", "2 "] {
        let kept = anon.request(Method::POST, "/hoarder/keep").header("x-kept", "header").body("unread".repeat(1000));
        assert_eq!(send(kept).await.text, expected);
    }
    for (act, expected) in [
        ("old-stream", "3 closed"),
        // A guest may keep header fields for all its responses.
        ("old-header", "4 header"),
        ("call", "5 "),
        ("old-call", "6 Some(false)"),
        ("unfinished", "7 "),
        ("nothing", "8 "),
        ("collect", "9 "),
        ("nothing", "10 "),
    ] {
        assert_eq!(anon.get(&format!("/hoarder/{act}")).await.text, expected, "{act}");
    }
    assert_eq!(discarded(&shop, "hoarder").await, []);
    let called = async || shop.operator().get("/services").await.data()[1]["instances"]["in_use"].clone();
    while called().await != 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_with_too_many_handles_or_a_timer_is_not_reused() {
    let shop = hoarder().await;
    let anon = shop.anon();
    for expected in ["1 ", "2 ", "3 ", "1 ", "2 ", "3 "] {
        assert_eq!(anon.get("/hoarder/many").await.text, expected);
    }
    for expected in ["1 ", "1 "] {
        assert_eq!(anon.get("/hoarder/timer").await.text, expected);
    }
    assert_eq!(discarded(&shop, "hoarder").await, [("handles".to_owned(), 2), ("open-resource".to_owned(), 2)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_whose_instances_answer_once_is_not_reused_after_one_failure() {
    let shop = hoarder().await;
    let anon = shop.anon();
    assert_eq!(anon.get("/hoarder/once").await.text, "1 ");
    anon.get("/hoarder/once").await.refuses(500, "INTERNAL_ERROR");
    for _ in 0..3 {
        assert_eq!(anon.get("/hoarder/once").await.text, "1 ");
    }
    assert_eq!(discarded(&shop, "hoarder").await, [("cannot-repeat".to_owned(), 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_has_answered_twice_may_fail_without_an_end_of_reuse() {
    let shop = hoarder().await;
    let anon = shop.anon();
    for expected in ["1 ", "2 "] {
        assert_eq!(anon.get("/hoarder/nothing").await.text, expected);
    }
    anon.get("/hoarder/once").await.refuses(500, "INTERNAL_ERROR");
    for expected in ["1 ", "2 "] {
        assert_eq!(anon.get("/hoarder/nothing").await.text, expected);
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
