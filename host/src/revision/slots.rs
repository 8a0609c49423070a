//! How many instances of one service there may be at one moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The instances of one service, shared by its revisions, within those of the host.
#[derive(Debug)]
pub struct Slots {
    own: Arc<Semaphore>,
    host: Arc<Semaphore>,
    limit: usize,
    waiting: AtomicUsize,
}

/// The right to one instance, until it is dropped.
#[derive(Debug)]
pub struct SlotPermit {
    _own: OwnedSemaphorePermit,
    _host: OwnedSemaphorePermit,
}

impl Slots {
    /// So many instances of a service, taken from what the host has.
    pub fn new(limit: usize, host: Arc<Semaphore>) -> Self {
        Self { own: Arc::new(Semaphore::new(limit)), host, limit, waiting: AtomicUsize::new(0) }
    }

    /// Waits for an instance, first come first served. None when the time is over.
    pub async fn acquire(&self, time: Duration) -> Option<SlotPermit> {
        if let (Ok(own), Ok(host)) = (self.own.clone().try_acquire_owned(), self.host.clone().try_acquire_owned()) {
            return Some(SlotPermit { _own: own, _host: host });
        }
        let _waiting = Waiting::new(&self.waiting);
        let both = async {
            let own = self.own.clone().acquire_owned().await.ok()?;
            let host = self.host.clone().acquire_owned().await.ok()?;
            Some(SlotPermit { _own: own, _host: host })
        };
        tokio::time::timeout(time, both).await.ok().flatten()
    }

    /// Instances that exist now.
    pub fn in_use(&self) -> usize {
        self.limit - self.own.available_permits()
    }

    /// Requests that wait for an instance now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

/// Counts a waiting request, also when it goes away before its turn.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
