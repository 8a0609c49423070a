//! Work that may take long goes behind work that somebody waits for.
//!
//! A lower niceness alone is not enough for that. It says how much of the processor a thread gets, not when: a thread that
//! wakes to answer waits until the one that computes has had its slice, three milliseconds and more (Linux, EEVDF since 6.6). A
//! thread that asks for longer slices than others is interrupted by any that wakes (`PREEMPT_SHORT`, since 6.12); it gets no
//! less of the processor, only later. `sched_setattr(2)` says what each field means.

use std::io;

/// The longest slice that Linux gives, in nanoseconds. A kernel that knows no slices of a thread's own ignores it.
#[cfg(target_os = "linux")]
const LONGEST_SLICE_NANOSECONDS: u64 = 100_000_000;

/// Puts the calling thread, and those that it starts, behind the others: its niceness rises by so much, and whoever wakes
/// interrupts it. It cannot go back. On other systems than Linux niceness would be the whole process's, so nothing is done.
///
/// # Errors
/// When the system does not allow it; the thread computes on as it did.
pub fn go_behind(niceness: i32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    // Where this is refused, or not known, the niceness alone must do.
    let _ = ask_for_long_slices(rustix::process::nice(niceness)?);
    Ok(())
}

#[cfg(target_os = "linux")]
fn ask_for_long_slices(niceness: i32) -> io::Result<()> {
    // Policy zero is not looked at under this flag: the host may have been started under another one, such as `SCHED_BATCH`.
    schedule(0, libc::SCHED_FLAG_KEEP_POLICY, niceness)
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "no safe crate has this call")]
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
    // SAFETY: the kernel reads `size` bytes of a whole `sched_attr`, and changes nothing but how this thread is scheduled.
    let refused = unsafe { libc::syscall(libc::SYS_sched_setattr, this_thread, &raw const attributes, no_flags) };
    if refused == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    fn scheduled() -> (i64, Option<u64>) {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // The second field is a name in parentheses; the niceness is the 19th (proc_pid_stat(5)).
        let niceness = stat.rsplit(") ").next().unwrap().split(' ').nth(16).unwrap().parse().unwrap();
        let sched = std::fs::read_to_string("/proc/thread-self/sched").unwrap_or_default();
        let slice = sched.lines().find(|line| line.starts_with("se.slice"));
        (niceness, slice.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()))
    }

    #[test]
    fn a_thread_that_goes_behind_stays_under_the_policy_that_it_was_started_under() {
        let work = || {
            schedule(libc::SCHED_BATCH, 0, scheduled().0.try_into().unwrap()).unwrap();
            go_behind(3).unwrap();
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // The 41st field (proc_pid_stat(5)).
            stat.rsplit(") ").next().unwrap().split(' ').nth(38).unwrap().parse().unwrap()
        };
        let policy: i32 = std::thread::spawn(work).join().unwrap();
        assert_eq!(policy, libc::SCHED_BATCH);
    }

    #[test]
    fn a_thread_that_goes_behind_is_nicer_and_interrupted_by_any_that_wakes_and_so_are_those_that_it_starts() {
        let (before, _) = scheduled();
        let work = || {
            go_behind(3).unwrap();
            std::thread::spawn(scheduled).join().unwrap()
        };
        let (niceness, slice) = std::thread::spawn(work).join().unwrap();
        assert_eq!(niceness, (before + 3).min(19));
        // Older kernels do not say, or have none.
        assert!(slice.is_none_or(|slice| slice == LONGEST_SLICE_NANOSECONDS), "{slice:?}");
        assert_eq!(scheduled().0, before, "the others stay as they are");
    }
}
