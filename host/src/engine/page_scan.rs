//! How wasmtime resets the memory of a freed instance, and whether the fast way is safe.
//!
//! With the kernel's `PAGEMAP_SCAN` (Linux 6.7), wasmtime finds the pages that a guest wrote and resets only those. But wasmtime
//! 48.0.8 skips a page that is not present, such as a page in swap. The next guest in the slot could then read it. So the host allows
//! the scan only while the kernel cannot swap its pages out. Otherwise wasmtime returns all pages of the slot to the kernel.
//!
//! The kernel also moves pages within memory. For some microseconds such a page is not present. The host accepts this risk, which
//! `SECURITY.md` describes: every common kernel does this, and resetting the whole memory costs five to ten times as much.
//!
//! The pool's settings cannot change while the host serves. But wasmtime resets the whole memory if a scan fails. So once pages can
//! be swapped out, the host makes all scans fail.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wasmtime::PoolingAllocationConfig;

/// How often the host checks whether its pages can be swapped out. New swap space triggers a check at once.
const CHECK: Duration = Duration::from_secs(1);

/// How the memory of freed instances is reset, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// Whether only written pages are reset. Otherwise all pages are returned to the kernel.
    pub scans: bool,
    /// False if the next guest could read pages that were swapped out.
    pub is_safe: bool,
    /// The reason for this choice, for the operator.
    pub reason: String,
}

impl Reset {
    /// The method in two words, for logs and metrics.
    pub fn way(&self) -> &'static str {
        if self.scans { "written pages" } else { "whole memory" }
    }
}

/// Chooses the method of reset, and changes it when swap space appears.
#[derive(Debug)]
pub(super) struct PageScan {
    now: Mutex<Reset>,
}

impl PageScan {
    /// Chooses a method. `root` contains `proc` and `sys`; `is_available` says whether the kernel can scan.
    pub(super) fn choose(root: &Path, is_available: bool) -> Self {
        let whole = |reason: String| Reset { scans: false, is_safe: true, reason };
        let reset = match unswappable(root) {
            _ if !is_available => whole("the kernel has no PAGEMAP_SCAN (Linux 6.7)".to_owned()),
            Ok(reason) => Reset { scans: true, is_safe: true, reason },
            Err(reason) => whole(reason),
        };
        tracing::info!(
            reset = reset.way(),
            reason = reset.reason,
            "chose the method that resets the memory of freed instances"
        );
        Self { now: Mutex::new(reset) }
    }

    pub(super) fn now(&self) -> Reset {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes all scans fail if the host's pages can now be swapped out.
    fn check(&self, root: &Path) {
        let Err(reason) = unswappable(root) else { return };
        let reset = match end_scans() {
            Ok(()) => {
                tracing::warn!(
                    reason,
                    "the memory of freed instances is reset as a whole from now on: restart the host to make this faster"
                );
                Reset { scans: false, is_safe: true, reason }
            }
            Err(error) => {
                tracing::error!(reason, %error, "another request may read pages that were swapped out: stop the host or turn swap off");
                Reset {
                    scans: true,
                    is_safe: false,
                    reason: format!("{reason}, and the host cannot stop the scans: {error}"),
                }
            }
        };
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = reset;
    }

    /// Starts a thread that checks until the scans are stopped or the engines are dropped. Does nothing without scans.
    pub(super) fn watch(this: &Arc<Self>) -> io::Result<()> {
        if !this.now().scans {
            return Ok(());
        }
        let watched = Arc::downgrade(this);
        thread::Builder::new().name("swap".to_owned()).spawn(move || watch(&watched)).map(drop)
    }
}

fn watch(watched: &Weak<PageScan>) {
    let swaps = File::open("/proc/swaps").ok();
    // The first check comes before the first wait, because swap space that was added before `open` does not wake the wait.
    while let Some(scan) = watched.upgrade().filter(|scan| scan.now().scans) {
        scan.check(Path::new("/"));
        drop(scan);
        wait(swaps.as_ref());
    }
}

/// Waits until swap space is added or removed, but at most [`CHECK`].
fn wait(swaps: Option<&File>) {
    let mut changes: Vec<_> = swaps.iter().map(|swaps| PollFd::new(*swaps, PollFlags::PRI | PollFlags::ERR)).collect();
    let time = Timespec { tv_sec: i64::try_from(CHECK.as_secs()).unwrap_or(1), tv_nsec: 0 };
    if poll(&mut changes, Some(&time)).is_err() {
        thread::sleep(CHECK);
    }
}

/// The reason why the kernel cannot swap pages of this process out.
///
/// # Errors
/// The reason why it may.
fn unswappable(root: &Path) -> Result<String, String> {
    let swaps = root.join("proc/swaps");
    let swaps = fs::read_to_string(swaps).map_err(|error| format!("cannot read /proc/swaps: {error}"))?;
    if swaps.lines().skip(1).all(|line| line.trim().is_empty()) {
        return Ok("the system has no swap space".to_owned());
    }
    match cgroup_without_swap(root) {
        Some(folder) => Ok(format!("memory.swap.max is 0 in {}", folder.display())),
        None => Err("the system has swap space, and memory.swap.max of the host's cgroup is not 0".to_owned()),
    }
}

/// The cgroup that forbids swap for this process: its own or one of its parents.
///
/// Only cgroup version 2 has such a limit. Version 1 limits only the sum of memory and swap.
fn cgroup_without_swap(root: &Path) -> Option<PathBuf> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let own = Path::new(groups.lines().find_map(|line| line.strip_prefix("0::"))?);
    let names: PathBuf = own.components().filter(|name| *name != Component::RootDir).collect();
    if names.components().any(|name| !matches!(name, Component::Normal(_))) {
        return None;
    }
    let has_no_swap = |folder: &Path| {
        let limit = fs::read_to_string(root.join("sys/fs/cgroup").join(folder).join("memory.swap.max"));
        limit.is_ok_and(|limit| limit.trim() == "0")
    };
    names.ancestors().find(|folder| has_no_swap(folder)).map(|folder| Path::new("/sys/fs/cgroup").join(folder))
}

/// Makes all further scans of wasmtime in this process fail. wasmtime scans with one open file, which this replaces by `/dev/null`.
///
/// # Errors
/// wasmtime can still scan.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "wasmtime owns the file and has no function to close it")]
fn end_scans() -> io::Result<()> {
    use std::mem::ManuallyDrop;
    use std::os::fd::{FromRawFd as _, OwnedFd};

    let nothing = File::open("/dev/null")?;
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let is_pagemap = fs::read_link(entry.path()).is_ok_and(|file| file.ends_with("pagemap"));
        let (Some(number), true) = (number, is_pagemap) else { continue };
        // SAFETY: wasmtime keeps this file open until the process ends, so the descriptor cannot refer to another file. `dup3` replaces
        // the file atomically, as wasmtime itself does after a fork. `ManuallyDrop` keeps the descriptor open.
        let mut pagemap = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
        rustix::io::dup3(&nothing, &mut pagemap, rustix::io::DupFlags::CLOEXEC)?;
    }
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        return Err(io::Error::other("wasmtime does not scan with the file that the host replaced"));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn end_scans() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests;
