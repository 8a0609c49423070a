//! The shop in its own process. A test may kill it at any moment and start it again on the same folder.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::built::{compiled, component, host_folder, program};
use crate::databases;

/// A host that serves the shop. Dropping this kills it.
pub struct ShopProcess {
    child: Child,
    started: Instant,
}

/// What a host announces when it begins to serve.
pub struct Serves {
    /// The URL of the gateway.
    pub gateway: String,
    /// The URL of the admin listener.
    pub admin: String,
    /// The time from the start of the process to the announcement.
    pub took: Duration,
}

/// The file that collects the host's standard error.
pub fn log(folder: &Path) -> PathBuf {
    folder.join("log")
}

/// The host's data folder.
pub fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The shipped manifest for a host in this folder: only the gateway listens for clients, and nothing runs out of time on a busy machine.
fn manifest(folder: &Path) -> String {
    let shipped = std::fs::read_to_string(host_folder().join("comptoir.toml")).unwrap();
    let lines = shipped.lines().filter(|line| !line.starts_with("listen = ")).map(|line| {
        let Some((_, file)) = line.split_once("/component/") else { return line.to_owned() };
        let name = file.trim_end_matches(".wasm\"");
        format!("component = {:?}", component(name))
    });
    // All clients of a test share one address, so its share of connections must be large.
    let text = lines
        .collect::<Vec<_>>()
        .join("\n")
        .replace("\ncpu = \"1s\"", "\nstatement_time = \"1m\"\ntransaction_time = \"1m\"\ncpu = \"1m\"")
        .replace("\nqueue_time = \"1s\"", "\nqueue_time = \"1m\"")
        .replace("[listeners]\n", "[listeners]\nconnections_each = 16384\nbodies_each = \"256 MiB\"\n");
    text + "\n[passwords]\nqueue_time = \"1m\"\n" + &databases::manifest_lines(folder)
}

impl ShopProcess {
    /// Starts the process. It does not serve yet.
    pub fn spawn(folder: &Path) -> Self {
        Self::spawn_with(folder, Vec::new())
    }

    /// Starts the process with these environment variables.
    pub fn spawn_with(folder: &Path, environment: Vec<(&str, OsString)>) -> Self {
        let file = folder.join("comptoir.toml");
        std::fs::write(&file, manifest(folder)).unwrap();
        let child = Command::new(program())
            .args(["serve", "--log", "error", "--gateway", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--manifest"])
            .arg(file)
            .arg("--data")
            .arg(data(folder))
            .arg("--cache")
            .arg(compiled())
            .envs(environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::options().append(true).create(true).open(log(folder)).unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("the program runs");
        Self { child, started: Instant::now() }
    }

    /// Waits until the host serves. None if the process ended before.
    pub async fn serves(&mut self) -> Option<Serves> {
        let mut said = BufReader::new(self.child.stdout.take().expect("`serves` is called once")).lines();
        let mut gateway = None;
        while let Some(line) = said.next_line().await.unwrap() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("gateway"), address) => gateway = address.map(str::to_owned),
                (Some("admin"), Some(admin)) => {
                    let (gateway, admin) = (gateway.expect("the gateway is announced first"), admin.to_owned());
                    return Some(Serves { gateway, admin, took: self.started.elapsed() });
                }
                _ => {}
            }
        }
        None
    }

    /// Resident memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id().expect("the process runs"))).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().expect("the process runs")).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Sends SIGKILL and waits until the process ended.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().await.unwrap();
    }
}
