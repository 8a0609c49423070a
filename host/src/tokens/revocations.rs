//! The sessions that have ended, for as long as a token of theirs could still be in force.
//!
//! All of them are in memory, so that asking is one lookup; `sessions.db` is read once, at the start, and written to
//! on every revocation.
//!
//! **How long.** No token is issued for an ended session, so its last one expires an hour after its end. It is
//! remembered for a day more. That day is for clocks: as long as all that a clock was wrong by, and was put right by,
//! stays under a day (a wrong time zone is at most fourteen hours), no ended session comes back. A clock that jumps
//! days ahead lets the end be forgotten; once it jumps back, a token issued less than an hour before the first jump
//! would be good again until it expires.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Mutex;

use super::{ACCESS_LIFETIME_SECONDS, TokensError};

/// How long an ended session is remembered, in seconds: what its last token lasts, and a day.
pub(super) const REMEMBERED_SECONDS: u64 = ACCESS_LIFETIME_SECONDS as u64 + 24 * 3600;

/// How often what need not be remembered is swept out, in seconds. Sweeping looks at every entry.
const SWEEP_SECONDS: u64 = 3600;

/// Readers of the file from outside (a backup) may hold up a write this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// In WAL mode with `synchronous=FULL` a commit has been flushed to the disk when it returns.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS ended (
        session TEXT NOT NULL PRIMARY KEY,
        remember_until INTEGER NOT NULL -- seconds since 1970-01-01 UTC
    ) STRICT, WITHOUT ROWID;
";

/// A second end never shortens the memory of the first, even if the clock went back in between.
const ADD: &str = "
    INSERT INTO ended (session, remember_until) VALUES ($1, $2)
    ON CONFLICT DO UPDATE SET remember_until = max(remember_until, excluded.remember_until)
";

/// Ended sessions, each with the Unix second until which it is remembered.
type Ended = HashMap<Box<str>, u64>;

/// The ended sessions. An entry is in memory before it is on disk, and leaves both only when it is too old to matter.
pub(super) struct Revocations {
    ended: Arc<RwLock<Ended>>,
    /// One writer at a time; waiting for it costs no thread.
    connection: Arc<Mutex<Connection>>,
    next_sweep: AtomicU64,
}

impl Revocations {
    /// Reads `sessions.db` in a folder, making it with mode 0600 if it is not there.
    pub(super) fn open(folder: &Path, now: u64) -> Result<Revocations, TokensError> {
        let path = folder.join("sessions.db");
        let unusable = |source| TokensError::Io { path: path.clone(), source };
        // Made here because SQLite would let everyone read it. The files it puts beside take the mode of this one.
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(unusable)?;
        let (connection, ended) =
            load(&path, now).map_err(|source| TokensError::Sessions { path: path.clone(), source })?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(unusable)?;
        Ok(Revocations {
            ended: Arc::new(RwLock::new(ended)),
            connection: Arc::new(Mutex::new(connection)),
            next_sweep: AtomicU64::new(now.saturating_add(SWEEP_SECONDS)),
        })
    }

    /// Whether a session has ended. One lookup in memory.
    pub(super) fn contains(&self, session: &str) -> bool {
        self.ended.read().unwrap_or_else(PoisonError::into_inner).contains_key(session)
    }

    /// Ends a session in memory at once, and on disk before it returns. The error is the cause, for the log.
    pub(super) async fn add(&self, session: &str, now: u64) -> Result<(), String> {
        let until = now.saturating_add(REMEMBERED_SECONDS);
        let session: Box<str> = session.into();
        {
            let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
            let remembered = ended.entry(session.clone()).or_insert(until);
            *remembered = until.max(*remembered);
        }

        let sweep = self.sweep_is_due(now).then(|| Arc::clone(&self.ended));
        let connection = Arc::clone(&self.connection).lock_owned().await;
        let write = tokio::task::spawn_blocking(move || {
            if let Some(ended) = sweep {
                connection.execute("DELETE FROM ended WHERE remember_until < $1", [sql_seconds(now)])?;
                ended.write().unwrap_or_else(PoisonError::into_inner).retain(|_, until| *until >= now);
            }
            connection.prepare_cached(ADD)?.execute((&*session, sql_seconds(until)))
        });
        match write.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// True for one caller an hour.
    fn sweep_is_due(&self, now: u64) -> bool {
        let due = self.next_sweep.load(Ordering::Relaxed);
        let next = now.saturating_add(SWEEP_SECONDS);
        now >= due && self.next_sweep.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remembered = self.ended.read().unwrap_or_else(PoisonError::into_inner).len();
        formatter.debug_struct("Revocations").field("remembered", &remembered).finish_non_exhaustive()
    }
}

fn load(path: &Path, now: u64) -> rusqlite::Result<(Connection, Ended)> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.execute_batch(SCHEMA)?;
    connection.execute("DELETE FROM ended WHERE remember_until < $1", [sql_seconds(now)])?;
    let ended = connection
        .prepare("SELECT session, remember_until FROM ended")?
        .query_map([], |row| Ok((row.get::<_, String>(0)?.into_boxed_str(), row.get::<_, i64>(1)?.unsigned_abs())))?
        .collect::<rusqlite::Result<Ended>>()?;
    Ok((connection, ended))
}

/// SQLite's integers are signed.
fn sql_seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}
