//! Limits how many computations run and how many callers wait.
//! Other callers are refused.
//!
//! A slot belongs to a computation, not to its caller. A caller that gives up leaves the queue at once, but a computation that
//! has started keeps its slot until it ends. So the number of running computations never exceeds the limit.
//!
//! There is one thread per slot. The threads stay, and each reuses its memory. If each computation had a new thread, the
//! allocator would keep that memory in every one of its arenas, up to eight per core.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use storage::priority;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::error::PasswordError;

/// How long an idle thread stays: longer than any host runs.
const KEEP_ALIVE: Duration = Duration::from_secs(1 << 32);

/// How many computations run, and how long the other callers wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many computations run at once. Default: one per core, at most 4.
    ///
    /// Each has the memory of a new hash and keeps it for the next computation. An old scrypt hash takes 32 MiB.
    pub at_once: usize,
    /// How many callers may wait for a slot. Default: 64.
    pub waiting: usize,
    /// How long each caller may wait. Default: 5 s.
    pub queue_time: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Limits { at_once: cores.min(4), waiting: 64, queue_time: Duration::from_secs(5) }
    }
}

/// The state of the queue. All counts are since the start of the host.
#[derive(Debug)]
pub struct Meter {
    slots: Arc<Semaphore>,
    at_once: usize,
    /// How many callers wait for a slot now.
    pub waiting: AtomicUsize,
    /// How many computations have ended.
    pub computed: AtomicU64,
    /// How many callers found a full queue or waited too long.
    pub refused: AtomicU64,
}

impl Meter {
    /// How many slots are taken now, by computations that run or are about to.
    pub fn computing(&self) -> usize {
        self.at_once - self.slots.available_permits()
    }
}

/// The slots and the bounded queue of callers.
#[derive(Debug)]
pub(super) struct Queue {
    limits: Limits,
    meter: Arc<Meter>,
    threads: Threads,
}

/// The threads for the computations. Each starts when it is first needed.
/// Dropping this does not interrupt a computation.
struct Threads(Option<Runtime>);

/// The result of a computation.
pub(super) struct Done<T> {
    pub(super) output: T,
    /// When the computation got its slot.
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

    /// Runs a computation on one of the queue's threads as soon as a slot is free.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Done<T>, PasswordError> {
        let permit = self.slot().await?;
        let started = Instant::now();
        let running = Running { meter: Arc::clone(&self.meter), _permit: permit };
        let computation = move || {
            let output = work();
            // Free the slot before the caller gets the result.
            drop(running);
            output
        };
        let failed = |cause: &dyn fmt::Display| PasswordError::Failed(cause.to_string());
        let Some(threads) = &self.threads.0 else { return Err(failed(&"the system started no threads for that")) };
        let output = threads.spawn_blocking(computation).await.map_err(|error| failed(&error))?;
        Ok(Done { output, started })
    }

    /// Waits for a slot. Callers get slots in the order of their calls.
    async fn slot(&self) -> Result<OwnedSemaphorePermit, PasswordError> {
        if let Ok(permit) = Arc::clone(&self.meter.slots).try_acquire_owned() {
            return Ok(permit);
        }
        // A computation takes about 20 ms by default, so a full queue has free places within a second.
        let _waiting = Waiting::enter(&self.meter.waiting, self.limits.waiting)
            .ok_or_else(|| self.busy(Duration::from_secs(1)))?;
        match timeout(self.limits.queue_time, Arc::clone(&self.meter.slots).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            // A caller that waited in vain should not return sooner than it waited.
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
            .thread_keep_alive(KEEP_ALIVE)
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

/// A caller in the queue. Dropping it leaves the queue.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    /// Enters the queue, unless it has `limit` callers.
    fn enter(waiting: &'a AtomicUsize, limit: usize) -> Option<Waiting<'a>> {
        let one_more = |count| (count < limit).then_some(count + 1);
        waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| Waiting(waiting))
    }
}

impl Drop for Waiting<'_> {
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

/// Lowers the priority of the calling thread below that of threads with requests.
///
/// Beside one answering thread that never rests, this thread gets a thirtieth of a core. That is two logins a second. With a
/// smaller niceness, an answering thread has to wait after each burst until this thread has had its share. Beside logins, the
/// p99 of other requests was 4 ms with a niceness of 5. It was 3 ms with 10, and 1 to 3 ms with 15. If the system refuses the
/// change, the thread continues at its normal priority.
pub(super) fn lower_priority() {
    let _ = priority::lower(15);
}
