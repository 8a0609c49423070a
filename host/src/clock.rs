//! The wall clock of the host and of every guest.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The system's clock plus an offset, which starts at zero.
///
/// All parts of a host share one clock, and clones share the offset. So a test can let hours pass at once: tokens expire
/// and lockouts end. The deadlines of running requests ignore the offset, because they use monotonic time.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_seconds: Arc<AtomicI64>,
}

impl Clock {
    /// Time since 1970-01-01 UTC. Zero if the system's clock is before 1970.
    pub fn since_epoch(&self) -> Duration {
        let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let offset = self.offset_seconds.load(Ordering::Relaxed);
        if offset >= 0 {
            system + Duration::from_secs(offset.unsigned_abs())
        } else {
            system.saturating_sub(Duration::from_secs(offset.unsigned_abs()))
        }
    }

    /// Whole seconds since 1970-01-01 UTC.
    pub fn unix_seconds(&self) -> u64 {
        self.since_epoch().as_secs()
    }

    /// Moves the clock forward by whole seconds, or back if the number is negative.
    pub fn shift(&self, seconds: i64) {
        self.offset_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}
