//! Power cuts: acknowledged writes survive, whatever else the disk loses.
//!
//! Each part prints how many unsynced changes the cuts could undo. At zero, the part tested nothing. The last part is the
//! control: the laboratory must notice a disk that reports syncs that it did not do.

use std::path::Path;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;
use testing::crash_lab::{Lab, start};
use testing::ledger::random;
use testing::lost_writes::Disk;
use testing::shop_process::{ShopProcess, data, log};
use testing::{Client, component, send};

use crate::{conclude, print_work, row};

/// Maximum time from the beginning of a first start to the power cut, and from the beginning of a deploy.
const FIRST_START_MS: u64 = 400;
const DEPLOY_MS: u64 = 1200;

/// Runs all parts. Returns whether a check failed.
pub(crate) async fn cut(cycles: usize) -> bool {
    let seed = random(1 << 32);
    let Some(lab) = Lab::open_on_disk(seed).await else {
        row("power cuts", "skipped: the simulated disk needs Linux");
        return false;
    };
    row("seed of the power cuts", seed);
    [serving(lab, cycles).await, starting(cycles / 2, seed).await, deploying(cycles / 2, seed).await, lying(seed).await]
        .contains(&true)
}

/// Cuts the power while buyers write.
async fn serving(mut lab: Lab, cycles: usize) -> bool {
    for cycle in 1..=cycles {
        lab = lab.kill_once().await;
        if cycle % 20 == 0 {
            eprintln!("{cycle} of {cycles} power cuts, {} findings", lab.tally.findings.len());
        }
    }
    row("power cuts while serving", lab.tally.kills);
    row("power cuts while starting", lab.tally.kills_at_start);
    row("changes that could be lost", lab.tally.unsynced);
    print_work(&lab);
    conclude("lost, doubled, partial, damaged", &lab.tally.findings) || lab.tally.unsynced == 0
}

/// Cuts the power during a first start. The next start creates what is missing, and serves.
async fn starting(cycles: usize, seed: u64) -> bool {
    let (mut findings, mut unsynced) = (Vec::new(), 0);
    for cycle in 0..cycles {
        let own = tempfile::tempdir().unwrap();
        let mut disk = Disk::below(own.path(), seed + 1000 * cycle as u64).expect("the first disk was available too");
        let mut process = ShopProcess::spawn_with(own.path(), disk.environment());
        tokio::time::sleep(Duration::from_millis(random(FIRST_START_MS))).await;
        process.kill().await;
        unsynced += disk.cut();
        let mut process = ShopProcess::spawn_with(own.path(), disk.environment());
        match process.serves().await {
            Some(serves) => drop(Client::new(&serves.gateway).log_in("admin", "admin").await),
            None => findings.push(said(own.path())),
        }
    }
    row("power cuts during a first start", cycles);
    row("changes that could be lost", unsynced);
    conclude("starts that failed after a cut", &findings)
}

/// The last line that a host printed to standard error.
fn said(folder: &Path) -> String {
    let said = std::fs::read_to_string(log(folder)).unwrap_or_default();
    said.lines().last().unwrap_or("the host printed nothing").to_owned()
}

/// Cuts the power during deploys. An acknowledged deploy is active and in the history.
async fn deploying(cycles: usize, seed: u64) -> bool {
    let own = tempfile::tempdir().unwrap();
    let mut disk = Disk::below(own.path(), seed).expect("the first disk was available too");
    let (mut findings, mut unsynced, mut acknowledged) = (Vec::new(), 0, Vec::new());
    let (mut number, mut count) = (0, 0);
    let (mut process, mut serves) = start(own.path(), Some(&disk)).await;
    for _ in 0..cycles {
        let deploys = tokio::spawn(deploy_on(operator(own.path(), &serves.admin), number));
        tokio::time::sleep(Duration::from_millis(random(DEPLOY_MS))).await;
        process.kill().await;
        unsynced += disk.cut();
        let (answered, sent, refused) = deploys.await.unwrap();
        number = sent;
        findings.extend(refused);
        count += answered.len();
        acknowledged.extend(answered);
        (process, serves) = start(own.path(), Some(&disk)).await;
        check_deploys(&operator(own.path(), &serves.admin), &mut acknowledged, &mut findings).await;
    }
    process.kill().await;
    row("power cuts during deploys", cycles);
    row("acknowledged deploys", count);
    row("changes that could be lost", unsynced);
    conclude("deploys refused, lost or damaged", &findings) || count == 0
}

fn operator(folder: &Path, admin: &str) -> Client {
    let token = std::fs::read_to_string(data(folder).join("admin.token")).unwrap();
    Client::new(admin).with_token(token.trim())
}

/// Deploys one new component after the other until the host dies.
///
/// Returns the digests of the acknowledged deploys, the number sent, and the answer if one was refused.
async fn deploy_on(operator: Client, mut number: usize) -> (Vec<String>, usize, Option<String>) {
    let (mut acknowledged, mut refused) = (Vec::new(), None);
    let orders = std::fs::read(component("orders")).unwrap();
    loop {
        number += 1;
        // An empty custom section whose name no other deploy has (WebAssembly core specification, section 5.5.3).
        let name = format!("{number:010}");
        let bytes = [&orders[..], &[0, 11, 10], name.as_bytes()].concat();
        let Ok(answer) = operator.request(Method::PUT, "/services/orders").body(bytes).send().await else { break };
        let status = answer.status();
        let Ok(report) = answer.text().await else { break };
        if status != StatusCode::OK {
            refused = Some(report);
            break;
        }
        let report: Value = serde_json::from_str(&report).unwrap();
        acknowledged.push(report["data"]["to"].as_str().expect("a digest").to_owned());
    }
    (acknowledged, number, refused)
}

/// The active revision is the last acknowledged one, or the one that was being deployed. Notes which.
async fn check_deploys(operator: &Client, acknowledged: &mut Vec<String>, findings: &mut Vec<String>) {
    let serving = send(operator.request(Method::GET, "/services/orders")).await;
    let serving = serving.succeeds(200)["revision"].as_str().expect("a digest").to_owned();
    let history = send(operator.request(Method::GET, "/services/orders/history")).await;
    let lines = history.succeeds(200).as_array().unwrap();
    let in_charge = |line: &&Value| ["active", "kept"].contains(&line["result"].as_str().unwrap());
    let last = lines.iter().find(in_charge).expect("a revision was active");
    if last["to"] != *serving {
        findings.push(format!("{serving} is active, but the history says {last}"));
    }
    if acknowledged.last().is_some_and(|last| *last != serving) {
        let newer = lines.iter().filter(in_charge).take_while(|line| line["to"] != **acknowledged.last().unwrap());
        if newer.count() != 1 {
            findings.push(format!("{serving} is active, but {} was acknowledged last", acknowledged.last().unwrap()));
        }
    }
    // Older deploys may be on another page of the history. An earlier call found them.
    for digest in acknowledged.drain(..) {
        if !lines.iter().filter(in_charge).any(|line| line["to"] == *digest) {
            findings.push(format!("the deploy of {digest} is not in the history"));
        }
    }
    acknowledged.push(serving);
}

/// The control: the disk reports syncs that it did not do. The checks must find lost writes.
async fn lying(seed: u64) -> bool {
    let mut lab = Lab::open_on_disk(seed).await.expect("the first disk was available too");
    lab.disk.as_mut().expect("the lab was opened on a disk").lies = true;
    // The running host started on an honest disk. The next one starts on a lying disk.
    lab = lab.kill_once().await;
    let honest = lab.tally.findings.len();
    lab = lab.kill_once().await;
    row("found on a lying disk", lab.tally.findings.len() - honest);
    if honest != 0 || lab.tally.findings.is_empty() {
        println!("  the checks do not find lost writes: {:?}", lab.tally.findings);
    }
    honest != 0 || lab.tally.findings.is_empty()
}
