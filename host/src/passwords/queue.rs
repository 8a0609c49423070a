//! A few computations at once, a few more waiting, and the rest turned away.
//!
//! A slot belongs to the computation, not to its caller: a caller that gives up frees its place in the queue at once,
//! but its slot only when the computation has ended, so no more than the limit ever run.
//!
//! There are as many threads as slots, and they stay, each with the memory that it computes in. With a thread for each computation
//! the allocator keeps that memory as often as it has arenas, up to eight for each core.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use storage::priority;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::{Limits, PasswordError};

/// How long a thread stays when there is nothing to compute: as long as any host runs.
const KEPT: Duration = Duration::from_secs(1 << 32);

/// What the queue is doing and has done. All counts are since the start.
#[derive(Debug)]
pub struct Meter {
    slots: Arc<Semaphore>,
    at_once: usize,
    /// Callers that wait for a slot now.
    pub waiting: AtomicUsize,
    /// Computations that have ended.
    pub computed: AtomicU64,
    /// Callers turned away because the queue was full or their wait was over.
    pub refused: AtomicU64,
}

impl Meter {
    /// Slots that are taken now: computations that run, and those that begin at this moment.
    pub fn computing(&self) -> usize {
        self.at_once - self.slots.available_permits()
    }
}

/// The slots, and the bounded line before them.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    meter: Arc<Meter>,
    threads: Threads,
}

/// The threads that compute. Each starts when it is needed first; one that computes when this is dropped ends afterwards.
struct Threads(Option<Runtime>);

/// What a computation gave.
pub(super) struct Done<T> {
    pub(super) output: T,
    /// When it got its slot.
    pub(super) started: Instant,
}

impl Queue {
    pub(super) fn new(limits: Limits) -> Queue {
        let at_once = limits.at_once.clamp(1, Semaphore::MAX_PERMITS);
        let meter = Meter {
            slots: Arc::new(Semaphore::new(at_once)),
            at_once,
            waiting: AtomicUsize::default(),
            computed: AtomicU64::default(),
            refused: AtomicU64::default(),
        };
        Queue { limits, meter: Arc::new(meter), threads: Threads::new(at_once) }
    }

    pub(super) fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// Runs a computation on a thread that does nothing else, as soon as a slot is free.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Done<T>, PasswordError> {
        let permit = self.slot().await?;
        let started = Instant::now();
        let running = Running { meter: Arc::clone(&self.meter), _permit: permit };
        let computation = move || {
            let output = work();
            // Before the answer, so that whoever has it finds the slot free.
            drop(running);
            output
        };
        let failed = |cause: &dyn fmt::Display| PasswordError::Failed(cause.to_string());
        let Some(threads) = &self.threads.0 else { return Err(failed(&"it has no threads")) };
        let output = threads.spawn_blocking(computation).await.map_err(|error| failed(&error))?;
        Ok(Done { output, started })
    }

    /// Waits for a slot, first come first served.
    async fn slot(&self) -> Result<OwnedSemaphorePermit, PasswordError> {
        if let Ok(permit) = Arc::clone(&self.meter.slots).try_acquire_owned() {
            return Ok(permit);
        }
        // Twenty milliseconds each, as shipped: a full queue has moved on within a second.
        let _place =
            Place::take(&self.meter.waiting, self.limits.waiting).ok_or_else(|| self.busy(Duration::from_secs(1)))?;
        match timeout(self.limits.queue_time, Arc::clone(&self.meter.slots).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // Who has waited in vain should stay away at least as long again.
            Err(_) => Err(self.busy(self.limits.queue_time)),
            Ok(Err(closed)) => Err(PasswordError::Failed(closed.to_string())),
        }
    }

    fn busy(&self, retry_after: Duration) -> PasswordError {
        self.meter.refused.fetch_add(1, Ordering::Relaxed);
        let retry_after_seconds = u32::try_from(retry_after.as_secs()).unwrap_or(u32::MAX).max(1);
        PasswordError::Busy { retry_after_seconds }
    }
}

impl Threads {
    fn new(count: usize) -> Threads {
        let threads = Builder::new_current_thread()
            .max_blocking_threads(count)
            .thread_keep_alive(KEPT)
            .thread_name("password")
            .on_thread_start(lower_priority)
            .build();
        Threads(threads.ok())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(threads) = self.0.take() {
            threads.shutdown_background();
        }
    }
}

impl fmt::Debug for Threads {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Threads")
    }
}

/// A place in the line. Dropping it gives it up.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize, limit: usize) -> Option<Place<'a>> {
        let one_more = |count| (count < limit).then_some(count + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| Place(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A slot in use. Dropping it frees the slot.
struct Running {
    meter: Arc<Meter>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.meter.computed.fetch_add(1, Ordering::Relaxed);
    }
}

/// Lets the threads that answer requests go first. Against one of those that never rests, this one gets a thirtieth of a core: two
/// logins a second. With a smaller niceness whoever answers waits after each burst of answers, until this thread has had its share:
/// the p99 of others beside logins was 4 ms with 5, 3 with 10, and 1 to 3 with this. Not being allowed to is no reason to stop.
pub(super) fn lower_priority() {
    let _ = priority::lower(15);
}
