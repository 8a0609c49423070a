//! The sessions that have ended, for as long as a token of theirs could still be in force.
//!
//! All of them are in memory, so that asking is one lookup; `sessions.db` is read once, at the start, and written to
//! on every revocation.
//!
//! **Several hosts** write to one table instead. Each end takes the next number there, and in every round a host reads those above
//! the last it has heard of ([`Revocations::follow`]). The newest row stays however old it is, so that no number comes twice. A
//! host that cannot read goes on with what it knows.
//!
//! **How long.** No token is issued for an ended session, so its last one expires an hour after its end. It is
//! remembered for a day more. That day is for clocks: as long as all that a clock was wrong by, and was put right by,
//! stays under a day (a wrong time zone is at most fourteen hours), no ended session comes back. A clock that jumps
//! days ahead lets the end be forgotten, by all hosts if there are several; once it jumps back, a token issued less than
//! an hour before the first jump would be good again until it expires.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rusqlite::Connection;
use storage::{Statement, Storage, Value};
use tokio::sync::Mutex;

use super::shared::{Cell, rows, sql_seconds, unusable};
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

/// As [`ADD`], with the next number of all: the writer is one for all hosts.
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

/// A page of those above a number.
const NEWS: &str =
    "SELECT session, remember_until, change FROM ended_sessions WHERE change > $1 ORDER BY change LIMIT 1000";

/// A page of those that are too old. Without the newest, the next end would have a number that others have heard of.
const SWEEP: &str = "
    DELETE FROM ended_sessions WHERE change IN (
        SELECT change FROM ended_sessions
        WHERE remember_until < $1 AND change < (SELECT max(change) FROM ended_sessions)
        ORDER BY change LIMIT 1000
    )
";

/// Rows of a page at most. A longer statement could take more time or memory than the database gives it.
const PAGE: usize = 1000;

/// Ended sessions, each with the Unix second until which it is remembered.
type Ended = HashMap<Box<str>, u64>;

/// The ended sessions. An entry is in memory before it is on disk, and leaves both only when it is too old to matter.
pub(super) struct Revocations {
    ended: Arc<RwLock<Ended>>,
    place: Place,
    next_sweep: AtomicU64,
}

/// Where they are kept.
enum Place {
    /// `sessions.db`. One writer at a time; waiting for it costs no thread.
    File(Arc<Mutex<Connection>>),
    /// The table of all hosts, and the highest number that was heard of.
    Table(Arc<dyn Storage>, AtomicI64),
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
            place: Place::File(Arc::new(Mutex::new(connection))),
            next_sweep: AtomicU64::new(now.saturating_add(SWEEP_SECONDS)),
        })
    }

    /// Reads the table that hosts share.
    pub(super) async fn open_shared(storage: Arc<dyn Storage>, now: u64) -> Result<Revocations, TokensError> {
        let place = Place::Table(storage, AtomicI64::new(0));
        let revocations = Revocations { ended: Arc::default(), place, next_sweep: AtomicU64::new(now) };
        revocations.follow(now).await?;
        Ok(revocations)
    }

    /// Takes up what other hosts ended, and once an hour sweeps what is too old. Nothing where there are no other hosts.
    pub(super) async fn follow(&self, now: u64) -> Result<(), TokensError> {
        let Place::Table(storage, heard) = &self.place else { return Ok(()) };
        let swept = if self.sweep_is_due(now) { self.sweep(&**storage, now).await } else { Ok(()) };
        let row = |cells: &[Cell<'_>; 3]| match *cells {
            [Cell::Text(session), Cell::Integer(until), Cell::Integer(change)] => {
                Some((Box::<str>::from(session), until.unsigned_abs(), change))
            }
            _ => None,
        };
        loop {
            let above = vec![Value::Integer(heard.load(Ordering::Relaxed))];
            let news = rows(&**storage, "read the ended sessions", NEWS, above, row).await?;
            let count = news.len();
            let mut ended = self.ended.write().unwrap_or_else(PoisonError::into_inner);
            for (session, until, change) in news {
                if until >= now {
                    remember(&mut ended, session, until);
                }
                heard.fetch_max(change, Ordering::Relaxed);
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
            let swept =
                storage.execute(sweep).await.map_err(unusable("remove what is too old of the ended sessions"))?;
            if swept < PAGE as u64 {
                return Ok(());
            }
        }
    }

    /// Whether a session has ended. One lookup in memory.
    pub(super) fn contains(&self, session: &str) -> bool {
        self.ended.read().unwrap_or_else(PoisonError::into_inner).contains_key(session)
    }

    /// Ends a session in memory at once, and on disk before it returns. The error is the cause, for the log.
    pub(super) async fn add(&self, session: &str, now: u64) -> Result<(), String> {
        let until = now.saturating_add(REMEMBERED_SECONDS);
        let session: Box<str> = session.into();
        remember(&mut self.ended.write().unwrap_or_else(PoisonError::into_inner), session.clone(), until);
        match &self.place {
            Place::File(connection) => self.add_to_file(connection, session, until, now).await,
            Place::Table(storage, _) => {
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

/// A second end never shortens the memory of the first.
fn remember(ended: &mut Ended, session: Box<str>, until: u64) {
    let remembered = ended.entry(session).or_insert(until);
    *remembered = until.max(*remembered);
}

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
