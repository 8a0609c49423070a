//! Lowers the priority of threads with long work, so that others run first.
//!
//! A higher niceness alone is not enough. It limits a thread's share of the processor, not when the thread runs. A thread that
//! wakes up to answer a request still waits until the computing thread's time slice ends. That takes three milliseconds or more
//! (Linux, EEVDF since 6.6). So the computing thread also requests longer slices. Since Linux 6.12 (`PREEMPT_SHORT`), a waking
//! thread with shorter slices interrupts it. The thread with long slices gets the same share of the processor, only later.
//! `sched_setattr(2)` documents the fields.

use std::io;

/// The longest slice that Linux allows, in nanoseconds.
///
/// Kernels without per-thread slices ignore it.
#[cfg(target_os = "linux")]
const LONGEST_SLICE_NANOSECONDS: u64 = 100_000_000;

/// Permanently lowers the priority of the calling thread, and of threads it starts.
///
/// Adds `niceness` to the thread's niceness and lets every waking thread interrupt it. Does nothing on systems other than Linux,
/// because niceness belongs to the whole process there.
///
/// # Errors
///
/// If the system refuses the niceness. The thread then keeps its priority.
pub fn lower(niceness: i32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    // Some systems refuse long slices or do not know them. Then the niceness alone must suffice.
    let _ = request_long_slices(rustix::process::nice(niceness)?);
    Ok(())
}

#[cfg(target_os = "linux")]
fn request_long_slices(niceness: i32) -> io::Result<()> {
    // With this flag the kernel ignores the policy 0 and keeps the thread's own, for example `SCHED_BATCH`.
    schedule(0, libc::SCHED_FLAG_KEEP_POLICY, niceness)
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "no safe crate offers this call")]
fn schedule(policy: i32, flags: i32, niceness: i32) -> io::Result<()> {
    let size = u32::try_from(size_of::<libc::sched_attr>()).map_err(io::Error::other)?;
    let attributes = libc::sched_attr {
        size,
        sched_policy: policy.cast_unsigned(),
        sched_flags: u64::from(flags.cast_unsigned()),
        sched_nice: niceness,
        sched_priority: 0,
        sched_runtime: LONGEST_SLICE_NANOSECONDS,
        sched_deadline: 0,
        sched_period: 0,
    };
    let (this_thread, no_flags) = (0, 0);
    // SAFETY: the kernel reads exactly one `sched_attr`, and the call changes only the scheduling of this thread.
    let refused = unsafe { libc::syscall(libc::SYS_sched_setattr, this_thread, &raw const attributes, no_flags) };
    if refused == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn scheduled() -> (i64, Option<u64>) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // The second field is a name in parentheses. The niceness is the 19th field (proc_pid_stat(5)).
        let niceness = stat.rsplit(") ").next().unwrap().split(' ').nth(16).unwrap().parse().unwrap();
        let sched = std::fs::read_to_string("/proc/thread-self/sched").unwrap_or_default();
        let slice = sched.lines().find(|line| line.starts_with("se.slice"));
        (niceness, slice.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()))
    }

    #[test]
    fn lowering_keeps_the_scheduling_policy() {
        let work = || {
            schedule(libc::SCHED_BATCH, 0, scheduled().0.try_into().unwrap()).unwrap();
            lower(3).unwrap();
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // The 41st field (proc_pid_stat(5)).
            stat.rsplit(") ").next().unwrap().split(' ').nth(38).unwrap().parse().unwrap()
        };
        let policy: i32 = std::thread::spawn(work).join().unwrap();
        assert_eq!(policy, libc::SCHED_BATCH);
    }

    #[test]
    fn lowering_affects_the_thread_and_its_children_and_no_other() {
        let (before, _) = scheduled();
        let work = || {
            lower(3).unwrap();
            std::thread::spawn(scheduled).join().unwrap()
        };
        let (niceness, slice) = std::thread::spawn(work).join().unwrap();
        assert_eq!(niceness, (before + 3).min(19));
        // Older kernels do not report the slice, or have none.
        assert!(slice.is_none_or(|slice| slice == LONGEST_SLICE_NANOSECONDS), "{slice:?}");
        assert_eq!(scheduled().0, before, "the other threads keep their priority");
    }
}
