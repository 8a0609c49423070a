//! A host in its own process, with hostile services and a harmless sibling.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::code::ATTACKS;
use super::verdicts::{Verdict, ends_by_time, is_begun};
use crate::built::component;
use crate::process::Process;

/// Limits for attacks that the host must stop by time: short, so that the tests are quick.
const BRIEF: &str = r#"cpu = "150ms", time = "2s""#;

/// Limits for attacks that end without the clock, even on the slowest machine.
const AMPLE: &str = r#"cpu = "2m", time = "5m""#;

/// Limits of every attacker. It may have only few of the instances, because the host gives them out first come, first served.
const LIMITS: &str = r#"memory = "64 MiB", response = "8 MiB", concurrency = 16"#;

/// The path that starts an attack.
pub fn path_of(name: &str) -> String {
    let is_bare_code = ATTACKS.iter().any(|(bare, ..)| *bare == name);
    match (is_bare_code, ends_by_time(name)) {
        (true, _) => format!("/{name}/x"),
        (false, true) => format!("/hostile/{name}"),
        (false, false) => format!("/patient/{name}"),
    }
}

/// The manifest table of an attacker. The caller may append further keys.
fn attacker(name: &str, component: &str, ends_by_time: bool) -> String {
    let time = if ends_by_time { BRIEF } else { AMPLE };
    format!(
        "[services.{name}]\ncomponent = {component:?}\nmounts = [\"/{name}\"]\naccess = \"public\"\n\
         limits = {{ {LIMITS}, {time} }}\n"
    )
}

/// The host under attack.
pub struct Ground {
    process: Process,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Ground {
    /// Starts the host. `components` become services of their own, by name.
    pub async fn open(components: &[(&str, Vec<u8>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let plain = component("guest_plain_p2").display().to_string();
        let mut services =
            format!("[services.sibling]\ncomponent = {plain:?}\nmounts = [\"/sibling\"]\naccess = \"public\"\n");
        let hostile = component("guest_hostile").display().to_string();
        for (name, by_time) in [("hostile", true), ("patient", false)] {
            services += &attacker(name, &hostile, by_time);
            services += &format!("grants = [\"storage\"]\ncalls = [\"{name}\"]\n");
        }
        for (name, bytes) in components {
            let path = folder.path().join(format!("{name}.wasm"));
            std::fs::write(&path, bytes).unwrap();
            services += &attacker(name, &path.display().to_string(), ends_by_time(name));
        }
        let process = Process::serve(folder.path(), &services).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { process, http, _folder: folder }
    }

    /// The status and text of an answer. An incomplete answer has no text.
    ///
    /// If the guest fails before the head of its response left the host, the connection ends without one. The status is then 0.
    pub async fn get(&self, path: &str) -> (u16, Option<String>) {
        match self.http.get(self.url(path)).send().await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.ok()),
            Err(error) => {
                assert!(error.is_request() && !error.is_connect(), "{path}: {error:?}");
                (0, None)
            }
        }
    }

    /// Runs an attack. Describes the answer if it differs from the verdict.
    pub async fn differs(&self, (name, status, says): Verdict) -> Option<String> {
        let (got, text) = self.get(&path_of(name)).await;
        let fits = got == status && text.as_ref().is_some_and(|text| text.contains(says));
        let fits = fits || is_begun(name, got, text.as_deref());
        (!fits).then(|| format!("{name}: {got} {text:?}"))
    }

    /// Runs an attack whose answer must be incomplete. Describes the answer if it is complete.
    pub async fn is_whole(&self, name: &str) -> Option<String> {
        let (status, text) = self.get(&path_of(name)).await;
        text.map(|text| format!("{name}: {status} and {} bytes, but the answer must be incomplete", text.len()))
    }

    /// Retries a write while another guest holds the writer. False if a write fails for another reason.
    pub async fn until_written(&self) -> bool {
        loop {
            match self.get("/hostile/write").await {
                (200, Some(text)) if text == "done" => return true,
                (200, Some(text)) if text == "busy" => {}
                // It waited for the writer longer than its time limit.
                (504, _) => {}
                _ => return false,
            }
        }
    }

    /// Requests the sibling every five milliseconds from now on. The pause leaves the processor to the attacks.
    pub fn serve_sibling(&self) -> Sibling {
        let (ends, url) = (Arc::new(AtomicBool::new(false)), format!("http://{}/sibling/x", self.process.gateway));
        let (http, ended) = (self.http.clone(), ends.clone());
        let asking = tokio::spawn(async move {
            let (mut served, mut pace) = (0, interval(Duration::from_millis(5)));
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !ended.load(Ordering::Relaxed) {
                let answer = http.get(&url).send().await.unwrap();
                assert_eq!(answer.status(), 200);
                served += 1;
                pace.tick().await;
            }
            served
        });
        Sibling { ends, asking }
    }

    /// The URL of a path on the gateway.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.process.gateway)
    }

    /// Measures the host's peak memory from now on.
    pub fn forget_peak_memory(&self) {
        self.process.forget_peak_memory();
    }

    pub fn peak_memory_mib(&self) -> u64 {
        self.process.peak_memory_kib() / 1024
    }
}

/// A task that requests the sibling of the attackers.
pub struct Sibling {
    ends: Arc<AtomicBool>,
    asking: JoinHandle<u64>,
}

impl Sibling {
    /// Ends the task and returns the number of answers. Panics if one was not 200.
    pub async fn end(self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        self.asking.await.expect("every request to the sibling is answered with 200")
    }
}
