//! How a freed instance slot is reset, and whether the fast way is safe.
//!
//! With the kernel's `PAGEMAP_SCAN` (Linux 6.7) wasmtime finds the pages that a guest wrote and resets those alone. wasmtime 48.0.8
//! passes over a page that is not present at this moment, which one in swap is not: the next guest in the slot would read it. So the
//! scan is used only while nothing can be swapped out. Otherwise wasmtime gives all pages of the slot back to the kernel.
//!
//! The kernel also moves pages in memory, and then they are not present for some microseconds. That is left open, and `SECURITY.md` says
//! so: every usual kernel does it, and an instance whose memory is reset as a whole costs five to ten times as much.
//!
//! The pool cannot be changed while it serves. But wasmtime falls back to a whole reset when a scan fails, so scans are made to fail
//! once something can be swapped out.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use wasmtime::PoolingAllocationConfig;

/// How often it is checked whether something can be swapped out. New swap space is noticed at once.
const CHECK: Duration = Duration::from_secs(1);

/// How freed slots are reset, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reset {
    /// Only the pages that a guest wrote are reset. Otherwise all are given back to the kernel.
    pub scans: bool,
    /// False if pages that were swapped out may survive.
    pub is_safe: bool,
    /// Why, in words.
    pub reason: String,
}

impl Reset {
    /// The way in two or three words.
    pub fn way(&self) -> &'static str {
        if self.scans { "written pages" } else { "whole memory" }
    }
}

/// How freed slots are reset now.
#[derive(Debug)]
pub(super) struct PageScan {
    now: Mutex<Reset>,
}

impl PageScan {
    /// Chooses how slots are reset, by `/proc` and `/sys` in this folder.
    pub(super) fn choose(root: &Path, is_available: bool) -> Self {
        let whole = |reason: String| Reset { scans: false, is_safe: true, reason };
        let reset = match unswappable(root) {
            _ if !is_available => whole("the kernel has no PAGEMAP_SCAN (Linux 6.7)".to_owned()),
            Ok(reason) => Reset { scans: true, is_safe: true, reason },
            Err(reason) => whole(reason),
        };
        tracing::info!(reset = reset.way(), reason = reset.reason, "chose how the memory of freed instances is reset");
        Self { now: Mutex::new(reset) }
    }

    pub(super) fn now(&self) -> Reset {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the scans if something can be swapped out by now.
    fn check(&self, root: &Path) {
        let Err(reason) = unswappable(root) else { return };
        let reset = match end_scans() {
            Ok(()) => {
                tracing::warn!(
                    reason,
                    "memory of freed instances is reset as a whole from now on: start the host again, which then does it faster"
                );
                Reset { scans: false, is_safe: true, reason }
            }
            Err(error) => {
                tracing::error!(reason, %error, "pages that were swapped out may reach another request: stop the host, or turn swap off");
                Reset {
                    scans: true,
                    is_safe: false,
                    reason: format!("{reason}, and the scans cannot be ended: {error}"),
                }
            }
        };
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = reset;
    }

    /// Checks again and again on a thread of its own, as long as scans are used and the engines live.
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
    // Checked before the first wait: swap space that was added before the file was opened is no change of it.
    while let Some(scan) = watched.upgrade().filter(|scan| scan.now().scans) {
        scan.check(Path::new("/"));
        drop(scan);
        wait(swaps.as_ref());
    }
}

/// Waits until swap space is added or removed, or for as long as a check may wait.
fn wait(swaps: Option<&File>) {
    let mut changes: Vec<_> = swaps.iter().map(|swaps| PollFd::new(*swaps, PollFlags::PRI | PollFlags::ERR)).collect();
    let time = Timespec { tv_sec: i64::try_from(CHECK.as_secs()).unwrap_or(1), tv_nsec: 0 };
    if poll(&mut changes, Some(&time)).is_err() {
        thread::sleep(CHECK);
    }
}

/// Why nothing of this process can be swapped out, or else why something may be.
fn unswappable(root: &Path) -> Result<String, String> {
    let swaps = root.join("proc/swaps");
    let swaps = fs::read_to_string(swaps).map_err(|error| format!("/proc/swaps cannot be read: {error}"))?;
    if swaps.lines().skip(1).all(|line| line.trim().is_empty()) {
        return Ok("the system has no swap space".to_owned());
    }
    match cgroup_without_swap(root) {
        Some(folder) => Ok(format!("memory.swap.max is 0 in {}", folder.display())),
        None => Err("the system has swap space, and memory.swap.max of the host's cgroup is not 0".to_owned()),
    }
}

/// The cgroup that keeps this process out of swap: its own, or one above it. Only version 2 has such a limit: under version 1 a
/// limit on memory and swap together leaves open which of the two is used.
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

/// Makes every further scan of wasmtime in this process fail: it scans through one file that it keeps open, which is replaced.
///
/// # Errors
/// When wasmtime can still scan.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the file is wasmtime's, which lends it to nobody")]
fn end_scans() -> io::Result<()> {
    use std::mem::ManuallyDrop;
    use std::os::fd::{FromRawFd as _, OwnedFd};

    let nothing = File::open("/dev/null")?;
    for entry in fs::read_dir("/proc/self/fd")? {
        let entry = entry?;
        let number = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let is_pagemap = fs::read_link(entry.path()).is_ok_and(|file| file.ends_with("pagemap"));
        let (Some(number), true) = (number, is_pagemap) else { continue };
        // SAFETY: wasmtime keeps this file open until the process ends, so the number names nothing else. `dup3` replaces the file in
        // one step, as wasmtime itself does after a fork, and `ManuallyDrop` leaves the number open.
        let mut pagemap = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
        rustix::io::dup3(&nothing, &mut pagemap, rustix::io::DupFlags::CLOEXEC)?;
    }
    if PoolingAllocationConfig::is_pagemap_scan_available() {
        return Err(io::Error::other("wasmtime scans through another file than expected"));
    }
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn end_scans() -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
#[path = "page_scan/tests.rs"]
mod tests;
