//! The databases of services: one contract, implemented for SQLite and PostgreSQL.
//!
//! This file is the contract. It knows neither wasm nor HTTP: its nouns are statements, rows and errors. Every engine guarantees:
//!
//! - A [`Storage`] is the database of one service. It offers no way to name another service's tables.
//! - A statement is one data statement. Its values are numbered parameters, `$1` to `$n`. Only [`Storage::migrate`] changes the
//!   schema.
//! - If a statement returns an error, it had no effect. A transaction takes effect completely or not at all. Dropping it rolls it
//!   back.
//! - An acknowledged write is durable, and every read that starts later sees it.
//! - Time, rows and bytes of every statement and transaction are limited. The engine's configuration sets the limits.
//!
//! There are two engines: [`sqlite`], whose SQL dialect all services use, and `postgres`, which several hosts can share.
//! [`read_set`] tells whether a query would still return the same rows. [`folder`] locks the folder that contains the SQLite
//! files. [`rehearsal`] wraps a storage and rolls back every write, [`observed`] tells an observer about each statement.
//! [`keyvalue`] keeps entries of keys and values in a storage.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

// A module uses only modules below it.

// Key-value entries on both engines, and wrappers for both.
pub mod keyvalue;
pub mod observed;
pub mod rehearsal;

// The engines.
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod sqlite;

// What both engines use. Both check migrations with SQLite, because services write SQLite's dialect.
mod additive;
mod sqlite_connection;
mod statement_kind;
mod migrating;
mod migration;
pub mod read_set;
mod rows;
mod table;

// The data folder, and rules for files and threads that the host uses too.
pub mod folder;
pub mod permissions;
pub mod priority;

#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use thiserror::Error;

use read_set::ReadSet;

pub use migrating::Waits;
pub use migration::{Migration, MigrationError, NotAdditive, RanMigrations, check_texts};
pub use rows::{Cell, Rows};
pub use table::{Column, Table};

/// The target of every log line of this crate, so that the filter `comptoir=debug` shows them too.
const LOG_TARGET: &str = "comptoir::storage";

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL's NULL.
    Null,
    /// A signed 64-bit integer.
    Integer(i64),
    /// A double. NaN as a parameter is refused with [`StorageError::Invalid`].
    Real(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// One data statement with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The SQL text, with `$1`, `$2`, … in the places of the values.
    pub sql: String,
    /// The values, beginning with `$1`.
    ///
    /// Their number must equal the highest number in the text.
    pub params: Vec<Value>,
}

impl Statement {
    /// Makes a statement from a text and its values.
    pub fn new(sql: impl Into<String>, params: impl Into<Vec<Value>>) -> Self {
        Self { sql: sql.into(), params: params.into() }
    }
}

/// The rule of the schema that a write would have broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Constraint {
    /// A primary key or a unique index.
    Unique,
    /// A foreign key constraint.
    ///
    /// Either the referenced row does not exist, or another row still refers to this one.
    ForeignKey,
    /// A CHECK constraint.
    Check,
    /// A NOT NULL constraint.
    NotNull,
    /// Any other rule: a value of the wrong type, or a trigger that raised an error.
    Other,
}

/// Why a statement had no effect. Only after [`OutcomeUnknown`](Self::OutcomeUnknown) it may have had one.
///
/// The texts are for logs and for the component's author, never for a client.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum StorageError {
    /// The row would break a rule of the schema.
    #[error("the row breaks a constraint of the schema: {0:?}")]
    Constraint(Constraint),
    /// The writer, or a permit for a long query, was not free in time.
    ///
    /// The caller should try again.
    #[error("the database is busy: try again")]
    Busy,
    /// The statement uses something that no service may use. The text names it.
    #[error("a service may not use {0}")]
    Denied(String),
    /// The statement exceeds a limit on its text, parameters, rows or bytes.
    ///
    /// The text names the limit.
    #[error("too large: {0}")]
    TooLarge(String),
    /// Rolled back: the statement exceeded its deadline, or the transaction its lease.
    #[error("the statement or its transaction exceeded the time limit")]
    TimedOut,
    /// The statement has wrong syntax, wrong names, or the wrong number of parameters.
    #[error("invalid statement: {0}")]
    Invalid(String),
    /// The database cannot run the statement now.
    ///
    /// For example, its disk is full, read-only or broken. The text is the cause, for the log only.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// The connection was lost during the commit, and the database cannot tell whether the changes are durable.
    ///
    /// The text is the cause, for the log only.
    #[error("the database was lost during a commit, which it may have made: {0}")]
    OutcomeUnknown(String),
}

/// The database of one service.
///
/// Futures do nothing until they are polled. If the future of [`execute`](Storage::execute) is dropped, the write may or may not
/// happen. All other futures can be dropped safely.
pub trait Storage: Send + Sync {
    /// Reads outside a transaction, and returns the rows with their read set.
    ///
    /// The read set is `None` if it is unknown. The query sees every commit that was acknowledged before. A statement that writes
    /// is refused with [`StorageError::Invalid`].
    fn read(&self, statement: Statement) -> BoxFuture<'_, Result<(Rows, Option<ReadSet>), StorageError>>;

    /// Reads like [`read`](Storage::read), without the read set.
    fn query(&self, statement: Statement) -> BoxFuture<'_, Result<Rows, StorageError>> {
        Box::pin(async move { self.read(statement).await.map(|(rows, _)| rows) })
    }

    /// Writes in its own transaction and returns the number of changed rows.
    ///
    /// The write is durable when this returns.
    fn execute(&self, statement: Statement) -> BoxFuture<'_, Result<u64, StorageError>>;

    /// Waits for the writer and begins a transaction.
    ///
    /// Its lease starts when this returns.
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, StorageError>>;

    /// Runs all migrations above the [`schema_version`](Storage::schema_version).
    ///
    /// They run in order, in one transaction that also sets the new version. Returns the versions that ran. None run if the
    /// database has the last version of the list, or a newer one. The caller decides whether a newer schema fits.
    fn migrate(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<Vec<u32>, MigrationError>>;

    /// Runs migrations that passed [`check_additive`](Storage::check_additive).
    fn migrate_checked(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<Vec<u32>, MigrationError>> {
        self.migrate(migrations)
    }

    /// The writes that waited for the last run of migrations.
    fn migration_waits(&self) -> Waits {
        Waits::default()
    }

    /// Checks with a write that changes nothing whether the database accepts writes.
    ///
    /// A busy database passes, and so does one that offers no such check.
    ///
    /// # Errors
    ///
    /// [`StorageError::Unavailable`] with the cause.
    fn check_writes(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async { Ok(()) })
    }

    /// The version of the last migration that ran without a check for additions.
    ///
    /// The version covers all hosts that share the database. It is `None` if the database does not record it.
    fn unchecked_version(&self) -> BoxFuture<'_, Result<Option<u32>, StorageError>> {
        Box::pin(async { Ok(None) })
    }

    /// The texts of the migrations that ran on any host.
    ///
    /// It is `None` if the database does not record them.
    fn ran_migrations(&self) -> BoxFuture<'_, Result<Option<RanMigrations>, StorageError>> {
        Box::pin(async { Ok(None) })
    }

    /// Checks that an older revision can keep running after the pending migrations.
    ///
    /// Pending are those above the [`schema_version`](Storage::schema_version). The check runs none of them on the database,
    /// changes nothing and blocks no other caller.
    ///
    /// These additions pass: new tables, views and plain indexes, new columns that are nullable or have a default, new rows, and
    /// values of new columns. The check assumes that older statements name their columns, which `INSERT INTO t VALUES` does not.
    /// Passing does not promise that [`migrate`](Storage::migrate) succeeds, because that also depends on the rows.
    ///
    /// # Errors
    ///
    /// Names the first statement that does more than add, or that is wrong for any rows.
    fn check_additive(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<(), NotAdditive>>;

    /// The tables with their columns, in the order of their names. Not for services, which know their own.
    ///
    /// A schema with more than 2,000 columns is listed up to there.
    fn tables(&self) -> BoxFuture<'_, Result<Vec<Table>, StorageError>>;

    /// The version of the last migration that ran, or 0 if none has run.
    fn schema_version(&self) -> BoxFuture<'_, Result<u32, StorageError>>;

    /// The time of the database's own clock, or `None` if it has none.
    fn clock(&self) -> BoxFuture<'_, Result<Option<SystemTime>, StorageError>> {
        Box::pin(async { Ok(None) })
    }

    /// Whether other hosts may currently use this database with revisions of their own.
    fn serves_other_hosts(&self) -> bool {
        false
    }

    /// Counters of this database since it was opened.
    fn usage(&self) -> &Usage;
}

/// A transaction, which holds the one writer of its database.
///
/// Dropping it without a commit rolls it back at once. When its lease ends, the engine rolls it back, and every later call
/// returns [`StorageError::TimedOut`].
pub trait Transaction: Send + Sync {
    /// Reads inside the transaction. May also write with `RETURNING`.
    fn query(&self, statement: Statement) -> BoxFuture<'_, Result<Rows, StorageError>>;

    /// Writes inside the transaction and returns the number of changed rows.
    fn execute(&self, statement: Statement) -> BoxFuture<'_, Result<u64, StorageError>>;

    /// Commits: makes all changes durable, or none.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), StorageError>>;
}

/// Counters of one database. They start at zero when it is opened and only grow.
#[derive(Debug, Default)]
pub struct Usage {
    /// Reading statements outside a transaction.
    pub queries: AtomicU64,
    /// Writing statements, each in its own transaction.
    pub executes: AtomicU64,
    /// Statements inside transactions, both reading and writing.
    pub transaction_statements: AtomicU64,
    /// Transactions acknowledged as durable. Each `execute` counts as one.
    pub commits: AtomicU64,
    /// Transactions that ended without a commit, for any reason.
    pub rollbacks: AtomicU64,
    /// Flushes, each for one group of commits.
    ///
    /// `commits` divided by this is the average group size.
    pub syncs: AtomicU64,
    /// Queries that moved from the calling thread to a blocking thread.
    pub long_queries: AtomicU64,
    /// Calls refused because the queue was full or the wait too long.
    pub refusals: AtomicU64,
    /// Time spent in statements, in nanoseconds, without waiting.
    pub sql_nanoseconds: AtomicU64,
}

impl Usage {
    /// Time spent in statements, without waiting.
    pub fn sql_time(&self) -> Duration {
        Duration::from_nanos(self.sql_nanoseconds.load(Ordering::Relaxed))
    }

    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn add_sql_time(&self, spent: Duration) {
        let nanoseconds = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        self.sql_nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}
