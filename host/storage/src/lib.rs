//! SQL storage: one database a service, behind a trait that any engine can stand behind.
//!
//! This page is the contract, and it knows neither wasm nor HTTP: its nouns are statements, rows and errors. What holds
//! for every backend:
//!
//! - A [`Storage`] is the database of one service. There is no way to name another service's tables through it.
//! - A statement carries its values as numbered parameters, `$1` to `$n`; it is one data statement. The schema changes by
//!   [`Storage::migrate`] alone.
//! - A statement that gives an error had no effect. A transaction is all or nothing; dropping it rolls it back.
//! - A write that was acknowledged is durable, and every read that starts afterwards sees it.
//! - Every statement and transaction is bounded in time, in rows and in bytes. The bounds are the backend's configuration.
//!
//! [`read_set`] tells whether rows that were read are still what a query would give. Backends: [`sqlite`], whose SQL is that of all
//! services, and [`postgres`], which several hosts share. [`folder`] holds the files of those that have files. [`rehearsal`]
//! stands before any of them and lets nothing of a write remain.

#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod additive;
pub mod folder;
mod migrating;
mod migration;
pub mod permissions;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod priority;
pub mod read_set;
pub mod rehearsal;
mod rows;
pub mod sqlite;
mod sqlite_connection;
mod statement_kind;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use thiserror::Error;

use read_set::ReadSet;

pub use migrating::Waits;
pub use migration::{Migration, MigrationError, NotAdditive};
pub use rows::Rows;

/// One value of a parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// SQL's NULL.
    Null,
    /// A signed integer of 64 bits, exact.
    Integer(i64),
    /// A double. As a parameter it must be a number: NaN is [`StorageError::Invalid`].
    Real(f64),
    /// UTF-8 text.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// One data statement with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Statement {
    /// The text, with `$1`, `$2`, … where values go.
    pub sql: String,
    /// The values: the first is `$1`. There are as many as the highest number in the text.
    pub params: Vec<Value>,
}

impl Statement {
    /// A statement from its text and its values.
    pub fn new(sql: impl Into<String>, params: impl Into<Vec<Value>>) -> Self {
        Self { sql: sql.into(), params: params.into() }
    }
}

/// Which rule of the schema a write would have broken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Constraint {
    /// A primary key or a unique index.
    Unique,
    /// A reference to a row that is not there, or a row that is still referred to.
    ForeignKey,
    /// A CHECK.
    Check,
    /// A column that must have a value.
    NotNull,
    /// Any other: a value of the wrong type, a trigger that refused.
    Other,
}

/// Why a statement had no effect. The texts are for logs and for the component's author, never for a client.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum StorageError {
    /// The row would break a rule of the schema.
    #[error("a constraint of the schema refused the row: {0:?}")]
    Constraint(Constraint),
    /// The writer, or a place among the long reads, stayed taken for longer than the host waits. Trying again is right.
    #[error("the database is busy")]
    Busy,
    /// The statement asks for something that no service may do. The text says what.
    #[error("a service may not use {0}")]
    Denied(String),
    /// A limit on statement, parameters, rows or bytes. The text says which.
    #[error("too large: {0}")]
    TooLarge(String),
    /// The statement ran past its deadline, or the transaction past its lease, and was rolled back.
    #[error("the statement or its transaction ran out of time")]
    TimedOut,
    /// The statement is wrong: its syntax, its names, or the number of its parameters.
    #[error("invalid statement: {0}")]
    Invalid(String),
    /// The database cannot do it now: the disk is full, read-only or broken. The text is the cause, for the log alone.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
}

/// The database of one service.
///
/// Futures do nothing until they are polled. Dropping the future of an [`execute`](Storage::execute) leaves open whether
/// the write happens; any other future may be dropped at will.
pub trait Storage: Send + Sync {
    /// Reads outside a transaction, and tells what the rows rest on; none where that is not known. Sees every commit
    /// acknowledged before. A statement that writes is `Invalid`.
    fn read(&self, statement: Statement) -> BoxFuture<'_, Result<(Rows, Option<ReadSet>), StorageError>>;

    /// Reads as [`read`](Storage::read) does, for whoever wants the rows alone.
    fn query(&self, statement: Statement) -> BoxFuture<'_, Result<Rows, StorageError>> {
        Box::pin(async move { self.read(statement).await.map(|(rows, _)| rows) })
    }

    /// Writes in a transaction of its own and gives the number of rows changed. Durable when it returns.
    fn execute(&self, statement: Statement) -> BoxFuture<'_, Result<u64, StorageError>>;

    /// Takes the writer, waiting for its turn. The lease runs from the moment this returns.
    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, StorageError>>;

    /// Runs the migrations above [`schema_version`](Storage::schema_version), in order, all in one transaction with the new version.
    ///
    /// Gives the versions that ran. None ran if the database is at the last of the list, or newer: whether a newer schema
    /// fits is the caller's to decide.
    fn migrate(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<Vec<u32>, MigrationError>>;

    /// Runs migrations as [`migrate`](Storage::migrate) does, after [`check_additive`](Storage::check_additive) has passed them.
    fn migrate_checked(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<Vec<u32>, MigrationError>> {
        self.migrate(migrations)
    }

    /// Who waited for the last run of migrations.
    fn migration_waits(&self) -> Waits {
        Waits::default()
    }

    /// Whether the database takes writes, tried with one that changes nothing. One that is busy takes them, and so does one that
    /// cannot be tried.
    ///
    /// # Errors
    ///
    /// [`StorageError::Unavailable`] with the cause.
    fn check_writes(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(async { Ok(()) })
    }

    /// The version of the last migration that ran without that check, where the database knows it, for all hosts that serve on it.
    fn unchecked_version(&self) -> BoxFuture<'_, Result<Option<u32>, StorageError>> {
        Box::pin(async { Ok(None) })
    }

    /// Whether the migrations above [`schema_version`](Storage::schema_version) leave everything as it is for a revision that
    /// was written before them. Changes nothing, runs none of them on the database, and holds up nobody.
    ///
    /// What only adds passes: new tables, views and plain indexes, columns that are nullable or have a default, rows that are
    /// inserted, values of new columns. A pass relies on statements that name their columns (`INSERT INTO t VALUES` counts
    /// them) and is no promise that [`migrate`](Storage::migrate) succeeds, since that depends on the rows.
    ///
    /// # Errors
    ///
    /// The first statement that does more, or that is wrong whatever the rows are.
    fn check_additive(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<(), NotAdditive>>;

    /// The version of the last migration that ran; 0 for a database without any.
    fn schema_version(&self) -> BoxFuture<'_, Result<u32, StorageError>>;

    /// Whether other hosts may serve on it at this moment, with revisions of their own.
    fn serves_other_hosts(&self) -> bool {
        false
    }

    /// What the database has done since it was opened.
    fn usage(&self) -> &Usage;
}

/// The one writer of a database, held. Dropping it without a commit rolls back at once.
///
/// When its lease is over the transaction has been rolled back, and every later call is [`StorageError::TimedOut`].
pub trait Transaction: Send + Sync {
    /// Reads, or writes with `RETURNING`, inside the transaction.
    fn query(&self, statement: Statement) -> BoxFuture<'_, Result<Rows, StorageError>>;

    /// Writes inside the transaction and gives the number of rows changed.
    fn execute(&self, statement: Statement) -> BoxFuture<'_, Result<u64, StorageError>>;

    /// Makes all of it durable, or none of it.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), StorageError>>;
}

/// Counters of one database, from zero at its opening. They only grow.
#[derive(Debug, Default)]
pub struct Usage {
    /// Statements outside a transaction that read.
    pub queries: AtomicU64,
    /// Statements that wrote in a transaction of their own.
    pub executes: AtomicU64,
    /// Statements inside transactions, reads and writes.
    pub transaction_statements: AtomicU64,
    /// Transactions acknowledged as durable; an `execute` is one.
    pub commits: AtomicU64,
    /// Transactions that ended without a commit, for whatever reason.
    pub rollbacks: AtomicU64,
    /// Times the database made a group of commits durable. `commits` divided by this is the size of a group.
    pub syncs: AtomicU64,
    /// Queries that left the calling thread for one where they may take their time.
    pub long_queries: AtomicU64,
    /// Calls refused because too many waited, or waited too long.
    pub refusals: AtomicU64,
    /// Time spent in statements, in nanoseconds. Waiting is not in it.
    pub sql_nanoseconds: AtomicU64,
}

impl Usage {
    /// Time spent in statements. Waiting is not in it.
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
