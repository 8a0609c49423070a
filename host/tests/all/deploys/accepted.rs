//! Successful deploys, and requests that change nothing.

use reqwest::Method;
use serde_json::{Value, json};
use testing::{Shop, send};

use super::load::Load;
use super::{Stand, digest, label, refuses, strangers, variant};

#[tokio::test(flavor = "multi_thread")]
async fn a_good_component_becomes_active_and_the_report_lists_the_steps() {
    let stand = Stand::open().await;
    let old = stand.active().await;
    let component = variant("more");
    let new = digest(&component);
    let answer = stand.send("?reason=more+routes", component).await;
    let report = answer.succeeds(200);
    stand.serves(&new).await;
    let steps: Vec<&Value> = report["steps"].as_array().unwrap().iter().map(|step| &step["step"]).collect();
    let expected = ["received", "verified", "compiled", "linked", "described", "migrated", "probed", "active"];
    assert_eq!(steps, expected);
    assert_eq!([&report["service"], &report["from"], &report["to"]], ["variant", &old, &new]);
    assert_eq!(report["changed"], true);
    assert_eq!(report["differences"], json!(["route added: GET /variant/items/more (Public)"]));
    assert!(report["active_since"].as_f64().unwrap() > 1e9, "{report:#}");

    let line = &stand.history().await[0];
    assert_eq!(line["id"], report["id"]);
    assert_eq!([&line["action"], &line["result"], &line["reason"]], ["deploy", "active", "more routes"]);
    assert_eq!(stand.status().await["kept"], json!([old]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_for_another_revision_than_the_active_one_is_refused() {
    let stand = Stand::open().await;
    let old = stand.active().await;
    let order = |replaces: &str, words: &str| {
        let request = stand.shop.operator().request(Method::PUT, "/services/variant");
        request.header("if-match", replaces).body(variant(words))
    };
    let other = format!("\"{}\"", "0".repeat(64));
    send(order(&other, "good-2")).await.refuses(412, "REVISION_CHANGED");
    send(order("not a digest", "good-2")).await.refuses(412, "REVISION_CHANGED");
    stand.serves(&old).await;

    let tag = stand.shop.operator().get("/services/variant").await.header("etag").to_owned();
    assert_eq!(tag, format!("\"{old}\""));
    send(order(&tag, "good-2")).await.succeeds(200);
    send(order(&tag, "good-3")).await.refuses(412, "REVISION_CHANGED");
    send(order("*", "good-3")).await.succeeds(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn deploying_the_active_revision_changes_nothing() {
    let stand = Stand::open().await;
    let old = stand.active().await;
    let answer = stand.deploy("good").await;
    let report = answer.succeeds(200);
    assert_eq!((&report["changed"], &report["from"], &report["to"]), (&json!(false), &json!(old), &json!(old)));
    let line = &stand.history().await[0];
    assert_eq!([&line["action"], &line["result"]], ["deploy", "unchanged"], "{line:#}");
    assert_eq!(stand.status().await["kept"], json!([]));
    stand.serves(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_digest_may_have_upper_case() {
    let stand = Stand::open().await;
    let component = variant("good-2");
    let announced = digest(&component).to_uppercase();
    stand.send(&format!("?digest={announced}"), component).await.succeeds(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_not_in_the_manifest_is_unknown() {
    let stand = Stand::open().await;
    let operator = stand.shop.operator();
    send(operator.request(Method::PUT, "/services/absent").body(variant("good-2")))
        .await
        .refuses(404, "UNKNOWN_SERVICE");
    send(operator.request(Method::POST, "/services/absent/rollback")).await.refuses(404, "UNKNOWN_SERVICE");
    operator.get("/services/absent/history").await.refuses(404, "UNKNOWN_SERVICE");
    operator.get("/services/absent").await.refuses(404, "UNKNOWN_SERVICE");
    operator.get("/services/variant/absent").await.refuses(404, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_parameter_is_refused() {
    let stand = Stand::open().await;
    let old = stand.active().await;
    for query in ["?forced=true", "?force=yes", "?digset=00"] {
        stand.send(query, variant("good-2")).await.refuses(400, "BAD_REQUEST");
    }
    stand.roll_back("?too=00000000").await.refuses(400, "BAD_REQUEST");
    stand.serves(&old).await;
    assert_eq!(stand.history().await.len(), 1, "the history has only the start");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_deploy_of_a_service_runs_at_a_time() {
    let stand = Stand::open().await;
    let old = stand.active().await;
    let first = async {
        let answer = stand.deploy("health-waits").await;
        answer.succeeds(200)["to"].as_str().unwrap().to_owned()
    };
    let second = async {
        stand.until(|history| history[0]["result"] == "running").await;
        stand.deploy("good-2").await.refuses(409, "DEPLOY_RUNNING");
        stand.roll_back("").await.refuses(409, "DEPLOY_RUNNING");
        stand.serves(&old).await;
        stand.add("wake").await.succeeds(201);
    };
    let (new, ()) = tokio::join!(first, second);
    stand.serves(&new).await;
    assert_eq!(stand.history().await.len(), 2, "a deploy refused because another was running is not in the history");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_completes_if_the_operator_disconnects() {
    let stand = Stand::open().await;
    let request = stand.shop.operator().request(Method::PUT, "/services/variant").body(variant("health-waits"));
    let deploy = tokio::spawn(request.send());
    stand.until(|history| history[0]["result"] == "running").await;
    deploy.abort();
    stand.add("wake").await.succeeds(201);
    stand.until(|history| history[0]["result"] == "active").await;
    // The history has the line a moment before the pointer moves.
    let new = digest(&variant("health-waits"));
    while stand.active().await != new {
        tokio::task::yield_now().await;
    }
    stand.serves(&new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_writes_of_a_probe_are_rolled_back() {
    let stand = Stand::open().await;
    stand.add("real").await.succeeds(201);
    let answer = stand.deploy("probe").await;
    let steps = answer.succeeds(200)["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["step"] == "probed" && step["note"] == "probes: 2"), "{steps:#?}");
    assert_eq!(stand.shop.anon().get("/variant/items").await.succeeds(200)["items"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_operator_can_deploy_and_only_on_the_admin_listener() {
    let shop = Shop::open().await;
    let paths = [
        (Method::GET, "/services"),
        (Method::GET, "/services/orders"),
        (Method::PUT, "/services/orders"),
        (Method::POST, "/services/orders/rollback"),
        (Method::GET, "/services/orders/history"),
    ];
    for (client, code) in strangers(&shop).await {
        for (method, path) in &paths {
            // Large enough that the answer comes before the whole body is sent.
            send(client.request(method.clone(), path).body(vec![0; 4 << 20])).await.refuses(401, code);
        }
    }
    let operator = shop.operator();
    for (method, path) in paths {
        let gateway = operator.clone().at(&format!("http://{}", shop.addresses().gateway));
        send(gateway.request(method.clone(), path).body("x")).await.refuses(404, "NOT_FOUND");
        let door = operator.clone().at(&format!("http://{}", shop.addresses().services["orders"]));
        send(door.request(method, path).body("x")).await.refuses(404, "NOT_FOUND");
    }
    operator.get("/services/orders/history").await.succeeds(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_request_completes_on_the_old_revision_and_frees_its_instance() {
    let stand = Stand::open().await;
    let old = stand.active().await;
    let client = stand.shop.anon();
    let running = tokio::spawn(async move { client.get("/variant/wait").await });
    while stand.status().await["instances"]["in_use"] != 1 {
        tokio::task::yield_now().await;
    }
    let new = stand.deployed("good-2").await;
    stand.serves(&new).await;
    assert_eq!(stand.status().await["instances"]["in_use"], 1, "the request still runs");
    stand.add("wake").await.succeeds(201);
    let answer = running.await.unwrap();
    answer.succeeds(200);
    assert_eq!(answer.header("x-comptoir-revision"), label(&old));
    while stand.status().await["instances"]["in_use"] != 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_revisions_are_kept() {
    let stand = Stand::with(super::manifest("keep = 2", "")).await;
    let load = Load::begin(stand.shop.addresses().gateway, 1, || None);
    let mut before = vec![stand.active().await];
    for words in ["good-2", "good-3", "good-4", "good-5"] {
        before.insert(0, stand.deployed(words).await);
    }
    load.end().await.lost_nothing();
    assert_eq!(stand.status().await["kept"], json!([before[1], before[2]]));
    let answer = stand.send("", b"garbage".to_vec()).await;
    refuses(&answer, 422, "DEPLOY_REFUSED", "verified", "not a WebAssembly component");
    assert_eq!(
        stand.status().await["kept"],
        json!([before[1], before[2]]),
        "a refused deploy displaces no kept revision"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_may_name_several_revisions_one_of_which_must_be_active() {
    let stand = Stand::open().await;
    let first = stand.active().await;
    let order = |tags: &[&str], words: &str| {
        let request = stand.shop.operator().request(Method::PUT, "/services/variant").body(variant(words));
        send(tags.iter().fold(request, |request, tag| request.header("if-match", *tag)))
    };
    let (other, active) = (format!("\"{}\"", "0".repeat(64)), format!("\"{first}\""));
    for tags in [&[&*other][..], &[&*format!("W/{active}")], &[""], &[&*format!("{other}, \"x\"")]] {
        order(tags, "good second").await.refuses(412, "REVISION_CHANGED");
    }
    assert_eq!(stand.active().await, first);
    order(&[&format!("{other}, {active}")], "good second").await.succeeds(200);
    let second = format!("\"{}\"", stand.active().await);
    assert_ne!(second, active);
    order(&[&other, &second], "good third").await.succeeds(200);
    order(&["*"], "good fourth").await.succeeds(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_drops_external_references_of_components() {
    let stand = Stand::open().await;
    stand.deployed("doc-elsewhere").await;
    let document = stand.shop.anon().get("/openapi.json").await;
    assert_eq!(document.body["paths"]["/variant/items"]["get"]["summary"], "Lists", "{}", document.text);
    assert_eq!(document.body["servers"], json!([{ "url": "/" }]));
    for absent in ["evil.example", "externalDocs", "links"] {
        assert!(!document.text.contains(absent), "{absent}: {}", document.text);
    }
}
