//! Canaries: which callers they serve, who may request them by name, and the three ways in which they end.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use testing::{Answer, Client, Shop, send};

use super::shop::copy;
use super::{Stand, digest, label, manifest, refuses, variant};

/// The number of anonymous callers, each with its own address.
const CALLERS: u8 = 40;

/// The callers that a revision serves.
async fn callers_of(stand: &Stand, digest: &str) -> BTreeSet<u8> {
    let mut callers = BTreeSet::new();
    for number in 1..=CALLERS {
        let answer = stand.shop.anon().calling_from(number).get("/variant/items").await;
        answer.succeeds(200);
        if answer.header("x-comptoir-revision") == label(digest) {
            callers.insert(number);
        }
    }
    callers
}

async fn operator(stand: &Stand, path: &str) -> Answer {
    send(stand.shop.operator().request(Method::POST, path)).await
}

/// Requests a revision by name, with an admin token if there is one.
async fn ask(client: &Client, version: &str, token: Option<&str>) -> Answer {
    let request = client.request(Method::GET, "/variant/items").header("x-comptoir-version", version);
    send(match token {
        Some(token) => request.header("x-comptoir-admin-token", token),
        None => request,
    })
    .await
}

/// Action and result of the history's lines, newest first.
fn ends(history: &[Value]) -> Vec<(&str, &str)> {
    history.iter().map(|line| (line["action"].as_str().unwrap(), line["result"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_larger_share_moves_callers_only_to_the_canary_and_a_restart_moves_none() {
    let mut stand = Stand::with(manifest("watch = \"10m\"", "")).await;
    let new = digest(&variant("good-2"));
    let report = stand.send("?canary=20%25", variant("good-2")).await;
    assert_eq!(report.succeeds(200)["canary"], "20%");
    let mut before = callers_of(&stand, &new).await;
    assert!((1..CALLERS as usize / 2).contains(&before.len()), "{} of {CALLERS} callers at 20%", before.len());
    assert_eq!(callers_of(&stand, &new).await, before);
    for share in ["50%25", "80%25", "100%25"] {
        operator(&stand, &format!("/canary?share={share}")).await.succeeds(200);
        let now = callers_of(&stand, &new).await;
        assert!(now.is_superset(&before), "at {share} the callers {now:?} do not include all of {before:?}");
        before = now;
    }
    assert_eq!(before.len(), usize::from(CALLERS));
    operator(&stand, "/canary?share=50%25").await.succeeds(200);
    let half = callers_of(&stand, &new).await;
    stand.shop.restart().await;
    assert_eq!(callers_of(&stand, &new).await, half);
}

#[tokio::test(flavor = "multi_thread")]
async fn both_revisions_use_the_new_schema_while_a_canary_runs() {
    let stand = Stand::with(manifest("watch = \"10m\"", "")).await;
    let (old, new) = (stand.active().await, digest(&variant("additive")));
    let report = stand.send("?canary=50%25", variant("additive")).await;
    let steps = report.succeeds(200)["steps"].as_array().unwrap().clone();
    let migrated = steps.iter().find(|step| step["step"] == "migrated").unwrap();
    let note = migrated["note"].as_str().unwrap();
    assert!(note.starts_with("schema 1 to 2 in ") && note.ends_with(" s; no write waited"), "{note}");
    let schema = stand.shop.schema_version("variant").await;
    assert_eq!((schema, &stand.status().await["schema"]), (2, &json!(1)), "the old revision still expects schema 1");
    let mut wrote = BTreeSet::new();
    for number in 1..=CALLERS {
        let client = stand.shop.anon().calling_from(number);
        let written = client.post("/variant/items", json!({ "name": "mixed" })).await;
        written.succeeds(201);
        wrote.insert(written.header("x-comptoir-revision").to_owned());
        assert_eq!(
            client.get("/variant/items").await.succeeds(200)["items"],
            number,
            "each sees what all have written"
        );
    }
    assert_eq!(wrote, BTreeSet::from([label(&old), label(&new)]));
    operator(&stand, "/canary/abort").await.succeeds(200);
    stand.serves(&old).await;
    stand.add("after").await.succeeds(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_gets_the_same_revision_from_every_address() {
    let shop = Shop::open().await;
    let user = shop.user("marta").await;
    let deployed = shop.operator().request(Method::PUT, "/services/orders?canary=50%25").body(copy("orders"));
    send(deployed).await.succeeds(200);
    let mut revisions = BTreeSet::new();
    let mut anonymous = BTreeSet::new();
    for number in 1..=CALLERS {
        let answer = user.calling_from(number).get("/orders").await;
        revisions.insert(answer.header("x-comptoir-revision").to_owned());
        let answer = shop.anon().calling_from(number).get("/products").await;
        anonymous.insert(answer.header("x-comptoir-revision").to_owned());
    }
    assert_eq!((revisions.len(), anonymous.len()), (1, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_operator_can_request_a_canary_without_traffic() {
    let stand = Stand::open().await;
    let (old, new) = (stand.active().await, digest(&variant("good-2")));
    stand.send("?canary=0%25", variant("good-2")).await.succeeds(200);
    assert_eq!(callers_of(&stand, &new).await, BTreeSet::new());
    let token = std::fs::read_to_string(stand.shop.data.path().join("admin.token")).unwrap();
    let (token, anon) = (token.trim(), stand.shop.anon());
    for digest in [&old, &new] {
        let answer = ask(&anon, &label(digest), Some(token)).await;
        answer.succeeds(200);
        assert_eq!(answer.header("x-comptoir-revision"), label(digest));
    }
    ask(&anon, &label(&new), None).await.refuses(403, "VERSION_FORBIDDEN");
    ask(&anon, &label(&new), Some("guessed")).await.refuses(403, "VERSION_FORBIDDEN");
    for unknown in ["variant@0123456789ab", "other@0123456789ab", &format!("variant@{}", &new[..7]), &new, ""] {
        ask(&anon, unknown, Some(token)).await.refuses(404, "VERSION_NOT_FOUND");
    }
    operator(&stand, "/canary/abort").await.succeeds(200);
    ask(&anon, &label(&new), Some(token)).await.refuses(404, "VERSION_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_canary_is_active_and_can_be_rolled_back() {
    let mut stand = Stand::open().await;
    let old = stand.active().await;
    let new = digest(&variant("good-2"));
    stand.send("?canary=5%25", variant("good-2")).await.succeeds(200);
    assert_eq!(stand.active().await, old);
    assert_eq!(stand.status().await["canary"]["revision"], new);
    let promoted = operator(&stand, "/canary/promote?reason=it+does+well").await;
    let report = &promoted.succeeds(200)[0];
    assert_eq!([&report["from"], &report["to"]], [&old, &new]);
    assert!(report["active_since"].is_f64());
    stand.serves(&new).await;
    let history = stand.history().await;
    assert_eq!(ends(&history)[..2], [("promote", "active"), ("canary", "promoted")]);
    assert_eq!(history[0]["reason"], "it does well");
    stand.shop.restart().await;
    stand.serves(&new).await;
    stand.roll_back("").await.succeeds(200);
    stand.serves(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_canary_is_gone_and_may_be_deployed_again() {
    let mut stand = Stand::open().await;
    let old = stand.active().await;
    stand.send("?canary=100%25", variant("good-2")).await.succeeds(200);
    assert_eq!(operator(&stand, "/canary/abort?reason=not+today").await.succeeds(200)["services"], json!(["variant"]));
    stand.serves(&old).await;
    let history = stand.history().await;
    assert_eq!(ends(&history)[0], ("canary", "aborted"));
    assert_eq!(history[0]["detail"], "not today");
    for path in ["/canary/abort", "/canary/promote", "/canary?share=5%25"] {
        operator(&stand, path).await.refuses(409, "NO_CANARY");
    }
    stand.shop.restart().await;
    stand.serves(&old).await;
    let new = stand.deployed("good-2").await;
    stand.serves(&new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_performs_worse_is_reverted_automatically() {
    let mut stand = Stand::with(manifest("watch = \"10m\"", "")).await;
    let old = stand.active().await;
    stand.send("?canary=60%25", variant("fails-some")).await.succeeds(200);
    let callers: Vec<Client> = (1..=CALLERS).map(|number| stand.shop.anon().calling_from(number)).collect();
    let history = loop {
        for caller in &callers {
            caller.get("/variant/items").await;
        }
        let history = stand.history().await;
        if history[0]["result"] != "canary" {
            break history;
        }
    };
    assert_eq!(ends(&history)[0], ("canary", "reverted"));
    let why = history[0]["detail"].as_str().unwrap();
    // By chance, all requests so far may have met the canary. Then there is no share of the previous revision to name.
    assert!(why.starts_with("GET /variant/items failed"), "{why}");
    stand.serves(&old).await;
    let again = stand.send("?canary=1%25", variant("fails-some")).await;
    refuses(&again, 422, "DEPLOY_REFUSED", "verified", "the host has already reverted this component");
    stand.shop.restart().await;
    stand.serves(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_canary_runs_its_service_refuses_other_changes() {
    let stand = Stand::open().await;
    let first = stand.deployed("good-2").await;
    stand.send("?canary=5%25", variant("good-3")).await.succeeds(200);
    stand.deploy("good-4").await.refuses(409, "CANARY_RUNNING");
    stand.send("?canary=5%25", variant("good-4")).await.refuses(409, "CANARY_RUNNING");
    stand.roll_back("").await.refuses(409, "CANARY_RUNNING");
    operator(&stand, "/canary?share=0%25").await.succeeds(200);
    stand.send("?canary=0%25", variant("good-4")).await.succeeds(200);
    let history = stand.history().await;
    assert!(ends(&history).contains(&("canary", "replaced")), "{history:#?}");
    operator(&stand, "/canary/promote").await.succeeds(200);
    stand.serves(&digest(&variant("good-4"))).await;
    stand.roll_back("").await.succeeds(200);
    stand.serves(&first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_probe_or_an_invalid_share_starts_no_canary() {
    let stand = Stand::open().await;
    let bad = stand.send("?canary=5%25", variant("health-500")).await;
    refuses(&bad, 422, "DEPLOY_REFUSED", "probed", "500");
    for share in ["5", "101%25", "-1%25", "some"] {
        stand.send(&format!("?canary={share}"), variant("good-2")).await.refuses(400, "BAD_REQUEST");
        operator(&stand, &format!("/canary?share={share}")).await.refuses(400, "BAD_REQUEST");
    }
    let nothing = stand.shop.operator().get("/canary").await;
    assert_eq!(nothing.succeeds(200), &Value::Null);
    assert_eq!(callers_of(&stand, &digest(&variant("health-500"))).await, BTreeSet::new());
}
