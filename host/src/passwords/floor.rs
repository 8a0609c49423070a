//! Making every failed check look the same from outside, in work and in time.
//!
//! The kinds of hash cost differently, by a factor of three and more. A failure that left as soon as it was known would
//! tell which kind the account has, and so that it exists. Two things are done about it:
//!
//! - **The same work.** Once a hash has been met that does not cost what a new one does, every failure computes until
//!   it has used as much processor time as the most expensive kind. So a busy host slows all of them down
//!   alike, and all hold their slot equally long. Where every hash is a current one there is nothing to level, and
//!   nothing is wasted.
//! - **The same time.** A failure leaves at the next multiple of a floor above that cost, counted from the moment its
//!   computation got its slot: the wait before that depends on others, not on this account.
//!
//! The cost belongs to the machine, the build and the work factor, so it is measured once in a process for each of the latter, on a
//! thread of low priority that starts with the first check; failures that come before it is known wait for it. What is measured
//! is the processor time of that thread: a host that is busy with its start would otherwise be slow to refuse for the rest of
//! its life.
//!
//! What remains visible: a stored hash whose parameters cost more than all those measured. It is gone after the first
//! login of its account, which replaces it.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::WorkFactor;
use super::queue::lower_priority;
use super::stored::{Stored, pbkdf2, references};

/// For a machine that cannot measure.
const FALLBACK: Duration = Duration::from_millis(250);

/// How many PBKDF2 iterations are computed between two looks at the clock: about a millisecond.
const STEP_ITERATIONS: NonZero<u32> = NonZero::new(10_000).unwrap();

/// What the most expensive kind of hash costs, once it is known.
pub(super) type Cost = watch::Receiver<Option<Duration>>;

/// The cost on this machine. The first call starts the measuring and does not wait for it.
pub(super) fn measured(work: WorkFactor) -> Cost {
    static COSTS: Mutex<BTreeMap<WorkFactor, Cost>> = Mutex::new(BTreeMap::new());
    COSTS.lock().unwrap_or_else(PoisonError::into_inner).entry(work).or_insert_with(|| measure(work)).clone()
}

fn measure(work: WorkFactor) -> Cost {
    let (sender, receiver) = watch::channel(None);
    let measuring = move || {
        lower_priority();
        sender.send_replace(references(work).iter().map(|reference| cost_of(reference, work)).max());
    };
    // Without a thread the sender is dropped, which those who wait notice.
    let _ = thread::Builder::new().name("password-cost".to_owned()).spawn(measuring);
    receiver
}

/// Computes on, until this thread has used what the most expensive kind costs since it had used `began`. Does nothing before that
/// cost is known.
pub(super) fn level(cost: &Cost, began: Duration) {
    // A quarter on top, because no two computations cost the same.
    let Some(target) = cost.borrow().map(|cost| cost + cost / 4) else {
        return;
    };
    while processor_time().saturating_sub(began) < target {
        pbkdf2(b"password", b"salt", STEP_ITERATIONS, &mut [0; 32]);
    }
}

/// Returns at the next multiple of the floor after `started`.
pub(super) async fn pad(mut cost: Cost, started: Instant) {
    let known = cost.wait_for(Option::is_some).await.map_or(None, |cost| *cost);
    let floor = known.map_or(FALLBACK, floor_above);
    sleep_until(started + next_multiple(floor, started.elapsed())).await;
}

/// Well above what [`level`] levels to.
pub(super) fn floor_above(cost: Duration) -> Duration {
    (cost * 2).max(Duration::from_millis(1))
}

/// The least multiple of the floor that is not below `elapsed`, and at least one. The floor must not be zero.
pub(super) fn next_multiple(floor: Duration, elapsed: Duration) -> Duration {
    let floors = elapsed.as_nanos().div_ceil(floor.as_nanos()).max(1);
    floor.saturating_mul(u32::try_from(floors).unwrap_or(u32::MAX))
}

/// The processor time of one check.
fn cost_of(reference: &str, work: WorkFactor) -> Duration {
    let started = processor_time();
    std::hint::black_box(Stored::read(Some(reference)).check(b"not the password", work));
    processor_time().saturating_sub(started)
}

/// What the calling thread has used since it began.
pub(super) fn processor_time() -> Duration {
    // Only a negative time would not convert.
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
