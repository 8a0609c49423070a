//! The wall clock of the host and of every guest.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use storage::{Storage, StorageError};

/// A database's clock that differs by more than this gets a warning.
const NOTABLE_DIFFERENCE: f64 = 5.0;

/// A database's clock that differs by more than this is refused. Tokens would expire at another time on each host.
const MAX_DIFFERENCE: f64 = 60.0;

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

    /// How many seconds the clock of a database is ahead of this one, at least. Negative if it is behind, and 0 if it has none.
    ///
    /// # Errors
    /// The database does not answer.
    pub async fn difference(&self, database: &dyn Storage) -> Result<f64, StorageError> {
        let before = self.since_epoch().as_secs_f64();
        let Some(there) = database.clock().await? else { return Ok(0.0) };
        let after = self.since_epoch().as_secs_f64();
        let there = there.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        // The database read its clock at some time between the two.
        Ok(there - there.clamp(before, after))
    }

    /// Warns if the clock of a database differs from the system's by more than five seconds. The offset of this clock does not count.
    ///
    /// # Errors
    /// It differs by more than a minute, or the database does not answer.
    pub async fn check_against(database: &dyn Storage) -> anyhow::Result<()> {
        let difference = Self::default().difference(database).await?;
        if let Some(text) = notable(difference) {
            if is_too_large(difference) {
                bail!("{text}: a host starts only if they differ by at most a minute, so let NTP set both clocks");
            }
            tracing::warn!(seconds = difference, "{text}: let NTP set both clocks");
        }
        Ok(())
    }

    /// Moves the clock forward by whole seconds, or back if the number is negative.
    pub fn shift(&self, seconds: i64) {
        self.offset_seconds.fetch_add(seconds, Ordering::Relaxed);
    }
}

/// A sentence about a difference between this clock and a database's, if it is notable.
pub fn notable(difference: f64) -> Option<String> {
    let direction = if difference > 0.0 { "ahead of" } else { "behind" };
    let seconds = difference.abs();
    (seconds > NOTABLE_DIFFERENCE)
        .then(|| format!("the clock of the database is {seconds:.1} s {direction} the clock of this host"))
}

/// Whether a difference is too large to serve.
pub fn is_too_large(difference: f64) -> bool {
    difference.abs() > MAX_DIFFERENCE
}
