//! The time that every failed check takes: that of the most expensive hash there may be.
//!
//! The kinds of hash cost differently, from 20 ms to 150 ms. A failure that left as soon as it was known would tell
//! which kind the account has, and so that it exists. So it leaves at the next multiple of the floor, counted from the
//! moment its computation got its slot: the wait before that depends on others, not on this account.
//!
//! The floor belongs to the machine and the build, so it is measured once in a process, on a thread of low priority that
//! starts with the first check; failures that come before it is known wait for it. What is measured is the processor
//! time of that thread: a host that is busy with its start would otherwise be slow to refuse for the rest of its life.
//!
//! What remains visible: a hash of a cost above all those measured takes several floors, and on a host short of processor
//! time a slow kind slips into its second floor more often than a fast one. Both end when the hashes taken over have been
//! replaced, which the first login of each account does.

use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::queue::lower_priority;
use super::stored::{REFERENCES, Stored};

/// For a machine that cannot measure.
const FALLBACK: Duration = Duration::from_millis(250);

/// The floor, once it is known.
pub(super) type Floor = watch::Receiver<Option<Duration>>;

/// The floor of this process. The first call starts the measuring and does not wait for it.
pub(super) fn measured() -> Floor {
    static FLOOR: LazyLock<Floor> = LazyLock::new(|| {
        let (sender, receiver) = watch::channel(None);
        let measuring = move || {
            lower_priority();
            sender.send_replace(Some(measure()));
        };
        // Without a thread the sender is dropped, which those who wait notice.
        let _ = thread::Builder::new()
            .name("password-floor".to_owned())
            .spawn(measuring);
        receiver
    });
    FLOOR.clone()
}

/// Returns at the next multiple of the floor after `started`.
pub(super) async fn pad(mut floor: Floor, started: Instant) {
    let known = floor.wait_for(Option::is_some).await.map_or(None, |floor| *floor);
    sleep_until(started + next_multiple(known.unwrap_or(FALLBACK), started.elapsed())).await;
}

/// The least multiple of the floor that is not below `elapsed`, and at least one. The floor must not be zero.
pub(super) fn next_multiple(floor: Duration, elapsed: Duration) -> Duration {
    let floors = elapsed.as_nanos().div_ceil(floor.as_nanos()).max(1);
    floor.saturating_mul(u32::try_from(floors).unwrap_or(u32::MAX))
}

/// What the slowest kind costs and half as much again, so that it is done in time although no two computations take
/// equally long.
fn measure() -> Duration {
    let slowest = REFERENCES
        .iter()
        .map(|reference| cost(reference))
        .max()
        .unwrap_or(FALLBACK);
    (slowest + slowest / 2).max(Duration::from_millis(1))
}

/// The processor time of one check.
fn cost(reference: &str) -> Duration {
    let started = clock_gettime(ClockId::ThreadCPUTime);
    std::hint::black_box(Stored::read(Some(reference)).check(b"not the password"));
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime) - started).unwrap_or(FALLBACK)
}
