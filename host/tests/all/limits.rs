//! The limits of a service, and what happens when a guest exceeds one.

use reqwest::Method;
use serde_json::json;
use testing::built::program;
use testing::{Shop, manifest_of, send};

/// A service that misbehaves on request, and a well-behaved one.
fn unruly(limits: &str) -> comptoir::manifest::Manifest {
    manifest_of(&format!(
        r#"
[services.unruly]
component = "guest_unruly.wasm"
mounts = ["/unruly"]
public = ["/unruly"]
grants = ["storage"]
calls = ["unruly"]
limits = {{ {limits} }}

[services.plain]
component = "guest_plain_p2.wasm"
mounts = ["/plain"]
access = "public"
"#
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_is_stopped_while_others_are_served() {
    let shop = Shop::with(unruly(r#"cpu = "300ms""#)).await;
    let client = shop.anon();
    let spinning = (0..4).map(|_| client.get("/unruly/spin"));
    let sibling = async {
        for _ in 0..20 {
            assert_eq!(client.get("/plain/x").await.status, 200);
        }
    };
    let (answers, ()) = tokio::join!(futures::future::join_all(spinning), sibling);
    for answer in answers {
        answer.refuses(504, "DEADLINE_EXCEEDED");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_waits_too_long_is_stopped() {
    let shop = Shop::with(unruly(r#"time = "200ms""#)).await;
    shop.anon().get("/unruly/sleep").await.refuses(504, "DEADLINE_EXCEEDED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_cannot_exceed_its_memory_limit() {
    let shop = Shop::with(unruly(r#"memory = "8 MiB""#)).await;
    shop.anon().get("/unruly/grow").await.refuses(500, "OUT_OF_MEMORY");
    assert_eq!(shop.anon().get("/unruly/headers").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_is_a_500_that_reveals_only_the_request_id() {
    let shop = Shop::with(unruly("")).await;
    let answer = shop.anon().get("/unruly/trap").await;
    answer.refuses(500, "INTERNAL_ERROR");
    assert!(!answer.text.contains("trap on request") && !answer.text.contains("about to trap"), "{}", answer.text);
    assert_eq!(answer.body["error"]["request_id"], answer.header("x-request-id"));
    let metrics = shop.operator().get("/metrics").await.text;
    assert!(
        metrics
            .lines()
            .any(|line| line.starts_with("comptoir_guest_traps_total{service=\"unruly\"") && line.ends_with(" 1")),
        "{metrics}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trap_rolls_back_an_open_transaction_at_once() {
    let shop = Shop::with(unruly("")).await;
    shop.anon().post("/unruly/notes-then-trap", json!({})).await.refuses(500, "INTERNAL_ERROR");
    shop.anon().post("/unruly/notes", json!({})).await.succeeds(200);
    assert_eq!(shop.anon().get("/unruly/notes").await.succeeds(200)["notes"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_output_is_harmless() {
    let shop = Shop::with(unruly("")).await;
    shop.anon().get("/unruly/print").await.succeeds(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_services_limit_is_413() {
    let shop = Shop::with(unruly(r#"body = "1 KiB""#)).await;
    shop.anon().post("/unruly/echo", json!({ "text": "x".repeat(2000) })).await.refuses(413, "BODY_TOO_LARGE");
    assert_eq!(shop.anon().post("/unruly/echo", json!({ "text": "x" })).await.succeeds(200)["members"], 1);
}

/// The requests of `unruly` and `plain` that got no instance, because `concurrency` or `instances` was reached.
async fn refused(shop: &Shop) -> [(u64, u64); 2] {
    let (services, metrics) = (shop.operator().get("/services").await, shop.operator().get("/metrics").await.text);
    [(1, "unruly"), (0, "plain")].map(|(position, service)| {
        let refused = &services.data()[position]["instances"]["refused"];
        let count = |setting: &str| {
            let count = refused[setting].as_u64().unwrap();
            let labels = format!("{{service=\"{service}\",setting=\"{setting}\"}}");
            let line = format!("comptoir_requests_refused_total{labels} {count}");
            assert!(metrics.lines().any(|metric| metric == line), "{line}: {metrics}");
            count
        };
        (count("concurrency"), count("instances"))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_without_free_instances_answers_503_while_others_are_served() {
    let shop = Shop::with(unruly(r#"concurrency = 1, queue_time = "20ms", time = "1m""#)).await;
    let sleeper = tokio::spawn(shop.anon().request(Method::GET, "/unruly/sleep").send());
    let operator = shop.operator();
    while operator.get("/services").await.data()[1]["instances"]["in_use"] != 1 {
        tokio::task::yield_now().await;
    }
    let turned_away = shop.anon().get("/unruly/headers").await;
    turned_away.refuses(503, "OVERLOADED");
    assert_eq!(turned_away.header("retry-after"), "1");
    assert!(!turned_away.text.contains("concurrency"), "clients need not know the settings: {}", turned_away.text);
    assert_eq!(refused(&shop).await, [(1, 0), (0, 0)]);
    let mut status = tokio::process::Command::new(program());
    status.args(["status", "unruly", "--admin", &shop.addresses().admin.to_string(), "--data"]).arg(shop.data.path());
    let printed = String::from_utf8(status.output().await.unwrap().stdout).unwrap();
    assert!(printed.contains("requests refused because `concurrency` was reached: 1"), "{printed}");
    assert_eq!(shop.anon().get("/plain/x").await.status, 200);
    let health = shop.anon().get("/health").await;
    let services = json!({ "plain": "healthy", "unruly": "unhealthy" });
    let unhealthy = json!({ "status": "unhealthy", "service": "api-gateway", "services": services });
    assert_eq!((health.status.as_u16(), &health.body), (503, &unhealthy));
    sleeper.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_greedy_service_leaves_the_instances_reserved_for_others() {
    let mut manifest = unruly(r#"concurrency = 128, queue_time = "20ms", time = "1m""#);
    manifest.instances = 4;
    let shop = Shop::with(manifest).await;
    let sleepers = [(); 3].map(|()| tokio::spawn(shop.anon().request(Method::GET, "/unruly/sleep").send()));
    let operator = shop.operator();
    while operator.get("/services").await.data()[1]["instances"]["in_use"] != 3 {
        tokio::task::yield_now().await;
    }
    shop.anon().get("/unruly/headers").await.refuses(503, "OVERLOADED");
    assert_eq!(shop.anon().get("/plain/x").await.status, 200);
    assert_eq!(refused(&shop).await, [(0, 1), (0, 0)]);
    sleepers.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_database_refuses_writes_with_503_and_still_reads() {
    let shop = Shop::with(unruly(r#"database = "32 KiB""#)).await;
    assert_eq!(shop.operator().get("/readyz").await.status, 200);
    let mut written = 0;
    let refused = loop {
        let answer = shop.anon().post("/unruly/notes", json!({})).await;
        if answer.status != 200 {
            break answer;
        }
        written += 1;
        assert!(written < 10_000, "the database never filled up");
    };
    refused.refuses(503, "STORAGE_UNAVAILABLE");
    assert_eq!(shop.anon().get("/unruly/notes").await.succeeds(200)["notes"], written);
    let readiness = shop.operator().get("/readyz").await;
    assert_eq!((readiness.status.as_u16(), &readiness.body["services"]["unruly"]), (503, &json!("refuses writes")));
    assert_eq!(readiness.body["disk"], "writable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_does_not_see_identity_headers_of_clients() {
    let shop = Shop::with(unruly("")).await;
    let request = shop.anon().request(Method::GET, "/unruly/headers");
    let forged =
        request.header("x-user-id", "admin").header("x-user-role", "admin").header("x-comptoir-caller", "host");
    let answer = send(forged).await;
    assert_eq!(answer.succeeds(200), &json!({ "caller": null, "service": null }));
}
