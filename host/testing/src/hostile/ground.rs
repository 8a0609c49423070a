//! A host in a process of its own, with a hostile service, others made of bare code, and a sibling that does no harm.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::code::ATTACKS;
use super::verdicts::{Verdict, ends_by_time};
use crate::built::component;
use crate::process::Process;

/// Time for attackers that take all there is: little, so that the attacks are soon over.
const BRIEF: &str = r#"cpu = "150ms", time = "2s""#;

/// Time for attackers that end otherwise, which they do on the slowest machine.
const AMPLE: &str = r#"cpu = "2m", time = "5m""#;

/// What every attacker may use, and few of the host's instances, because those that all services share are given to whoever
/// asks first.
const LIMITS: &str = r#"memory = "64 MiB", response = "8 MiB", concurrency = 16"#;

/// Where an attack is asked for.
pub fn path_of(name: &str) -> String {
    let is_bare_code = ATTACKS.iter().any(|(bare, ..)| *bare == name);
    match (is_bare_code, ends_by_time(name)) {
        (true, _) => format!("/{name}/x"),
        (false, true) => format!("/hostile/{name}"),
        (false, false) => format!("/patient/{name}"),
    }
}

/// A service of the manifest that attacks; lines of its own may follow.
fn attacker(name: &str, component: &str, ends_by_time: bool) -> String {
    let time = if ends_by_time { BRIEF } else { AMPLE };
    format!(
        "[services.{name}]\ncomponent = {component:?}\nmounts = [\"/{name}\"]\naccess = \"public\"\n\
         limits = {{ {LIMITS}, {time} }}\n"
    )
}

pub struct Ground {
    process: Process,
    http: reqwest::Client,
    _folder: TempDir,
}

impl Ground {
    /// Starts it; the components are those made of bare code, by the name of their service.
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

    /// Status and text; an answer that is cut short has no text.
    pub async fn get(&self, path: &str) -> (u16, Option<String>) {
        let answer = self.http.get(format!("http://{}{path}", self.process.gateway)).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.ok())
    }

    /// How an attack was answered, where that is not its verdict.
    pub async fn differs(&self, (name, status, says): Verdict) -> Option<String> {
        let (got, text) = self.get(&path_of(name)).await;
        let fits = got == status && text.as_ref().is_some_and(|text| text.contains(says));
        (!fits).then(|| format!("{name}: {got} {text:?}"))
    }

    /// What is wrong where an attack's answer should be cut short.
    pub async fn is_whole(&self, name: &str) -> Option<String> {
        let (status, text) = self.get(&path_of(name)).await;
        text.map(|text| format!("{name}: {status} and {} bytes, complete", text.len()))
    }

    /// Tries to write until somebody else lets go of the writer. False when that ends in anything but time.
    pub async fn until_written(&self) -> bool {
        loop {
            match self.get("/hostile/write").await {
                (200, Some(text)) if text == "done" => return true,
                (200, Some(text)) if text == "busy" => {}
                // It waited for longer than a guest may take.
                (504, _) => {}
                _ => return false,
            }
        }
    }

    /// Asks a sibling from now on, every five milliseconds, which leaves the processor to the attacks.
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

    /// Where a path of the host is.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.process.gateway)
    }

    /// Counts the host's peak of memory from now on.
    pub fn forget_peak_memory(&self) {
        self.process.forget_peak_memory();
    }

    pub fn peak_memory_mib(&self) -> u64 {
        self.process.peak_memory_kib() / 1024
    }
}

/// Somebody who asks a sibling of the attackers.
pub struct Sibling {
    ends: Arc<AtomicBool>,
    asking: JoinHandle<u64>,
}

impl Sibling {
    /// How often it was served: every time, or this fails.
    pub async fn end(self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        self.asking.await.expect("the sibling is served every time")
    }
}
