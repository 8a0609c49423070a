//! `just crash-lab`: checks that no crash loses an acknowledged write.
//!
//! It kills a serving host 200 times and cuts the power of its simulated disk half as often. It also stops the process for
//! ten seconds, fills the disk, and makes it read-only. It fails if acknowledged data is lost, doubled, partial or damaged.

#![allow(clippy::unwrap_used, missing_docs, reason = "a laboratory may panic")]

mod power;

use std::fmt::Display;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use testing::crash_lab::Lab;
use testing::shop_process::{ShopProcess, data, log};

/// Writes of each buyer during a disturbance, and after it.
const WRITES_IN_TROUBLE: usize = 300;
const WRITES_AFTER: usize = 25;

/// How long the process is stopped.
const STOPPED: Duration = Duration::from_secs(10);

fn main() {
    let cycles = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(200);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let failed = runtime.block_on(async {
        let failed = [kill(cycles).await, power::cut(cycles / 2).await, stop().await, full_and_read_only().await];
        failed.contains(&true)
    });
    if failed {
        std::process::exit(1);
    }
}

/// Kills the host with SIGKILL. Returns whether a check failed.
async fn kill(cycles: usize) -> bool {
    let mut lab = Lab::open().await;
    for cycle in 1..=cycles {
        lab = lab.kill_once().await;
        if cycle % 20 == 0 {
            eprintln!("{cycle} of {cycles} kills, {} findings", lab.tally.findings.len());
        }
    }
    row("kills while serving", lab.tally.kills);
    row("kills while starting", lab.tally.kills_at_start);
    print_work(&lab);
    lab.tally.ready.sort_unstable();
    let ready = &lab.tally.ready;
    let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1000.0);
    row("ready, median", ms(ready[ready.len() / 2]));
    row("ready, at most", ms(ready[ready.len() - 1]));
    conclude("lost, doubled, partial, damaged", &lab.tally.findings)
}

/// Prints the number of acknowledgements by kind of write.
fn print_work(lab: &Lab) {
    for (word, count) in lab.acknowledged() {
        row(&format!("acknowledged {word}"), count);
    }
}

/// Prints one line of the table.
fn row(what: &str, value: impl Display) {
    println!("{what:<35}{value}");
}

/// Sends SIGSTOP under load, and SIGCONT ten seconds later. Returns whether a check failed.
async fn stop() -> bool {
    let mut lab = Lab::open().await;
    let (count, buyers) = lab.work(WRITES_IN_TROUBLE);
    count.subscribe().wait_for(|count| *count > 50).await.unwrap();
    lab.process.signal(Signal::STOP);
    tokio::time::sleep(STOPPED).await;
    lab.process.signal(Signal::CONT);
    lab.take_back(buyers.await.unwrap());
    lab.take_refused();
    row("writes refused, stopped for 10 s", lab.tally.refused);
    after_trouble(&mut lab).await;
    conclude("violations, stopped for 10 s", &lab.tally.findings)
}

/// Checks the writes before and during a disturbance, and that the host then works again without a restart.
async fn after_trouble(lab: &mut Lab) {
    lab.check().await;
    let (_, buyers) = lab.work(WRITES_AFTER);
    lab.take_back(buyers.await.unwrap());
    let refused = lab.take_refused();
    lab.tally.findings.extend(refused.into_iter().map(|refused| format!("refused after the disturbance: {refused}")));
    lab.check().await;
}

/// Fills a small disk for a while, then starts a host on a read-only disk. Returns whether a check failed.
async fn full_and_read_only() -> bool {
    let folder = tempfile::tempdir().unwrap();
    let disk = data(folder.path());
    std::fs::create_dir(&disk).unwrap();
    let Some(_disk) = Disk::mount(&disk) else {
        row("disk full, disk read-only", "skipped: cannot mount a tmpfs, which needs root");
        return false;
    };
    let mut lab = Lab::open_in(folder.path(), None).await;
    let filling = disk.join("filling");
    fill(&filling);
    let (_, buyers) = lab.work(WRITES_IN_TROUBLE);
    lab.take_back(buyers.await.unwrap());
    if lab.take_refused().is_empty() {
        lab.tally.findings.push("no write was refused on a full disk".to_owned());
    }
    std::fs::remove_file(&filling).unwrap();
    row("writes refused, disk full", lab.tally.refused);
    after_trouble(&mut lab).await;
    let failed = conclude("violations, disk full", &lab.tally.findings);

    lab.process.kill().await;
    Disk::remount(&disk, "ro");
    let mut process = ShopProcess::spawn(folder.path());
    let served = process.serves().await.is_some();
    Disk::remount(&disk, "rw");
    let said = std::fs::read_to_string(log(folder.path())).unwrap();
    row("start on a read-only disk", said.lines().last().unwrap_or_default());
    let mut process = ShopProcess::spawn(folder.path());
    let again = process.serves().await.is_some();
    process.kill().await;
    failed || served || !again
}

/// Fills the disk with a file.
fn fill(file: &Path) {
    let mut file = File::create(file).unwrap();
    for chunk in [vec![0; 1 << 16], vec![0; 1]] {
        while file.write_all(&chunk).is_ok() {}
    }
}

/// Prints the findings. Returns whether there are any.
fn conclude(what: &str, findings: &[String]) -> bool {
    row(what, findings.len());
    for finding in findings.iter().take(20) {
        println!("  {finding}");
    }
    !findings.is_empty()
}

/// A mounted tmpfs. Dropping this unmounts it.
struct Disk(std::path::PathBuf);

impl Disk {
    fn mount(at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m,mode=700", "tmpfs"]).arg(at).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(at.to_owned()))
    }

    fn remount(at: &Path, mode: &str) {
        let status = Command::new("mount").args(["-o", &format!("remount,{mode}")]).arg(at).status().unwrap();
        assert!(status.success(), "cannot remount the disk as {mode}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
