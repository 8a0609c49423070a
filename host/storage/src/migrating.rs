//! Migrations under way, and the calls that wait for them to end.
//!
//! A migration holds the writer for as long as it runs, which may be minutes. A write that waited no longer for it than for another
//! write would be lost, so it waits for the end of the migration, and then for the writer as usual. Its request's deadline ends
//! both. Each such write keeps an instance busy, so only some may wait: the others are refused as before, and reads go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// What migrations are under way on one database.
pub(super) struct Migrating {
    state: watch::Sender<State>,
    patient: AtomicUsize,
    permits: usize,
    longest: Duration,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    /// When the last one ended.
    ended: Option<Instant>,
    /// When the first write came that found one under way.
    first_write: Option<Instant>,
    waits: Waits,
}

/// The writes that waited for a migration.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Waits {
    /// How many there were.
    pub writes: u64,
    /// How long the first of them waited for the end of the migration.
    pub longest: Duration,
}

/// A migration that is under way until this is dropped.
pub(super) struct Running(Arc<Migrating>);

/// A permit among those that wait for a migration, free again when it is dropped.
pub(super) struct Permit<'m>(&'m AtomicUsize);

impl Migrating {
    /// None is under way. So many calls may wait for one, each no longer than this after it came.
    pub(super) fn new(permits: usize, longest: Duration) -> Arc<Self> {
        Arc::new(Self { state: watch::Sender::default(), patient: AtomicUsize::new(0), permits, longest })
    }

    /// A migration is under way from here on.
    pub(super) fn begin(self: &Arc<Self>) -> Running {
        self.state.send_modify(|state| {
            if state.running == 0 {
                (state.first_write, state.waits) = (None, Waits::default());
            }
            state.running += 1;
        });
        Running(self.clone())
    }

    /// Counts a write that comes now, if it has to wait for a migration.
    pub(super) fn note_write(&self) {
        self.state.send_if_modified(|state| {
            if state.running > 0 {
                state.first_write.get_or_insert_with(Instant::now);
                state.waits.writes += 1;
            }
            false
        });
    }

    /// Called when a call that came at `began` has waited since `from` for as long as calls usually do. If that was for a
    /// migration, waits for its end and gives the moment from which to wait again. None if the call must give up.
    pub(super) async fn outlast(&self, began: Instant, from: Instant) -> Option<Instant> {
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

    /// A permit among those that wait for a migration, if there is one left.
    pub(super) fn permit(&self) -> Option<Permit<'_>> {
        // Counted before it is compared, so that two callers cannot share the last permit.
        let permit = Permit(&self.patient);
        (self.patient.fetch_add(1, Ordering::Relaxed) < self.permits).then_some(permit)
    }

    /// Whether a migration is under way.
    pub(super) fn is_running(&self) -> bool {
        self.state.borrow().running > 0
    }

    /// Who waited for the last migration.
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
    async fn without_a_migration_nobody_waits_longer() {
        let migrating = Migrating::new(1, LONG);
        let now = Instant::now();
        migrating.note_write();
        assert_eq!(migrating.outlast(now, now).now_or_never(), Some(None));
        assert_eq!(migrating.waits(), Waits::default());
    }

    #[tokio::test]
    async fn a_call_waits_for_the_end_of_a_migration_and_then_as_usual() {
        let migrating = Migrating::new(1, LONG);
        let now = Instant::now();
        let running = migrating.begin();
        migrating.note_write();
        let mut waiting = Box::pin(migrating.outlast(now, now));
        assert_eq!(waiting.as_mut().now_or_never(), None);
        assert_eq!(migrating.outlast(now, now).now_or_never(), Some(None), "there is one place");
        drop(running);
        let ended = waiting.await.unwrap();
        assert_eq!(migrating.outlast(now, now).await, Some(ended), "it ended while this call waited");
        assert_eq!(migrating.outlast(now, ended).await, None, "it ended before this call waited again");
        assert_eq!(migrating.waits().writes, 1);
    }

    #[tokio::test]
    async fn a_call_gives_up_when_its_time_is_over() {
        let migrating = Migrating::new(1, Duration::ZERO);
        let now = Instant::now();
        let _running = migrating.begin();
        assert_eq!(migrating.outlast(now, now).await, None);
    }
}
