//! The sessions that have ended.
//! The host remembers each one as long as one of its tokens could still be accepted.
//!
//! All of them are in memory, so a check is one lookup. The host reads `sessions.db` once, at the start, and writes to it on
//! every revocation.
//!
//! # Several hosts
//!
//! Hosts that share sessions write to one table instead. Each ended session gets the next number. In every round a host
//! reads the rows above the highest number that it knows ([`Revocations::reload`]). The newest row is never deleted, so no
//! number is used twice. A host that cannot read the table continues with the sessions that it knows.
//!
//! # How long
//!
//! An ended session gets no further token, so its last token expires within an hour. The host remembers the session for
//! another day, because clocks can be wrong. If all errors of a clock and their corrections stay under a day, no ended
//! session comes back. A wrong time zone is at most fourteen hours. If a clock jumps days ahead, all hosts forget the
//! session. If that clock then jumps back, a token that was issued less than an hour before the first jump is accepted
//! again until it expires.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rusqlite::Connection;
use storage::{Cell, Statement, Storage, Value};
use tokio::sync::Mutex;

use super::claims::ACCESS_LIFETIME_SECONDS;
use super::error::TokensError;
use super::shared::{rows, sql_seconds, unusable};

/// How long the host remembers an ended session, in seconds.
/// The host remembers it until its last token expires, and another day.
pub(super) const REMEMBERED_SECONDS: u64 = ACCESS_LIFETIME_SECONDS as u64 + 24 * 3600;

/// How often the host removes expired sessions, in seconds.
/// Each sweep looks at all of them.
const SWEEP_SECONDS: u64 = 3600;

/// How long a write waits for other readers of the file, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// In WAL mode, `synchronous=FULL` flushes each commit before it returns.
const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    CREATE TABLE IF NOT EXISTS ended (
        session TEXT NOT NULL PRIMARY KEY,
        remember_until INTEGER NOT NULL -- seconds since 1970-01-01 UTC
    ) STRICT, WITHOUT ROWID;
";

/// Ending a session again never shortens `remember_until`.
/// The clock can go back in between.
const ADD: &str = "
    INSERT INTO ended (session, remember_until) VALUES ($1, $2)
    ON CONFLICT DO UPDATE SET remember_until = max(remember_until, excluded.remember_until)
";

/// As [`ADD`], with the next number. All hosts share one writer.
const ADD_SHARED: &str = "
    INSERT INTO ended_sessions (session, remember_until, change)
    VALUES ($1, $2, (SELECT coalesce(max(change), 0) + 1 FROM ended_sessions))
    ON CONFLICT (session) DO UPDATE SET
        remember_until = CASE
            WHEN ended_sessions.remember_until > excluded.remember_until THEN ended_sessions.remember_until
            ELSE excluded.remember_until
        END,
        change = excluded.change
";

/// A page of the rows above a number.
const NEWS: &str =
    "SELECT session, remember_until, change FROM ended_sessions WHERE change > $1 ORDER BY change LIMIT 1000";

/// Deletes a page of expired rows.
/// Without the newest row, the next session would get a number that other hosts already know.
const SWEEP: &str = "
    DELETE FROM ended_sessions WHERE change IN (
        SELECT change FROM ended_sessions
        WHERE remember_until < $1 AND change < (SELECT max(change) FROM ended_sessions)
        ORDER BY change LIMIT 1000
    )
";

/// How many rows a page has at most.
/// A longer statement could exceed the time or memory limit of the database.
const PAGE: usize = 1000;

/// Ended sessions, each with the Unix second until which the host remembers it.
type Ended = HashMap<Box<str>, u64>;

/// The ended sessions.
/// A session is in memory before it is on disk, and leaves both when it has expired.
pub(super) struct Revocations {
    ended: Arc<RwLock<Ended>>,
    store: Store,
    next_sweep: AtomicU64,
}

/// Where the ended sessions are saved.
enum Store {
    /// `sessions.db`, with one writer at a time.
    /// A task that waits for the writer blocks no thread.
    File(Arc<Mutex<Connection>>),
    /// The table that hosts share, and the highest number that this host has read.
    Table(Arc<dyn Storage>, AtomicI64),
}

impl Revocations {
    /// Reads `sessions.db` in a folder. Creates it with mode 0600 if it is missing.
    pub(super) fn open(folder: &Path, now: u64) -> Result<Revocations, TokensError> {
        let path = folder.join("sessions.db");
        let unusable = |source| TokensError::Io { path: path.clone(), source };
        // SQLite would create a file that everyone can read. Its other files get the mode of this one.
        OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path).map_err(unusable)?;
        let (connection, ended) =
            load(&path, now).map_err(|source| TokensError::Sessions { path: path.clone(), source })?;
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(unusable)?;
        Ok(Revocations {
            ended: Arc::new(RwLock::new(ended)),
            store: Store::File(Arc::new(Mutex::new(connection))),
            next_sweep: AtomicU64::new(now.saturating_add(SWEEP_SECONDS)),
        })
    }

    /// Reads the ended sessions from the table that hosts share.
    pub(super) async fn open_shared(storage: Arc<dyn Storage>, now: u64) -> Result<Revocations, TokensError> {
        let store = Store::Table(storage, AtomicI64::new(0));
        let revocations = Revocations { ended: Arc::default(), store, next_sweep: AtomicU64::new(now) };
        revocations.reload(now).await?;
        Ok(revocations)
    }

    /// Reloads sessions that other hosts ended, and removes expired ones once an hour.
    /// Does nothing if the store is a file.
    pub(super) async fn reload(&self, now: u64) -> Result<(), TokensError> {
        let Store::Table(storage, highest_read) = &self.store else { return Ok(()) };
        let swept = if self.sweep_is_due(now) { self.sweep(&**storage, now).await } else { Ok(()) };
        let row = |cells: &[Cell<'_>; 3]| match *cells {
            [Cell::Text(session), Cell::Integer(until), Cell::Integer(change)] => {
                Some((Box::<str>::from(session), until.unsigned_abs(), change))
            }
            _ => None,
        };
        loop {
            let above = vec![Value::Integer(highest_read.load(Ordering::Relaxed))];
            let news = rows(&**storage, "read the ended sessions", NEWS, above, row).await?;
            let count = news.len();
            let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
            for (session, until, change) in news {
                if until >= now {
                    remember(&mut ended, session, until);
                }
                highest_read.fetch_max(change, Ordering::Relaxed);
            }
            if count < PAGE {
                return swept;
            }
        }
    }

    async fn sweep(&self, storage: &dyn Storage, now: u64) -> Result<(), TokensError> {
        forget(&self.ended, now);
        loop {
            let sweep = Statement::new(SWEEP, [Value::Integer(sql_seconds(now))]);
            let swept = storage.execute(sweep).await.map_err(unusable("remove expired rows of the ended sessions"))?;
            if swept < PAGE as u64 {
                return Ok(());
            }
        }
    }

    /// Whether a session has ended. Looks only in memory.
    pub(super) fn contains(&self, session: &str) -> bool {
        self.ended.read().unwrap_or_else(PoisonError::into_inner).contains_key(session)
    }

    /// Ends a session: in memory at once, and on disk before this returns.
    /// The error is the cause, for the log.
    pub(super) async fn add(&self, session: &str, now: u64) -> Result<(), String> {
        let until = now.saturating_add(REMEMBERED_SECONDS);
        let session: Box<str> = session.into();
        remember(&mut self.ended.write().unwrap_or_else(PoisonError::into_inner), session.clone(), until);
        match &self.store {
            Store::File(connection) => self.add_to_file(connection, session, until, now).await,
            Store::Table(storage, _) => {
                let params = [Value::Text(session.into()), Value::Integer(sql_seconds(until))];
                let added = storage.execute(Statement::new(ADD_SHARED, params)).await;
                added.map(|_| ()).map_err(|error| error.to_string())
            }
        }
    }

    async fn add_to_file(
        &self,
        connection: &Arc<Mutex<Connection>>,
        session: Box<str>,
        until: u64,
        now: u64,
    ) -> Result<(), String> {
        let sweep = self.sweep_is_due(now).then(|| Arc::clone(&self.ended));
        let connection = Arc::clone(connection).lock_owned().await;
        let write = tokio::task::spawn_blocking(move || {
            if let Some(ended) = sweep {
                connection.execute("DELETE FROM ended WHERE remember_until < $1", [sql_seconds(now)])?;
                forget(&ended, now);
            }
            connection.prepare_cached(ADD)?.execute((&*session, sql_seconds(until)))
        });
        match write.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Returns true to one caller per hour.
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

/// Adds an ended session.
/// Never shortens the time for which a session is remembered.
fn remember(ended: &mut Ended, session: Box<str>, until: u64) {
    let remembered = ended.entry(session).or_insert(until);
    *remembered = until.max(*remembered);
}

/// Removes expired sessions from memory.
fn forget(ended: &RwLock<Ended>, now: u64) {
    ended.write().unwrap_or_else(PoisonError::into_inner).retain(|_, until| *until >= now);
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
