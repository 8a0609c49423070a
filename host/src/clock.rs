//! The time of day, as the host and every guest see it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The system's clock, plus an offset that starts at zero.
///
/// All parts of a host share one, so that whoever starts a host in its own process can let hours pass at once: tokens
/// expire, lockouts end. Clones share the offset. Deadlines of running requests do not follow it: they use monotonic time.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset_seconds: Arc<AtomicI64>,
}

impl Clock {
    /// Time since 1970-01-01 UTC. A system clock before that reads as zero.
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

    /// Moves the time forward (or back, for a negative number) by whole seconds.
    pub fn shift(&self, seconds: i64) {
        self.offset_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}
