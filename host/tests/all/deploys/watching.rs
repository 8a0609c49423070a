//! Commands that print while something happens: the steps of a deploy, `--watch` and `logs --follow`.

use std::process::Stdio;

use serde_json::Value;
use testing::built::program;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::{Stand, digest, variant};

/// A command that prints while it runs.
struct Running {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(stand: &Stand, arguments: &[&str]) -> Self {
        let mut command = Command::new(program());
        command.args(arguments).arg("--admin").arg(stand.shop.addresses().admin.to_string());
        command.arg("--data").arg(stand.shop.data.path()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut process = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines }
    }

    /// Waits for a line with these words.
    async fn prints(&mut self, words: &[&str]) -> String {
        let mut before = Vec::new();
        loop {
            let line = self.lines.next_line().await.unwrap();
            let line = line.unwrap_or_else(|| panic!("it ended and did not print {words:?}: {before:#?}"));
            if words.iter().all(|word| line.contains(word)) {
                return line;
            }
            before.push(line);
        }
    }

    /// All lines that follow, after it has ended well.
    async fn ends(mut self) -> String {
        let mut rest = String::new();
        while let Some(line) = self.lines.next_line().await.unwrap() {
            rest += &format!("{line}\n");
        }
        let output = self.process.wait_with_output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        rest
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_steps_of_a_deploy_are_printed_while_it_runs_and_only_once() {
    let stand = Stand::open().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), variant("health-waits")).unwrap();
    let mut deploy = Running::start(&stand, &["deploy", "variant", file.path().to_str().unwrap()]);
    for step in ["received", "verified", "compiled", "linked", "described", "migrated"] {
        deploy.prints(&[step, " ms"]).await;
    }
    // The probe waits for this row, so the deploy still runs.
    stand.add("wake").await.succeeds(201);
    let rest = deploy.ends().await;
    let words: Vec<&str> = rest.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(words, ["probed", "active", "variant:"], "{rest}");
    stand.serves(&digest(&variant("health-waits"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_status_shows_each_change_until_the_host_stops() {
    let mut stand = Stand::open().await;
    let old = stand.active().await;
    let mut status = Running::start(&stand, &["status", "--watch"]);
    status.prints(&["SERVICE", "REVISION", "SINCE"]).await;
    status.prints(&["variant", &old[..12]]).await;
    let new = stand.deployed("good-2").await;
    status.prints(&["variant", &new[..12]]).await;
    status.prints(&["variant: kept", &old[..12]]).await;
    stand.shop.stop().await;
    while status.lines.next_line().await.unwrap().is_some() {}
    let output = status.process.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("the host closed the connection: it has stopped"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watched_canary_shows_the_comparison_and_how_it_ended() {
    let stand = Stand::open().await;
    stand.send("?canary=100%25", variant("good-2")).await.succeeds(200);
    let mut watched = Running::start(&stand, &["canary", "--watch"]);
    watched.prints(&["canary for 100% of the callers"]).await;
    stand.add("one").await.succeeds(201);
    watched.prints(&["ROUTE", "ACTIVE", "CANARY", "SO FAR"]).await;
    watched.prints(&["variant", "POST /variant/items", "not worse"]).await;
    stand.shop.operator().post("/canary/abort?reason=enough", Value::Null).await.succeeds(200);
    let rest = watched.ends().await;
    let new = digest(&variant("good-2"));
    assert!(rest.ends_with(&format!("variant: the canary {} was aborted: enough\n", &new[..12])), "{rest}");
    let nothing = Running::start(&stand, &["canary", "--watch"]).ends().await;
    assert_eq!(nothing, "no canary is running\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn followed_logs_show_the_wanted_requests_as_they_come() {
    let stand = Stand::open().await;
    let failing = stand.deployed("fails-post").await;
    let mut logs = Running::start(&stand, &["logs", "-f", "--service", "variant", "--status", "5xx"]);
    logs.prints(&["TIME", "STATUS", "REQUEST"]).await;
    for _ in 0..2 {
        stand.shop.anon().get("/variant/items").await.succeeds(200);
        assert_eq!(stand.add("one").await.status, 500);
        let line = logs.prints(&["/variant"]).await;
        assert!(line.contains("  500 ") && line.contains("POST /variant/items"), "{line}");
        assert!(line.contains(&format!("variant@{}", &failing[..12])), "{line}");
        logs.prints(&["out", "internal error: fails-post"]).await;
    }
    let all = Running::start(&stand, &["logs", "--json"]).ends().await;
    let requests: Vec<Value> = all.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(requests.iter().any(|request| request["status"] == 200), "while it follows, the host keeps all: {all}");
    let at: Vec<f64> = requests.iter().map(|request| request["at"].as_f64().unwrap()).collect();
    assert!(at.is_sorted(), "the newest comes last: {all}");
    let newest = Running::start(&stand, &["logs", "--json", "-n", "1"]).ends().await;
    assert_eq!(newest.lines().count(), 1);
}
