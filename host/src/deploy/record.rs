//! The record: active revisions and the history of deploys, on disk.
//!
//! One transaction makes a revision active and ends its history line. Only then does the pointer move that requests read. A history
//! line without an end belongs to a deploy that a crash cut off: the next start marks it as interrupted. The components lie in the
//! folder `revisions`, each under its digest.

mod artifacts;
mod changes;
mod migrations;
mod notes;
mod signatures;

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;

use crate::clock::Clock;

pub(super) use changes::{Activation, CanaryRecord, Change, Outcome, Watched};
pub(super) use migrations::Text;

/// The record cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot use the record of deploys in {}: {cause}", path.display())]
pub struct RecordError {
    path: PathBuf,
    cause: String,
}

/// What kind of change a history line describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The host started with a new component of the manifest.
    Start,
    /// The operator deployed a component.
    Deploy,
    /// The operator rolled back.
    Rollback,
    /// The host reverted a revision that did clearly worse than the previous one.
    Revert,
    /// The operator started a canary.
    Canary,
    /// The operator promoted a canary.
    Promote,
    /// The host started with an earlier revision, because the active one could not start.
    Fallback,
    /// The operator reloaded the manifest, which changed the service's table or names a new component.
    Reload,
}

impl Action {
    fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Revert => "revert",
            Self::Canary => "canary",
            Self::Promote => "promote",
            Self::Fallback => "fallback",
            Self::Reload => "reload",
        }
    }
}

/// A change that is about to be tried: the first half of a history line. [`Outcome`] is the second half.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The name of the service.
    pub service: String,
    /// The kind of change.
    pub action: Action,
    /// The digest of the revision that is active now, if there is one.
    pub from: Option<String>,
    /// The digest of the new revision. Empty if the component was too large to be read.
    pub to: String,
    /// Who makes the change: `operator` or `host`.
    pub by: String,
    /// The reason that they gave.
    pub reason: String,
    /// The public key that signed the new revision, if it is signed.
    pub signer: Option<String>,
}

/// A line of the history: one change, or an attempt that changed nothing.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryLine {
    /// A later line has a larger id.
    pub id: i64,
    /// The name of the service.
    pub service: String,
    /// When the change began, in seconds since 1970-01-01 UTC.
    pub at: i64,
    /// `start`, `deploy`, `rollback`, `revert`, `canary`, `promote`, `fallback` or `reload`.
    pub action: String,
    /// The digest of the previous revision.
    pub from: Option<String>,
    /// The digest of the new revision, or of the one that was refused.
    pub to: String,
    /// Who made the change: `operator` or `host`.
    pub by: String,
    /// The reason that they gave.
    pub reason: String,
    /// `running`, `active`, `kept`, `reverted`, `refused`, `interrupted` or `unchanged`. A canary is `canary` while it
    /// runs, then `promoted`, `aborted`, `replaced` or `reverted`.
    pub result: String,
    /// Why it was refused or reverted.
    pub detail: String,
    /// The public key that signed the new revision, if it was signed then.
    pub signer: Option<String>,
}

/// What this host knows about the schema of a service's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownSchema {
    /// Migrations after this version were checked to be additive. Those up to it were not.
    pub base: u32,
    /// The version to which this host migrated the database.
    pub latest: u32,
}

/// The record of one host. Clones share one database connection.
#[derive(Clone)]
pub struct Record {
    folder: PathBuf,
    /// Locked while a component is written or removed.
    writing: Arc<Mutex<()>>,
    database: Arc<Mutex<Connection>>,
    clock: Clock,
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS active (
        service TEXT PRIMARY KEY,
        digest TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS canary (
        service TEXT PRIMARY KEY,
        digest TEXT NOT NULL,
        line INTEGER NOT NULL,
        share INTEGER NOT NULL,
        set_name TEXT
    ) STRICT;
    CREATE TABLE IF NOT EXISTS schemas (
        service TEXT PRIMARY KEY,
        base INTEGER NOT NULL,
        latest INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS migrations (
        service TEXT NOT NULL,
        version INTEGER NOT NULL,
        sha256 TEXT NOT NULL,
        PRIMARY KEY (service, version)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS history (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        at INTEGER NOT NULL,
        service TEXT NOT NULL,
        action TEXT NOT NULL,
        before TEXT,
        after TEXT NOT NULL,
        by TEXT NOT NULL,
        reason TEXT NOT NULL,
        result TEXT NOT NULL,
        detail TEXT NOT NULL DEFAULT '',
        signer TEXT,
        together INTEGER
    ) STRICT;
    CREATE TABLE IF NOT EXISTS notes (
        name TEXT PRIMARY KEY,
        text TEXT NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS signatures (
        service TEXT NOT NULL,
        digest TEXT NOT NULL,
        line TEXT NOT NULL,
        PRIMARY KEY (service, digest)
    ) STRICT;
    CREATE INDEX IF NOT EXISTS history_of_service ON history (service, id);
    UPDATE history SET result = 'interrupted' WHERE result = 'running';
";

/// Columns that later versions added, and an older record may lack: table, name and type.
const LATER_COLUMNS: [(&str, &str, &str); 3] =
    [("history", "signer", "TEXT"), ("history", "together", "INTEGER"), ("canary", "set_name", "TEXT")];

impl Record {
    /// Opens the record in a data folder, and marks the deploys that a crash interrupted. Blocks on the disk.
    ///
    /// # Errors
    /// The folder or the database cannot be created or read.
    pub fn open(data: &Path, clock: Clock) -> Result<Self, RecordError> {
        let folder = data.join("revisions");
        let fail = |cause: String| RecordError { path: data.to_owned(), cause };
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|error| fail(error.to_string()))?;
        let file = data.join("deploys.db");
        // Created here to set its mode. SQLite gives the same mode to its WAL file.
        let made = fs::OpenOptions::new().append(true).create(true).mode(0o600).open(&file);
        made.map_err(|error| fail(error.to_string()))?;
        let open = || -> rusqlite::Result<Connection> {
            let database = Connection::open(&file)?;
            database.pragma_update(None, "journal_mode", "WAL")?;
            database.pragma_update(None, "synchronous", "FULL")?;
            database.execute_batch(SCHEMA)?;
            for (table, column, kind) in LATER_COLUMNS {
                if database.prepare(&format!("SELECT {column} FROM {table}")).is_err() {
                    database.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} {kind}"))?;
                }
            }
            Ok(database)
        };
        let database = open().map_err(|error| fail(error.to_string()))?;
        Ok(Self { folder, writing: Arc::default(), database: Arc::new(Mutex::new(database)), clock })
    }

    fn database(&self) -> MutexGuard<'_, Connection> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fail(&self, cause: impl std::fmt::Display) -> RecordError {
        RecordError { path: self.folder.clone(), cause: cause.to_string() }
    }

    fn now(&self) -> i64 {
        i64::try_from(self.clock.unix_seconds()).unwrap_or(i64::MAX)
    }

    /// The digest of the active revision of a service.
    pub fn active(&self, service: &str) -> Result<Option<String>, RecordError> {
        let sql = "SELECT digest FROM active WHERE service = ?1";
        let found = self.database().query_row(sql, [service], |row| row.get(0)).optional();
        found.map_err(|error| self.fail(error))
    }

    /// Whether a deploy of this component ever finished. A refused deploy does not count, because its cause may be fixed by now. An
    /// interrupted one does not count either, because it had no result.
    pub fn knows(&self, service: &str, digest: &str) -> Result<bool, RecordError> {
        let sql = "SELECT EXISTS (SELECT 1 FROM history WHERE service = ?1
                   AND (before = ?2 OR (after = ?2 AND result NOT IN ('refused', 'interrupted'))))";
        let found = self.database().query_row(sql, [service, digest], |row| row.get(0));
        found.map_err(|error| self.fail(error))
    }

    /// The digests of all revisions that were ever active for a service, the latest first.
    pub fn formerly_active(&self, service: &str) -> Result<Vec<String>, RecordError> {
        let sql = "SELECT after, max(id) FROM history WHERE service = ?1 AND result IN ('active', 'kept', 'reverted')
                   GROUP BY after ORDER BY 2 DESC";
        let database = self.database();
        let read = || -> rusqlite::Result<Vec<String>> {
            database.prepare(sql)?.query_map([service], |row| row.get(0))?.collect()
        };
        read().map_err(|error| self.fail(error))
    }

    /// Why the host reverted a component. None if it never did, or if the component was activated again later.
    pub fn reverted(&self, service: &str, digest: &str) -> Result<Option<String>, RecordError> {
        let sql = "SELECT result, detail FROM history WHERE service = ?1 AND after = ?2
                   AND result IN ('reverted', 'kept', 'active') ORDER BY id DESC LIMIT 1";
        let last = self
            .database()
            .query_row(sql, [service, digest], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)));
        let last = last.optional().map_err(|error| self.fail(error))?;
        Ok(last.filter(|(result, _)| result == "reverted").map(|(_, detail)| detail))
    }

    /// Whether a rollback or a fallback replaced this component, and it has not been active since.
    pub fn was_rolled_back(&self, service: &str, digest: &str) -> Result<bool, RecordError> {
        let sql = "SELECT action IN ('rollback', 'fallback') FROM history WHERE service = ?1 AND before = ?2
                   AND result IN ('active', 'kept', 'reverted') ORDER BY id DESC LIMIT 1";
        let left = self.database().query_row(sql, [service, digest], |row| row.get(0)).optional();
        left.map(Option::unwrap_or_default).map_err(|error| self.fail(error))
    }

    /// What this host knows about the schema of a service's database. None if it never migrated one.
    pub fn schema(&self, service: &str) -> Result<Option<KnownSchema>, RecordError> {
        let sql = "SELECT base, latest FROM schemas WHERE service = ?1";
        let known = |row: &rusqlite::Row<'_>| Ok(KnownSchema { base: row.get(0)?, latest: row.get(1)? });
        self.database().query_row(sql, [service], known).optional().map_err(|error| self.fail(error))
    }

    /// Writes down what this host knows about the schema of a service's database.
    pub fn note_schema(&self, service: &str, known: KnownSchema) -> Result<(), RecordError> {
        let sql = "INSERT INTO schemas (service, base, latest) VALUES (?1, ?2, ?3)
                   ON CONFLICT (service) DO UPDATE SET base = ?2, latest = ?3 WHERE base <> ?2 OR latest <> ?3";
        let KnownSchema { base, latest } = known;
        self.database().execute(sql, params![service, base, latest]).map(drop).map_err(|error| self.fail(error))
    }

    /// Begins a line of the history and returns its id.
    pub fn begin(&self, attempt: &Attempt) -> Result<i64, RecordError> {
        let sql = "INSERT INTO history (at, service, action, before, after, by, reason, signer, result)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 'running')";
        let Attempt { service, action, from, to, by, reason, signer } = attempt;
        let database = self.database();
        let values = params![self.now(), service, action.word(), from, to, by, reason, signer];
        database.execute(sql, values).map_err(|error| self.fail(error))?;
        Ok(database.last_insert_rowid())
    }

    /// Sets the result of a line whose change did not become active, or changes the result of a line.
    pub fn end(&self, id: i64, result: &str, detail: &str) -> Result<(), RecordError> {
        let sql = "UPDATE history SET result = ?2, detail = ?3 WHERE id = ?1";
        self.database().execute(sql, params![id, result, detail]).map(drop).map_err(|error| self.fail(error))
    }

    /// The newest lines of a service's history, at most `most`, newest first.
    pub fn history(&self, service: &str, most: u32) -> Result<Vec<HistoryLine>, RecordError> {
        self.lines("service = ?1 ORDER BY id DESC LIMIT ?2", params![service, most])
    }

    /// The newest lines of all services before the line `before`, at most `most`, newest first.
    pub fn history_of_all(&self, before: Option<i64>, most: u32) -> Result<Vec<HistoryLine>, RecordError> {
        self.lines("id < ?1 ORDER BY id DESC LIMIT ?2", params![before.unwrap_or(i64::MAX), most])
    }

    /// The line that last made a revision active.
    pub fn activation(&self, service: &str, digest: &str) -> Result<Option<HistoryLine>, RecordError> {
        let sql = "service = ?1 AND after = ?2 AND result IN ('active', 'kept') ORDER BY id DESC LIMIT 1";
        Ok(self.lines(sql, params![service, digest])?.pop())
    }

    /// The newest line whose revision the host reverted.
    pub fn last_revert(&self) -> Result<Option<HistoryLine>, RecordError> {
        Ok(self.lines("result = 'reverted' ORDER BY id DESC LIMIT 1", [])?.pop())
    }

    fn lines(&self, which: &str, values: impl rusqlite::Params) -> Result<Vec<HistoryLine>, RecordError> {
        let sql = format!(
            "SELECT id, service, at, action, before, after, by, reason, result, detail, signer FROM history WHERE {which}"
        );
        let database = self.database();
        let read = || -> rusqlite::Result<Vec<HistoryLine>> {
            let mut statement = database.prepare_cached(&sql)?;
            let lines = statement.query_map(values, |row| {
                Ok(HistoryLine {
                    id: row.get(0)?,
                    service: row.get(1)?,
                    at: row.get(2)?,
                    action: row.get(3)?,
                    from: row.get(4)?,
                    to: row.get(5)?,
                    by: row.get(6)?,
                    reason: row.get(7)?,
                    result: row.get(8)?,
                    detail: row.get(9)?,
                    signer: row.get(10)?,
                })
            })?;
            lines.collect()
        };
        read().map_err(|error| self.fail(error))
    }
}

#[cfg(test)]
mod tests;
