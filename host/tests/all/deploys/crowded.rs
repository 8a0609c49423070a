//! Deploys into a host without free instance slots. A component needs a slot to describe itself.

use std::time::Duration;

use comptoir::host::Options;
use comptoir::manifest::Manifest;
use reqwest::Method;
use serde_json::json;
use testing::{Shop, component, manifest_of, send};
use tokio::task::JoinHandle;

use super::{Stand, digest, manifest, manifest_text, refuses, variant};

/// A request that occupies an instance slot until it is aborted.
type Holder = JoinHandle<reqwest::Result<reqwest::Response>>;

/// A queue time so short that a request without a free slot is refused at once.
const ONE_PLACE: &str = "concurrency = 1, time = \"1m\", cpu = \"1m\", queue_time = \"20ms\"";

impl Stand {
    /// Occupies the service's only slot.
    async fn hold(&self) -> Holder {
        let holder = tokio::spawn(self.shop.anon().request(Method::GET, "/variant/wait").send());
        self.until_slots("variant", 1, 0).await;
        holder
    }

    /// Waits until this many instances of a service are in use and this many requests wait for one.
    async fn until_slots(&self, service: &str, in_use: u64, waiting: u64) {
        let (operator, path) = (self.shop.operator(), format!("/services/{service}"));
        let reached = async {
            let mut looks = tokio::time::interval(Duration::from_millis(5));
            loop {
                looks.tick().await;
                let places = operator.get(&path).await.succeeds(200)["instances"].clone();
                if (places["in_use"].as_u64(), places["waiting"].as_u64()) == (Some(in_use), Some(waiting)) {
                    return;
                }
            }
        };
        tokio::time::timeout(super::PATIENCE, reached).await.expect("the service reaches these numbers");
    }

    /// Asserts that a request is refused because there is no free slot.
    async fn turns_away(&self) {
        assert_eq!(self.shop.anon().get("/variant/items").await.status, 503);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_waits_longer_for_a_slot_than_a_request() {
    let stand = Stand::with(manifest("", ONE_PLACE)).await;
    let holder = stand.hold().await;
    let order = stand.shop.operator().request(Method::PUT, "/services/variant").body(variant("good-2"));
    let deploy = tokio::spawn(send(order));
    stand.until_slots("variant", 1, 1).await;
    stand.turns_away().await;
    holder.abort();
    let new = deploy.await.unwrap().succeeds(200)["to"].as_str().unwrap().to_owned();
    stand.serves(&new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_that_must_compile_works_while_the_service_refuses_requests() {
    let stand = Stand::with(manifest("keep = 0", ONE_PLACE)).await;
    let old = stand.active().await;
    stand.deployed("good-2").await;
    let holder = stand.hold().await;
    let back = tokio::spawn(send(stand.shop.operator().request(Method::POST, "/services/variant/rollback")));
    stand.until_slots("variant", 1, 1).await;
    stand.turns_away().await;
    holder.abort();
    back.await.unwrap().succeeds(200);
    stand.serves(&old).await;
}

/// A host with one slot for two services, and a request to the other service that occupies it.
async fn held_by_another(component: &str, change: impl FnOnce(Options) -> Options) -> (Stand, Holder) {
    let other = "[services.caller]\ncomponent = \"guest_caller.wasm\"\nmounts = [\"/caller\"]\naccess = \"public\"\n\
                 grants = [\"storage\", \"tokens\", \"token-verifier\", \"passwords\", \"audit\"]\ncalls = [\"caller\"]\n\
                 limits = { time = \"1m\" }\n";
    let variant = manifest_text("", "queue_time = \"20ms\", time = \"1s\"", component);
    let manifest = Manifest { instances: 1, ..manifest_of(&format!("{other}{variant}")) };
    let stand = Stand { shop: Shop::with_options(manifest, change).await };
    let a_minute = json!([{ "poll": [60_000_000_000_u64] }]);
    let holder = tokio::spawn(stand.shop.anon().request(Method::POST, "/caller/x").json(&a_minute).send());
    stand.until_slots("caller", 1, 0).await;
    (stand, holder)
}

const NO_SLOT: &str = "no instance became free within 1.02s to describe the component: send it again";

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_without_a_slot_in_time_is_refused_with_the_reason() {
    let (stand, holder) = held_by_another(component("guest_variant").to_str().unwrap(), |options| options).await;
    let old = stand.active().await;
    refuses(&stand.deploy("good-2").await, 422, "DEPLOY_REFUSED", "described", NO_SLOT);
    assert_eq!(stand.active().await, old);
    holder.abort();
    stand.until_slots("caller", 0, 0).await;
    let new = stand.deployed("good-2").await;
    assert_eq!(stand.active().await, new);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_without_a_slot_in_time_is_retried() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("variant.wasm");
    std::fs::write(&file, variant("good")).unwrap();
    let watched = |options| Options { watch: true, ..options };
    let (stand, holder) = held_by_another(file.to_str().unwrap(), watched).await;
    let new = variant("good-2");
    std::fs::write(&file, &new).unwrap();
    let history = stand.until(|history| history[0]["result"] == "refused" && history[0]["to"] == digest(&new)).await;
    assert!(history[0]["detail"].as_str().unwrap().contains(NO_SLOT), "{history:#?}");
    holder.abort();
    stand.until(|history| history[0]["result"] == "active" && history[0]["to"] == digest(&new)).await;
}
