//! How long a guest has computed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

/// The time that a future spent in its polls, readable from within one.
///
/// This counts the host calls that a guest makes as the guest's own time, and the moments in which the operating system
/// ran something else. Waiting for a timer, a lock or another service is between polls and does not count.
#[derive(Debug)]
pub(super) struct Meter {
    origin: Instant,
    /// Nanoseconds in polls that are over.
    spent: AtomicU64,
    /// When the poll that runs began, in nanoseconds since `origin`; `u64::MAX` between polls.
    began: AtomicU64,
}

impl Default for Meter {
    fn default() -> Self {
        Self { origin: Instant::now(), spent: AtomicU64::new(0), began: AtomicU64::new(u64::MAX) }
    }
}

impl Meter {
    /// Time computed so far, with the poll that runs.
    pub(super) fn used(&self) -> Duration {
        let running = match self.began.load(Ordering::Relaxed) {
            u64::MAX => 0,
            began => self.now().saturating_sub(began),
        };
        Duration::from_nanos(self.spent.load(Ordering::Relaxed) + running)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX - 1)
    }

    fn begin(&self) {
        self.began.store(self.now(), Ordering::Relaxed);
    }

    fn end(&self) {
        let began = self.began.swap(u64::MAX, Ordering::Relaxed);
        self.spent.fetch_add(self.now().saturating_sub(began), Ordering::Relaxed);
    }
}

/// A future whose polls are timed.
pub(super) struct Metered<F> {
    inner: Pin<Box<F>>,
    meter: Arc<Meter>,
}

impl<F> Metered<F> {
    pub(super) fn new(inner: F, meter: Arc<Meter>) -> Self {
        Self { inner: Box::pin(inner), meter }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        self.meter.begin();
        let poll = self.inner.as_mut().poll(context);
        self.meter.end();
        poll
    }
}
