//! The shop in a process of its own, which may be killed at any moment and started again on the same folder.

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

/// A host that serves the shop. Dropping it kills it.
pub struct ShopProcess {
    child: Child,
    started: Instant,
}

/// What a host said when it served.
pub struct Serves {
    /// Where, as URLs: for everybody, and for the operator.
    pub gateway: String,
    pub admin: String,
    /// From its start to that.
    pub took: Duration,
}

/// Where a folder keeps what the host says, and the host's own folder.
pub fn log(folder: &Path) -> PathBuf {
    folder.join("log")
}

pub fn data(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// The shipped manifest with the gateway as its only door, ample time for passwords, and its data where the suite keeps that of
/// this folder.
fn manifest(folder: &Path) -> String {
    let shipped = std::fs::read_to_string(host_folder().join("comptoir.toml")).unwrap();
    let lines = shipped.lines().filter(|line| !line.starts_with("listen = ")).map(|line| {
        let Some((_, file)) = line.split_once("/component/") else { return line.to_owned() };
        let name = file.trim_end_matches(".wasm\"");
        format!("component = {:?}", component(name))
    });
    // All clients of a test have one address.
    let text = lines
        .collect::<Vec<_>>()
        .join("\n")
        .replace("[listeners]\n", "[listeners]\nconnections_each = 16384\nbodies_each = \"256 MiB\"\n");
    text + "\n[passwords]\nqueue_time = \"1m\"\n" + &databases::manifest_lines(folder)
}

impl ShopProcess {
    /// Starts it. It does not serve yet.
    pub fn spawn(folder: &Path) -> Self {
        Self::spawn_with(folder, Vec::new())
    }

    /// Starts it with these variables in its environment.
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

    /// Waits until it serves. None if it ended before.
    pub async fn serves(&mut self) -> Option<Serves> {
        let mut said = BufReader::new(self.child.stdout.take().expect("asked once")).lines();
        let mut gateway = None;
        while let Some(line) = said.next_line().await.unwrap() {
            let mut words = line.split_whitespace();
            match (words.next(), words.next()) {
                (Some("gateway"), address) => gateway = address.map(str::to_owned),
                (Some("admin"), Some(admin)) => {
                    let (gateway, admin) = (gateway.expect("it comes first"), admin.to_owned());
                    return Some(Serves { gateway, admin, took: self.started.elapsed() });
                }
                _ => {}
            }
        }
        None
    }

    /// The memory that it takes, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().expect("it runs"))).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().expect("it runs")).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().await.unwrap();
    }
}
