//! The program: its output and log, its signals and exit codes, and its demands on the system.

mod archive;
mod compilation_cache;
mod compiler;
mod credentials;
mod dev;
mod exhausted;
mod failing;
mod flood;
mod logging;
mod new;
mod project;
mod served;
mod starting;
mod system;
mod terminal;
mod traces;
mod unread;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use testing::built::{compiled, program};
use testing::component;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

const UNRULY: &str = r#"[services.unruly]
component = "guest_unruly.wasm"
mounts = ["/unruly"]
public = ["/unruly"]
grants = ["storage"]
calls = ["unruly"]
"#;

/// `comptoir serve` on ports that the system picks.
struct Program {
    process: Child,
    log: Lines<BufReader<ChildStderr>>,
    gateway: String,
    admin: String,
    _folder: Arc<TempDir>,
}

/// A manifest with these services. `{name}.wasm` in them names a built component.
fn manifest(folder: &TempDir, services: &str) -> PathBuf {
    let built = component("guest_unruly").parent().unwrap().to_owned();
    let services = services.replace("component = \"", &format!("component = \"{}/", built.display()));
    let listeners = "[listeners]\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nhosts = [\"*\"]";
    let file = folder.path().join("comptoir.toml");
    std::fs::write(&file, format!("instances = 50\n{listeners}\n{services}")).unwrap();
    file
}

/// The command that serves them, with the compilation cache that all tests share.
fn serve(folder: &TempDir, services: &str) -> Command {
    let mut command = serve_alone(folder, services);
    command.arg("--cache").arg(compiled());
    command
}

/// The command that serves them, with an empty compilation cache in the data folder.
fn serve_alone(folder: &TempDir, services: &str) -> Command {
    // Ignoring SIGXFSZ makes a write beyond the limit of file sizes fail like one on a full disk.
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(program());
    command.args(["serve", "--log-format", "json", "--manifest"]).arg(manifest(folder, services));
    command.arg("--data").arg(folder.path().join("data"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

impl Program {
    async fn start() -> Self {
        Self::serving(UNRULY).await
    }

    async fn serving(services: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Self::spawn(serve(&folder, services), &folder).await
    }

    async fn spawn(mut command: Command, folder: &Arc<TempDir>) -> Self {
        let mut process = command.spawn().unwrap();
        let mut announced = BufReader::new(process.stdout.take().unwrap()).lines();
        let log = BufReader::new(process.stderr.take().unwrap()).lines();
        let mut address = async |of: &str| loop {
            let line = announced
                .next_line()
                .await
                .unwrap()
                .unwrap_or_else(|| panic!("the program ended before it announced its {of}"));
            if let Some(rest) = line.trim().strip_prefix(of) {
                break rest.split_whitespace().next().unwrap().to_owned();
            }
        };
        let (gateway, admin) = (address("gateway").await, address("admin").await);
        Self { process, log, gateway, admin, _folder: folder.clone() }
    }

    /// The log line of this request.
    async fn logged(&mut self, request_id: &str) -> Value {
        self.until_logged(|line| line["request_id"] == request_id).await
    }

    /// The next line of the log that matches.
    async fn until_logged(&mut self, like: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.log.next_line().await.unwrap().expect("the log has the line");
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            if like(&line) {
                return line;
            }
        }
    }

    /// The peak of resident memory, in KiB.
    fn most_resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id().unwrap())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id().unwrap()).unwrap()).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }
}

/// Whether a process ignores SIGHUP.
fn ignores_hang_up(process: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap() & 1 == 1
}

async fn get(url: &str, request_id: &str) -> reqwest::Response {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    client.get(url).header("x-request-id", request_id).send().await.unwrap()
}

#[tokio::test]
async fn the_log_line_of_a_5xx_has_its_id_its_cause_and_the_guests_output() {
    let mut program = Program::start().await;
    let answer = get(&format!("{}/unruly/trap", program.gateway), "lost-order-7").await;
    assert_eq!((answer.status().as_u16(), answer.headers()["x-request-id"].to_str().unwrap()), (500, "lost-order-7"));
    let revision = answer.headers()["x-comptoir-revision"].to_str().unwrap().to_owned();
    let line = program.logged("lost-order-7").await;
    assert_eq!(line["level"], "ERROR", "{line}");
    assert_eq!((line["status"].as_u64(), &line["service"]), (Some(500), &Value::from("unruly")), "{line}");
    assert_eq!((&line["route"], line["revision"].as_str()), (&Value::from("/unruly/trap"), Some(&*revision)), "{line}");
    assert!(line["cause"].as_str().unwrap().starts_with("wasm trap: wasm `unreachable`"), "{line}");
    assert!(line["guest_output"].as_str().unwrap().starts_with("about to trap"), "{line}");
    assert!(line["duration_us"].as_u64().is_some(), "{line}");
}

#[tokio::test]
async fn a_successful_request_is_one_log_line_without_a_cause() {
    let mut program = Program::start().await;
    assert_eq!(get(&format!("{}/unruly/headers?secret=1", program.gateway), "fine-1").await.status(), 200);
    let line = program.logged("fine-1").await;
    assert_eq!((&line["level"], line["status"].as_u64()), (&Value::from("INFO"), Some(200)), "{line}");
    assert!(line.get("cause").is_none() && !line.to_string().contains("secret"), "{line}");
    assert_eq!((&line["path"], &line["client"]), (&"/unruly/headers".into(), &"127.0.0.1".into()), "{line}");
}

#[tokio::test]
async fn the_log_has_path_and_client_even_without_a_route_and_for_the_operator() {
    let mut program = Program::start().await;
    let missing = get(&format!("{}/no/such%2Fpath?token=secret", program.gateway), "nowhere-1").await;
    assert_eq!(missing.status(), 404);
    let line = program.logged("nowhere-1").await;
    assert_eq!((&line["path"], &line["client"]), (&"/no/such%2Fpath".into(), &"127.0.0.1".into()), "{line}");
    assert!(!line.to_string().contains("secret"), "{line}");
    get(&format!("{}/livez", program.admin), "alive-1").await;
    let line = program.logged("alive-1").await;
    assert_eq!((&line["path"], &line["client"]), (&"/livez".into(), &"127.0.0.1".into()), "{line}");
    let long = format!("/{}", "a".repeat(5000));
    get(&format!("{}{long}", program.gateway), "long-1").await;
    assert_eq!(program.logged("long-1").await["path"], long[..1024]);
}

#[tokio::test]
async fn the_log_readyz_and_the_metrics_report_how_memory_is_reset() {
    let mut program = Program::start().await;
    let chosen = "chose the method that resets the memory of freed instances";
    let line = program.until_logged(|line| line["message"] == chosen).await;
    let (reset, reason) = (line["reset"].as_str().unwrap(), line["reason"].as_str().unwrap());
    assert!(["written pages", "whole memory"].contains(&reset) && !reason.is_empty(), "{line}");
    let ready = get(&format!("{}/readyz", program.admin), "ready").await;
    assert_eq!(ready.status(), 200);
    let ready: Value = serde_json::from_str(&ready.text().await.unwrap()).unwrap();
    let expected = serde_json::json!({ "reset": reset, "safe": true, "reason": reason });
    assert_eq!(ready["memory"], expected, "{ready}");
    let metrics = get(&format!("{}/metrics", program.admin), "metrics").await.text().await.unwrap();
    let expected = format!("comptoir_memory_reset_safe{{reset=\"{reset}\",reason=\"{reason}\"}} 1");
    assert!(metrics.contains(&expected), "{metrics}");
}

#[tokio::test]
async fn a_valid_trace_id_is_in_the_log_of_its_request_and_its_calls() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let mut command = serve(&folder, UNRULY);
    command.args(["--log", "comptoir=debug"]);
    let mut program = Program::spawn(command, &folder).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let (valid, invalid) = (format!("00-{trace}-b7ad6b7169203331-01"), format!("00-{trace}-0000000000000000-01"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (id, sent, expected) in [("traced", &valid, Value::from(trace)), ("not-traced", &invalid, Value::Null)] {
        let request = client.get(format!("{}/unruly/call/unruly", program.gateway));
        let answer = request.header("x-request-id", id).header("traceparent", sent).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers().get("traceparent")), (200, None));
        for message in ["call", "request"] {
            let line = program.until_logged(|line| line["request_id"] == id && line["message"] == message).await;
            assert_eq!(line["trace_id"], expected, "{line}");
        }
    }
}

#[tokio::test]
async fn after_a_termination_signal_running_requests_complete_and_the_exit_is_success() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut program = Program::start().await;
        let url = format!("{}/unruly/nap", program.gateway);
        let running = tokio::spawn(async move { get(&url, "nap").await.status() });
        let waiting = format!("{}/unruly/headers", program.gateway);
        // When a second request is answered, the first was accepted.
        assert_eq!(get(&waiting, "second").await.status(), 200);
        program.signal(signal);
        let exit = program.process.wait().await.unwrap();
        assert!(exit.success(), "{exit}");
        // The nap was answered completely or never accepted, but not cut off.
        if let Ok(status) = running.await {
            assert_eq!(status, 200);
        }
    }
}

#[tokio::test]
async fn an_unusable_environment_ends_the_program_with_one_sentence_and_failure() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = serve(&folder, UNRULY);
    std::fs::write(folder.path().join("data"), "a file where the folder should be").unwrap();
    let output = command.output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success());
    let is_complaint = |line: &&str| !line.contains("starting") && !line.contains("file descriptors");
    let complaints: Vec<_> = said.lines().filter(is_complaint).collect();
    assert_eq!(complaints.len(), 1, "{said}");
    assert!(complaints[0].starts_with("comptoir: cannot use the data folder "), "{said}");
}

#[tokio::test]
async fn help_lists_every_option_with_its_environment_variable() {
    let output = Command::new(program()).args(["serve", "--help"]).output().await.unwrap();
    let help = String::from_utf8_lossy(&output.stdout).into_owned();
    for option in ["manifest", "data", "cache", "gateway", "admin", "operator-password-file", "log", "log-format"] {
        let variable = format!("COMPTOIR_{}", option.to_uppercase().replace('-', "_"));
        assert!(
            help.contains(&format!("--{option} ")) && help.contains(&format!("[env: {variable}=")),
            "{option}: {help}"
        );
    }
}
