//! What the log says while components are compiled, which takes seconds at a first start.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytesize::ByteSize;

/// How many of the components that a start needs are machine code.
pub(super) struct Progress {
    ready: AtomicUsize,
    all: usize,
}

impl Progress {
    /// Of so many components. What is compiled after them is counted no more.
    pub(super) fn of(all: usize) -> Self {
        Self { ready: AtomicUsize::new(0), all }
    }

    /// A component was compiled before.
    pub(super) fn loaded(&self) {
        self.ready.fetch_add(1, Ordering::Relaxed);
    }

    /// A component is compiled from now on. Gives the moment, for [`Self::compiled`].
    pub(super) fn compiling(service: &str, bytes: usize) -> Instant {
        let size = ByteSize::b(bytes as u64);
        tracing::info!(service, "{service}: compiling its component of {size}");
        Instant::now()
    }

    /// A component was compiled.
    pub(super) fn compiled(&self, service: &str, began: Instant) {
        let took = Duration::from_millis(u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX));
        let took = humantime::format_duration(took);
        let ready = self.ready.fetch_add(1, Ordering::Relaxed) + 1;
        if ready <= self.all {
            tracing::info!(service, "{service}: compiled its component in {took}, {ready} of {} are ready", self.all);
        } else {
            tracing::info!(service, "{service}: compiled its component in {took}");
        }
    }
}
