//! Makes every failed check look the same to the client, in work and in time.
//!
//! The kinds of hashes differ in cost by a factor of three and more. If a failure were answered at once, its time would tell
//! which kind of hash the account has, and so that the account exists. Two measures prevent that:
//!
//! - **Equal work.** Once the host has seen a hash whose cost differs from a new one, failures are padded. Each computes until
//!   it has used as much processor time as the most expensive kind. So a busy host slows all failures down equally, and all
//!   hold their slot for the same time. If all hashes are current, this adds no work.
//! - **Equal time.** A failure is answered at the next multiple of a floor, which is above that cost. The time counts from the
//!   moment the computation gets its slot. The wait before that depends on other logins, not on this account.
//!
//! The cost depends on the machine, the build and the work factor. So each process measures it once for each work factor,
//! on a low-priority thread that the first check starts. Failures wait for the result. The measure is the processor time of
//! that thread. Elapsed time, measured during a busy start, would make refusals slow for the life of the host.
//!
//! One difference remains visible: a stored hash that costs more than all measured kinds. The account's next login
//! replaces it.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::queue::lower_priority;
use super::stored::{Stored, pbkdf2, references};
use super::work::WorkFactor;

/// The floor if the cost cannot be measured.
const FALLBACK: Duration = Duration::from_millis(250);

/// How many PBKDF2 iterations run between two looks at the clock.
/// They take about a millisecond.
const STEP_ITERATIONS: NonZero<u32> = NonZero::new(10_000).unwrap();

/// The processor time of the most expensive kind of hash.
/// `None` until it is measured.
pub(super) type Cost = watch::Receiver<Option<Duration>>;

/// The cost on this machine.
/// The first call starts the measurement and does not wait for it.
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
    // If the thread does not start, the sender is dropped. Callers that wait notice that.
    let _ = thread::Builder::new().name("password-cost".to_owned()).spawn(measuring);
    receiver
}

/// Computes until this thread has used as much time as the most expensive hash.
///
/// The time counts from `began`, an earlier [`processor_time`] of this thread. Does nothing until that cost is measured.
pub(super) fn level(cost: &Cost, began: Duration) {
    // Add a quarter, because the cost of a computation varies.
    let Some(target) = cost.borrow().map(|cost| cost + cost / 4) else {
        return;
    };
    while processor_time().saturating_sub(began) < target {
        pbkdf2(b"password", b"salt", STEP_ITERATIONS, &mut [0; 32]);
    }
}

/// Waits until the next multiple of the floor after `started`.
pub(super) async fn pad(mut cost: Cost, started: Instant) {
    let known = cost.wait_for(Option::is_some).await.map_or(None, |cost| *cost);
    let floor = known.map_or(FALLBACK, floor_above);
    sleep_until(started + next_multiple(floor, started.elapsed())).await;
}

/// The floor for this cost.
/// It is well above the processor time that [`level`] uses.
pub(super) fn floor_above(cost: Duration) -> Duration {
    (cost * 2).max(Duration::from_millis(1))
}

/// The smallest multiple of the floor that is not below `elapsed`.
///
/// At least one floor. The floor must not be zero.
pub(super) fn next_multiple(floor: Duration, elapsed: Duration) -> Duration {
    let floors = elapsed.as_nanos().div_ceil(floor.as_nanos()).max(1);
    floor.saturating_mul(u32::try_from(floors).unwrap_or(u32::MAX))
}

/// Measures the processor time of one check.
fn cost_of(reference: &str, work: WorkFactor) -> Duration {
    let started = processor_time();
    std::hint::black_box(Stored::read(Some(reference)).check(b"not the password", work));
    processor_time().saturating_sub(started)
}

/// The processor time of the calling thread since its start.
pub(super) fn processor_time() -> Duration {
    // The conversion fails only for a negative time.
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
