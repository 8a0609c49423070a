//! Logs the progress of compilation, which takes seconds at a first start.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytesize::ByteSize;

use crate::duration::in_words;

/// Counts the components that are ready, of those that the start needs.
pub(super) struct Progress {
    begun: AtomicUsize,
    ready: AtomicUsize,
    all: usize,
}

impl Progress {
    /// Progress of a start with `all` components. Later compilations are logged without a count.
    pub(super) fn of(all: usize) -> Self {
        Self { begun: AtomicUsize::new(0), ready: AtomicUsize::new(0), all }
    }

    /// Counts a component whose compiled artifact was loaded from the cache.
    pub(super) fn loaded(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.ready.fetch_add(1, Ordering::Relaxed);
    }

    /// Logs that a compilation begins. Returns the start time for [`Self::compiled`].
    pub(super) fn compiling(&self, service: &str, bytes: usize) -> Instant {
        let size = ByteSize::b(bytes as u64);
        let number = self.begun.fetch_add(1, Ordering::Relaxed) + 1;
        if number <= self.all {
            tracing::info!(service, "compiling {service} ({number}/{}), a component of {size}", self.all);
        } else {
            tracing::info!(service, "compiling {service}, a component of {size}");
        }
        Instant::now()
    }

    /// Logs that a compilation is done, and counts the component.
    pub(super) fn compiled(&self, service: &str, began: Instant) {
        let took = in_words(began.elapsed());
        let ready = self.ready.fetch_add(1, Ordering::Relaxed) + 1;
        if ready <= self.all {
            tracing::info!(service, "compiled {service} in {took}, {ready} of {} are ready", self.all);
        } else {
            tracing::info!(service, "compiled {service} in {took}");
        }
    }
}
