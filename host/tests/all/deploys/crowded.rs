//! Deploys into a host whose instances are all taken: one that is asked what it is needs a place like any other.

use reqwest::Method;
use tokio::task::JoinHandle;

use super::{Stand, manifest, refuses, variant};

impl Stand {
    /// A host with one place, and the request that has it.
    async fn full(queue_time: &str) -> (Self, JoinHandle<reqwest::Result<reqwest::Response>>) {
        let limits = format!("concurrency = 1, time = \"1m\", cpu = \"1m\", queue_time = \"{queue_time}\"");
        let stand = Self::with(manifest("", &limits)).await;
        let holder = tokio::spawn(stand.shop.anon().request(Method::GET, "/variant/wait").send());
        stand.until_places(1, 0).await;
        (stand, holder)
    }

    /// Waits until so many instances are in use and so many are waited for.
    async fn until_places(&self, in_use: u64, waiting: u64) {
        let reached = async {
            while {
                let places = &self.status().await["instances"];
                (places["in_use"].as_u64(), places["waiting"].as_u64()) != (Some(in_use), Some(waiting))
            } {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(super::PATIENCE, reached).await.expect("it comes to that");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_waits_for_a_place_and_is_served() {
    let (stand, holder) = Stand::full("1m").await;
    let order = stand.shop.operator().request(Method::PUT, "/services/variant").body(variant("good-2"));
    let deploy = tokio::spawn(crate::harness::send(order));
    stand.until_places(1, 1).await;
    holder.abort();
    let new = deploy.await.unwrap().succeeds(200)["to"].as_str().unwrap().to_owned();
    stand.serves(&new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_gets_no_place_in_time_is_refused_and_says_so() {
    let (stand, holder) = Stand::full("20ms").await;
    let old = stand.active().await;
    let answer = stand.deploy("good-2").await;
    let reason = "no instance became free within 20ms to ask it what it is: send it again";
    refuses(&answer, 422, "DEPLOY_REFUSED", "described", reason);
    holder.abort();
    stand.until_places(0, 0).await;
    stand.serves(&old).await;
    let new = stand.deployed("good-2").await;
    stand.serves(&new).await;
}
