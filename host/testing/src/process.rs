//! The `comptoir` program, run as a process.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::built::{compiled, program};
use crate::client::{Answer, send};
use crate::databases;

/// Runs a command of the program and waits until it ends.
pub async fn run(arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).stdin(Stdio::null()).output().await.expect("the program runs")
}

/// A host in its own process. Dropping this kills it.
pub struct Process {
    child: Child,
    pub gateway: SocketAddr,
    log: PathBuf,
    admin: SocketAddr,
    token: String,
    http: reqwest::Client,
}

impl Process {
    /// Starts a host with these services in a folder, and waits until it serves.
    pub async fn serve(folder: &Path, services: &str) -> Self {
        Self::serve_with_log(folder, services, "off").await
    }

    /// The same, with a log of this level.
    pub async fn serve_with_log(folder: &Path, services: &str, level: &str) -> Self {
        let text = format!(
            "instances = 100\n[passwords]\nqueue_time = \"1m\"\n[listeners]\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n\
             {services}\n{}",
            databases::manifest_lines(folder)
        );
        let (manifest, data, log) = (folder.join("comptoir.toml"), folder.join("data"), folder.join("log"));
        std::fs::write(&manifest, text).unwrap();
        let mut child = Command::new(program())
            .args(["serve", "--log", level, "--manifest"])
            .arg(manifest)
            .arg("--data")
            .arg(&data)
            .arg("--cache")
            .arg(compiled())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("the program runs");
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = Vec::new();
        let announced = |said: &[String], what: &str| {
            let line = said.iter().find(|line| line.trim_start().starts_with(what))?;
            line.split("http://").nth(1)?.split_whitespace().next()?.parse::<SocketAddr>().ok()
        };
        let (gateway, admin) = loop {
            let ended =
                || panic!("the host ended before it served: {said:#?} {}", std::fs::read_to_string(&log).unwrap());
            let line = lines.next_line().await.unwrap().unwrap_or_else(ended);
            said.push(line);
            if let (Some(gateway), Some(admin)) = (announced(&said, "gateway"), announced(&said, "admin")) {
                break (gateway, admin);
            }
        };
        let token = std::fs::read_to_string(data.join("admin.token")).unwrap().trim().to_owned();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { child, gateway, log, admin, token, http }
    }

    pub fn operator(&self) -> Operator {
        Operator { base: format!("http://{}", self.admin), token: self.token.clone(), http: self.http.clone() }
    }

    /// Open file descriptors.
    pub fn descriptors(&self) -> usize {
        let id = self.child.id().expect("the process runs");
        std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
    }

    /// Resets the peak of resident memory (proc_pid_clear_refs(5)).
    pub fn forget_peak_memory(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id().expect("the process runs")), "5").unwrap();
    }

    /// The peak of resident memory, in KiB.
    pub fn peak_memory_kib(&self) -> u64 {
        let id = self.child.id().expect("the process runs");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Standard error since the start. Without a log, this is what the program prints while it starts, and panics.
    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// The address of the admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Sends a signal to the process.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().expect("the process runs")).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Sends SIGKILL and waits until the process ended.
    pub async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// A client of the admin listener, with the operator's token.
#[derive(Clone)]
pub struct Operator {
    base: String,
    token: String,
    http: reqwest::Client,
}

impl Operator {
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    /// Deploys a component as the service `variant`.
    pub async fn deploy(&self, component: Vec<u8>) -> Answer {
        send(self.request(Method::PUT, "/services/variant").body(component)).await
    }

    /// The history of the service `variant`, newest first.
    pub async fn history(&self) -> Vec<Value> {
        self.get("/services/variant/history").await.succeeds(200).as_array().unwrap().clone()
    }
}
