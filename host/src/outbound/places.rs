//! How many requests of one service run, and how many wait until one of these has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::OutboundError;

/// Requests that wait for a place, for each place. Further ones are refused at once.
pub(super) const WAITING_PER_PLACE: usize = 4;

/// The places within `concurrency`.
pub(super) struct Places {
    free: Arc<Semaphore>,
    number: usize,
    waiting: AtomicUsize,
}

impl Places {
    pub(super) fn new(number: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(number)), number, waiting: AtomicUsize::new(0) }
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.number - self.free.available_permits()
    }

    /// Waits for a place, but no longer than this time. It is free again when the permit is dropped.
    ///
    /// # Errors
    /// [`OutboundError::Crowded`]: too many requests wait already, or none ended in time.
    pub(super) async fn take(&self, time: Duration) -> Result<OwnedSemaphorePermit, OutboundError> {
        if let Ok(permit) = self.free.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let _waiting = Waiting::new(&self.waiting, WAITING_PER_PLACE * self.number).ok_or(OutboundError::Crowded)?;
        match tokio::time::timeout(time, self.free.clone().acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(OutboundError::Crowded),
        }
    }
}

/// Counts one waiting request until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    /// None if so many wait already.
    fn new(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let counted = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(counted)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
