//! SQLite connections: hardened and limited before a service's statement uses them.

mod config;
mod fault;
mod open_error;
mod policy;
pub(crate) mod script;
mod tables;

use std::fs::{OpenOptions, Permissions, set_permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{ErrorCode, OpenFlags};

pub(crate) use self::config::CHECKPOINT_BYTES;
pub use self::config::{SqliteConfig, SqliteLimits};
pub use self::open_error::OpenError;
use self::policy::{Author, Policy};
use self::tables::{TableRecorder, Tables};
pub(crate) use self::tables::{Touched, Versions};
use crate::StorageError;

/// Size of one text, blob or row in inline queries, in bytes.
///
/// With this limit every instruction of SQLite ends within microseconds, so the inline budget is kept. A statement with larger
/// values runs on a blocking thread.
const INLINE_VALUE_BYTES: u32 = 32 << 10;

/// Maximum instructions of a statement that runs inline.
///
/// The few larger statements run on a blocking thread.
const INLINE_INSTRUCTIONS: u32 = 2_000;

/// Compiled statements that each connection caches.
const CACHED_STATEMENTS: usize = 64;

/// The maximum size of a sandbox database, in bytes.
///
/// It contains a schema. It contains rows only if a migration creates a table from a SELECT.
const SANDBOX_BYTES: u64 = 64 << 20;

/// How long SQLite waits for a lock of another process, such as a backup.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Opens connections to one database.
#[derive(Debug)]
pub(crate) struct Blueprint {
    path: PathBuf,
    pub(crate) config: SqliteConfig,
    /// The versions of all tables.
    pub(crate) versions: Versions,
}

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Role {
    /// Queries on the caller's thread.
    ///
    /// Waits for locks only as long as the inline budget.
    Inline,
    /// Queries on a blocking thread.
    Blocking,
    /// The connection of the writer thread, the only one that writes.
    Writer,
    /// One run of migrations.
    Migrator,
    /// Migrations on an empty database in memory, which cannot harm the service's file.
    Sandbox,
}

impl Role {
    /// The number of instructions between two checks of the deadline.
    ///
    /// Roles with large values check more often, because one instruction can take long.
    fn instructions_between_checks(self) -> i32 {
        match self {
            Self::Inline => 100,
            Self::Blocking | Self::Writer | Self::Migrator | Self::Sandbox => 10,
        }
    }

    /// Whether the connection runs statements of migrations.
    fn migrates(self) -> bool {
        matches!(self, Self::Migrator | Self::Sandbox)
    }
}

/// A connection with its policy, its recorder of used tables, and its deadline.
pub(crate) struct Connection {
    pub(crate) raw: rusqlite::Connection,
    pub(crate) policy: Arc<Policy>,
    pub(crate) recorder: Arc<TableRecorder>,
    pub(crate) tables: Tables,
    deadline: Arc<Deadline>,
    inline_budget: Duration,
    wal_frames: Arc<AtomicU32>,
}

/// When SQLite must stop the running statement.
#[derive(Debug)]
struct Deadline {
    origin: Instant,
    /// Nanoseconds since `origin`. The maximum means never.
    at: AtomicU64,
    /// Nanoseconds since `origin`.
    ///
    /// After that, the statement is also stopped if SQLite uses more than `heap_bytes`.
    long: AtomicU64,
    heap_bytes: i64,
}

impl Blueprint {
    /// Resolves the path. Creates a missing file, empty and with mode 0600.
    pub(crate) fn new(path: &Path, config: SqliteConfig) -> Result<Self, OpenError> {
        let unusable = |cause: io::Error| OpenError::Unusable { path: path.to_owned(), cause: cause.to_string() };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let name = path.file_name().ok_or_else(|| unusable(io::ErrorKind::InvalidInput.into()))?;
        // The linked SQLite also understands URIs. It never takes an absolute path for one.
        let resolved = folder.canonicalize().map_err(unusable)?.join(name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&resolved) {
            Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => return Err(unusable(cause)),
            Err(_) => {
                let mode = resolved.symlink_metadata().map_err(unusable)?.permissions().mode();
                if mode & 0o077 != 0 && resolved.is_file() {
                    set_permissions(&resolved, Permissions::from_mode(mode & 0o700)).map_err(unusable)?;
                }
            }
            Ok(_) => {}
        }
        Ok(Self { path: resolved, config, versions: Versions::default() })
    }

    /// A blueprint without a file. It can only open sandboxes.
    #[cfg(feature = "postgres")]
    pub(crate) fn without_file() -> Self {
        Self { path: PathBuf::new(), config: SqliteConfig::default(), versions: Versions::default() }
    }

    /// Opens the first connection, enables the write-ahead log, checks the structure.
    pub(crate) fn open_and_check(&self) -> Result<Connection, OpenError> {
        let connection = self.open_raw(Role::Inline).map_err(|error| self.explain(&error))?;
        if connection.raw.is_readonly("main").map_err(|error| self.explain(&error))? {
            return Err(OpenError::ReadOnly { path: self.path.clone() });
        }
        let finding = connection.policy.as_host(|| self.check(&connection)).map_err(|error| self.explain(&error))?;
        match finding {
            None => Ok(connection),
            Some(finding) => Err(OpenError::Damaged { path: self.path.clone(), finding }),
        }
    }

    /// Opens another connection.
    pub(crate) fn open(&self, role: Role) -> Result<Connection, StorageError> {
        self.open_raw(role).map_err(|error| match fault::translate(&error) {
            StorageError::Busy => StorageError::Busy,
            _ => StorageError::Unavailable(error.to_string()),
        })
    }

    /// Opens an empty database in memory, with the policy and limits of migrations.
    ///
    /// Dropping the connection deletes the database.
    pub(crate) fn sandbox(&self) -> Result<Connection, StorageError> {
        rusqlite::Connection::open_in_memory()
            .and_then(|raw| self.configure(raw, Role::Sandbox))
            .map_err(|error| StorageError::Unavailable(error.to_string()))
    }

    fn open_raw(&self, role: Role) -> rusqlite::Result<Connection> {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let raw = rusqlite::Connection::open_with_flags(&self.path, flags)?;
        raw.busy_timeout(LOCK_WAIT)?;
        self.configure(raw, role)
    }

    /// Applies settings, limits, policy and deadline for a role.
    fn configure(&self, mut raw: rusqlite::Connection, role: Role) -> rusqlite::Result<Connection> {
        raw.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        harden(&raw)?;
        self.set_limits(&raw, role)?;
        let wal: String = raw.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
        if wal != "wal" && role != Role::Sandbox {
            let path = self.path.display();
            tracing::warn!(target: crate::LOG_TARGET, %path, mode = wal, "the database has no write-ahead log: readers and the writer block each other");
        }
        self.set_pragmas(&raw, role)?;
        let modules = raw
            .prepare("PRAGMA module_list")?
            .query_map([], |row| row.get(0))?
            .collect::<rusqlite::Result<Vec<String>>>()?;
        let author = if role.migrates() { Author::Migration } else { Author::Guest };
        let policy = Arc::new(Policy::new(author, modules, &self.config.limits));
        // A migration may sort in temporary files, because an index of a large table needs more memory than there is.
        let heap_bytes = if role == Role::Migrator { u64::MAX } else { self.config.heap_bytes_of_long };
        let deadline = Arc::new(Deadline::new(heap_bytes));
        let wal_frames = Arc::new(AtomicU32::new(0));
        let recorder = Arc::new(TableRecorder::new(role == Role::Writer));
        let (judge, notes, watch, frames) = (policy.clone(), recorder.clone(), deadline.clone(), wal_frames.clone());
        raw.progress_handler(role.instructions_between_checks(), Some(move || watch.is_over()))?;
        if role == Role::Writer {
            raw.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count: i32| {
                frames.store(count.unsigned_abs(), Ordering::Relaxed);
                Ok(())
            }))?;
        }
        raw.authorizer(Some(move |context: rusqlite::hooks::AuthContext<'_>| {
            notes.note(&context.action);
            judge.judge(&context)
        }))?;
        let inline_budget = self.config.inline_budget;
        Ok(Connection { raw, policy, recorder, tables: Tables::default(), deadline, inline_budget, wal_frames })
    }

    fn set_limits(&self, raw: &rusqlite::Connection, role: Role) -> rusqlite::Result<()> {
        let limits = &self.config.limits;
        let (value_bytes, instructions) = match role {
            Role::Inline => (limits.value_bytes.min(INLINE_VALUE_BYTES), limits.instructions.min(INLINE_INSTRUCTIONS)),
            _ => (limits.value_bytes, limits.instructions),
        };
        // SQLite counts all statements of a migration that are still to run as one text.
        let sql_bytes = if role.migrates() { limits.value_bytes } else { limits.sql_bytes };
        for (limit, value) in [
            (Limit::SQLITE_LIMIT_LENGTH, value_bytes),
            (Limit::SQLITE_LIMIT_SQL_LENGTH, sql_bytes),
            (Limit::SQLITE_LIMIT_COLUMN, limits.columns),
            (Limit::SQLITE_LIMIT_EXPR_DEPTH, limits.expression_depth),
            (Limit::SQLITE_LIMIT_PARSER_DEPTH, limits.parser_depth),
            (Limit::SQLITE_LIMIT_COMPOUND_SELECT, limits.compound_select),
            (Limit::SQLITE_LIMIT_VDBE_OP, instructions),
            (Limit::SQLITE_LIMIT_FUNCTION_ARG, limits.function_arguments),
            (Limit::SQLITE_LIMIT_ATTACHED, 0),
            (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, limits.pattern_bytes),
            (Limit::SQLITE_LIMIT_VARIABLE_NUMBER, limits.parameters),
            (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, limits.trigger_depth),
            (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
        ] {
            raw.set_limit(limit, i32::try_from(value).unwrap_or(i32::MAX))?;
        }
        Ok(())
    }

    fn set_pragmas(&self, raw: &rusqlite::Connection, role: Role) -> rusqlite::Result<()> {
        let config = &self.config;
        raw.execute_batch(&format!(
            "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA mmap_size = 0;
             PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = {}; PRAGMA hard_heap_limit = {};
             PRAGMA soft_heap_limit = {};",
            CHECKPOINT_BYTES * 2,
            config.heap_bytes,
            config.heap_bytes.min(config.heap_bytes_of_long) / 4 * 3,
        ))?;
        if role != Role::Migrator {
            raw.execute_batch("PRAGMA temp_store = MEMORY")?;
        }
        let page_bytes: u32 = raw.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        let bytes = if role == Role::Sandbox { SANDBOX_BYTES } else { config.database_bytes };
        let pages = (bytes / u64::from(page_bytes.max(1))).clamp(1, u64::from(u32::MAX) - 1);
        raw.execute_batch(&format!("PRAGMA max_page_count = {pages}"))?;
        match role {
            Role::Inline => {
                raw.execute_batch("PRAGMA query_only = ON")?;
                raw.busy_timeout(config.inline_budget)
            }
            Role::Blocking => raw.execute_batch("PRAGMA query_only = ON"),
            Role::Writer => raw.execute_batch("PRAGMA foreign_keys = ON"),
            // To rebuild a table, a migration drops it. That must not delete the rows that refer to it. The run checks all
            // references at its end.
            Role::Migrator | Role::Sandbox => raw.execute_batch("PRAGMA foreign_keys = OFF"),
        }
    }

    /// Returns the first problem in the file's structure.
    ///
    /// Returns `None` if the check does not end in time.
    fn check(&self, connection: &Connection) -> rusqlite::Result<Option<String>> {
        let tables: i64 = connection.raw.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if tables == 0 {
            return Ok(None);
        }
        let until = Instant::now() + self.config.check_time;
        let found = connection
            .until(until, || connection.raw.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)));
        match found {
            Ok(finding) if finding == "ok" => Ok(None),
            Ok(finding) => Ok(Some(finding)),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
                let path = self.path.display();
                tracing::info!(target: crate::LOG_TARGET, %path, "skipped the rest of the structure check: the database is too large for it");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn explain(&self, error: &rusqlite::Error) -> OpenError {
        let path = self.path.clone();
        match error.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => OpenError::NotADatabase { path },
            Some(ErrorCode::ReadOnly) => OpenError::ReadOnly { path },
            Some(ErrorCode::DatabaseCorrupt) => OpenError::Damaged { path, finding: error.to_string() },
            _ => OpenError::Unusable { path, cause: error.to_string() },
        }
    }
}

impl Connection {
    /// Runs `work`. SQLite interrupts statements in it at `moment`.
    pub(crate) fn until<T>(&self, moment: Instant, work: impl FnOnce() -> T) -> T {
        self.deadline.long.store(self.deadline.nanoseconds_to(Instant::now() + self.inline_budget), Ordering::Relaxed);
        self.deadline.at.store(self.deadline.nanoseconds_to(moment), Ordering::Relaxed);
        let result = work();
        self.deadline.at.store(u64::MAX, Ordering::Relaxed);
        result
    }

    /// Translates an error of SQLite. A refusal of the policy takes precedence.
    pub(crate) fn translate(&self, error: &rusqlite::Error) -> StorageError {
        self.policy.take_refusal().unwrap_or_else(|| fault::translate(error))
    }

    /// The length of the write-ahead log after the last commit, in frames.
    pub(crate) fn wal_frames(&self) -> u32 {
        self.wal_frames.load(Ordering::Relaxed)
    }
}

impl Deadline {
    fn new(heap_bytes: u64) -> Self {
        let (at, long) = (AtomicU64::new(u64::MAX), AtomicU64::new(u64::MAX));
        Self { origin: Instant::now(), at, long, heap_bytes: i64::try_from(heap_bytes).unwrap_or(i64::MAX) }
    }

    fn nanoseconds_to(&self, moment: Instant) -> u64 {
        u64::try_from(moment.saturating_duration_since(self.origin).as_nanos()).unwrap_or(u64::MAX)
    }

    fn is_over(&self) -> bool {
        let at = self.at.load(Ordering::Relaxed);
        if at == u64::MAX {
            return false;
        }
        let now = self.nanoseconds_to(Instant::now());
        now > at || (now > self.long.load(Ordering::Relaxed) && allocated_bytes() > self.heap_bytes)
    }
}

/// The memory that SQLite has allocated in this process, in bytes.
#[allow(unsafe_code, reason = "no safe crate offers this call")]
fn allocated_bytes() -> i64 {
    // SAFETY: the function has no arguments and reads a number under SQLite's own lock.
    unsafe { rusqlite::ffi::sqlite3_memory_used() }
}

/// Turns off features that SQLite keeps only for compatibility with old programs.
///
/// Turns on stable query plans. Else SQLite looks at the values of parameters when it plans, such as `LIMIT $1`, and compiles the
/// statement again for each new value. The price: `LIKE $1` uses no index.
fn harden(raw: &rusqlite::Connection) -> rusqlite::Result<()> {
    for (setting, value) in [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false),
    ] {
        raw.set_db_config(setting, value)?;
    }
    Ok(())
}
