//! Running migrations, and the calls that wait until they end.
//!
//! A migration holds the writer until it ends, which may take minutes. A write that waited only its usual time would fail. So it
//! first waits for the end of the migration, and then for the writer as usual. The deadline of its request limits both. Each
//! waiting write keeps an instance busy, so only a limited number may wait. The others are refused. Reads continue.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// The migrations that are running on one database.
pub(super) struct Migrating {
    state: watch::Sender<State>,
    patient: AtomicUsize,
    permits: usize,
    longest: Duration,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// When the last migration ended.
    ended: Option<Instant>,
    /// When the first write arrived during the running migrations.
    first_write: Option<Instant>,
    waits: Waits,
}

/// The writes that waited for a run of migrations.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Waits {
    /// The number of writes.
    pub writes: u64,
    /// How long the first of them waited until the migrations ended.
    pub longest: Duration,
}

/// A running migration. Dropping it marks its end.
pub(super) struct Running(Arc<Migrating>);

/// The permit of one waiting call. Dropping it frees the permit.
pub(super) struct Permit<'m>(&'m AtomicUsize);

impl Migrating {
    /// No migration is running yet.
    ///
    /// At most `permits` calls may wait at once, each at most `longest` after its arrival.
    pub(super) fn new(permits: usize, longest: Duration) -> Arc<Self> {
        Arc::new(Self { state: watch::Sender::default(), patient: AtomicUsize::new(0), permits, longest })
    }

    /// Marks the start of a migration.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.state.send_modify(|state| {
            if state.running == 0 {
                (state.first_write, state.waits) = (None, Waits::default());
            }
            state.running += 1;
        });
        Running(self.clone())
    }

    /// Counts a write if it must wait for a migration.
    pub(super) fn count_write(&self) {
        self.state.send_if_modified(|state| {
            if state.running > 0 {
                state.first_write.get_or_insert_with(Instant::now);
                state.waits.writes += 1;
            }
            false
        });
    }

    /// Waits for the end of running migrations.
    ///
    /// Returns when the call should start to wait again.
    ///
    /// Call this when a call that arrived at `began` has waited its usual time since `from`. Returns `None` if the call must
    /// give up, because no migration caused its wait, no permit is free, or the wait is too long.
    pub(super) async fn wait_for_end(&self, began: Instant, from: Instant) -> Option<Instant> {
        let mut state = self.state.subscribe();
        let (running, ended) = {
            let state = state.borrow_and_update();
            (state.running, state.ended)
        };
        if running == 0 {
            return ended.filter(|ended| *ended > from);
        }
        let _permit = self.permit()?;
        let over = timeout_at(began + self.longest, state.wait_for(|state| state.running == 0)).await;
        over.ok()?.ok()?.ended
    }

    /// Takes a permit to wait for migrations, if one is free.
    pub(super) fn permit(&self) -> Option<Permit<'_>> {
        // Counts before the comparison, so that two callers cannot both get the last permit.
        let permit = Permit(&self.patient);
        (self.patient.fetch_add(1, Ordering::Relaxed) < self.permits).then_some(permit)
    }

    /// Whether a migration is running.
    #[cfg(feature = "postgres")]
    pub(super) fn is_running(&self) -> bool {
        self.state.borrow().running > 0
    }

    /// How many writes waited for the last run of migrations, and how long.
    pub(super) fn waits(&self) -> Waits {
        self.state.borrow().waits
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.state.send_modify(|state| {
            let now = Instant::now();
            state.running -= 1;
            state.ended = Some(now);
            if let Some(first) = state.first_write {
                state.waits.longest = now - first;
            }
        });
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {

    use futures::FutureExt;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn without_a_migration_no_call_waits_longer() {
        let migrating = Migrating::new(1, LONG);
        let now = Instant::now();
        migrating.count_write();
        assert_eq!(migrating.wait_for_end(now, now).now_or_never(), Some(None));
        assert_eq!(migrating.waits(), Waits::default());
    }

    #[tokio::test]
    async fn a_call_waits_for_the_end_of_a_migration() {
        let migrating = Migrating::new(1, LONG);
        let now = Instant::now();
        let running = migrating.begin();
        migrating.count_write();
        let mut waiting = Box::pin(migrating.wait_for_end(now, now));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        assert_eq!(migrating.wait_for_end(now, now).now_or_never(), Some(None), "there is only one permit");
        drop(running);
        let ended = waiting.await.unwrap();
        assert_eq!(migrating.wait_for_end(now, now).await, Some(ended), "it ended while this call waited");
        assert_eq!(migrating.wait_for_end(now, ended).await, None, "it ended before this call waited again");
        assert_eq!(migrating.waits().writes, 1);
    }

    #[tokio::test]
    async fn a_call_gives_up_after_the_longest_wait() {
        let migrating = Migrating::new(1, Duration::ZERO);
        let now = Instant::now();
        let _running = migrating.begin();
        assert_eq!(migrating.wait_for_end(now, now).await, None);
    }
}
