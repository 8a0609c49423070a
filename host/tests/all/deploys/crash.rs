//! SIGKILL at random moments of a deploy.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use testing::process::{Operator, Process};

use super::load::Wire;
use super::{label, serve, variant};

/// Hosts that crash in parallel, and the crashes of each: fifty in all.
const HOSTS: usize = 5;
const CRASHES: usize = 10;

/// Deploys one component after the other until the host dies.
async fn deploy_on(operator: Operator) {
    for turn in 0.. {
        let component = variant(if turn % 2 == 0 { "good-2" } else { "good-3" });
        if operator.request(reqwest::Method::PUT, "/services/variant").body(component).send().await.is_err() {
            return;
        }
    }
}

/// Asserts that the active revision is the one of the history, and that no deploy is reported as running.
async fn is_consistent(process: &Process) {
    let operator = process.operator();
    let history = operator.history().await;
    let results: Vec<&str> = history.iter().map(|line| line["result"].as_str().unwrap()).collect();
    assert!(!results.contains(&"running"), "{results:?}");
    let in_charge = history.iter().find(|line| ["active", "kept"].contains(&line["result"].as_str().unwrap()));
    let in_charge = in_charge.expect("a revision was activated")["to"].as_str().unwrap();
    assert_eq!(operator.get("/services/variant").await.succeeds(200)["revision"], in_charge);
    let mut wire = Wire::open(process.gateway).await.unwrap();
    for method in ["GET", "POST"] {
        let (status, revision) = wire.send(method, "/variant/items").await.unwrap();
        assert!(status < 300, "{method} was answered with {status}");
        assert_eq!(revision, label(in_charge));
    }
}

/// Kills one host after the other in one folder, each at another moment of a deploy.
async fn crash_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = serve(folder.path()).await;
    for _ in 0..CRASHES {
        let deploys = tokio::spawn(deploy_on(process.operator()));
        let moment = RandomState::new().build_hasher().finish() % 40;
        for _ in 0..moment {
            process.operator().get("/livez").await;
        }
        process.kill().await;
        deploys.await.unwrap();
        process = serve(folder.path()).await;
        is_consistent(&process).await;
    }
    process.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_the_host_serves_the_revision_in_its_history() {
    let hosts: Vec<_> = (0..HOSTS).map(|_| tokio::spawn(crash_on())).collect();
    for host in hosts {
        host.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_cut_off_by_a_crash_is_recorded_as_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let process = serve(folder.path()).await;
    let operator = process.operator();
    let begun = operator.clone();
    let deploy = tokio::spawn(async move {
        begun.request(reqwest::Method::PUT, "/services/variant").body(variant("health-waits")).send().await
    });
    while operator.history().await[0]["result"] != "running" {
        tokio::task::yield_now().await;
    }
    process.kill().await;
    assert!(deploy.await.unwrap().is_err(), "the deploy got no answer");
    let process = serve(folder.path()).await;
    let history = process.operator().history().await;
    assert_eq!([&history[0]["action"], &history[0]["result"]], ["deploy", "interrupted"]);
    is_consistent(&process).await;
    process.kill().await;
}
