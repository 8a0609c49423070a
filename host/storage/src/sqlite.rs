//! The SQLite engine: one file and one writer thread per service, group commit.
//!
//! # Reads
//!
//! A query first runs on the caller's thread. A small query takes microseconds, and moving it to another thread would cost more.
//! It has a budget of a few milliseconds there (`inline_budget`). If it exceeds the budget, SQLite interrupts it, and it runs
//! again from the start on a blocking thread, with the full deadline. So no query blocks the async runtime.
//!
//! Some queries go to a blocking thread at once, because SQLite can only be interrupted between its instructions. These are
//! queries that were slow before, use LIKE or GLOB, read a large value, or compile to a large program. Readers have their own
//! connections (`query_only`). A snapshot lasts no longer than its statement.
//!
//! # Writes
//!
//! One thread owns the only writing connection. It starts with the first write. It guarantees:
//!
//! 1. Every transaction of a guest is a savepoint inside an outer transaction, the *group*. Only the COMMIT of the group flushes
//!    to disk, and no member is acknowledged before that COMMIT returns. An error that ends a transaction is also held back until
//!    then, because it may depend on rows of the same group.
//! 2. The writer commits a group if no job waits, or if the group is full or old. It cannot split a running transaction. So a
//!    transaction can delay its group until its lease ends. If the transaction has not written yet, the writer commits the group
//!    before it.
//! 3. A failed statement is rolled back to its own savepoint. The rest of its transaction stays.
//! 4. Some errors make SQLite roll back the whole outer transaction: a full disk, an I/O error, missing memory, an interrupted
//!    write, `OR ROLLBACK`. After every error the thread checks whether the outer transaction is still open. If not, the running
//!    transaction and all unacknowledged members fail, and the next job begins a new group. When the cause is gone, no restart is
//!    needed.
//! 5. If a rollback fails, the thread closes the connection, which discards all open changes. The next job opens another.
//! 6. If the owner of a job stopped waiting, the job never runs. One atomic claim decides whether the owner or the thread was
//!    first.
//!
//! If the schema has deferred foreign keys, a group contains only one transaction. So the error goes to the transaction that
//! broke the reference.
//!
//! # Read sets
//!
//! Each table has a version. Every commit that may have changed the table increments it ([`ReadSet`]). Each compiled statement
//! knows the tables that it reads or changes. Versions exist only in this process: if another process writes to the file while
//! the host runs, they do not change. A rolled back transaction does not change them either.
//!
//! # Isolation
//!
//! SQLite asks an authorizer about every action of a guest's SQL, and the authorizer has a list of allowed actions. Guests never
//! share a prepared statement with the host: the host prepares its own statements outside the statement cache. Migrations run on
//! a separate connection, which no guest statement ever uses.

mod migrate;
mod readers;
mod statement;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;

use self::readers::Readers;
use self::writer::Writer;
use crate::additive;
use crate::read_set::ReadSet;
use crate::sqlite_connection::Blueprint;
pub use crate::sqlite_connection::{OpenError, SqliteConfig, SqliteLimits};
use crate::{
    Migration, MigrationError, NotAdditive, Rows, Statement, Storage, StorageError, Table, Transaction, Usage, Waits,
};

/// Older versions have a WAL bug that can lose a commit.
const OLDEST_SQLITE: i32 = 3_051_003;

/// The database of one service, in one SQLite file.
///
/// Dropping it lets the writer finish its current job, then closes the file.
pub struct SqliteStorage {
    blueprint: Arc<Blueprint>,
    readers: Arc<Readers>,
    writer: Writer,
    usage: Arc<Usage>,
}

impl SqliteStorage {
    /// Opens or creates the file (mode 0600) and checks its structure.
    ///
    /// Blocks on the disk.
    ///
    /// The path should come from [`DataFolder::database`](super::folder::DataFolder::database), because the lock of that folder
    /// keeps a second host away. The structure check stops after `config.check_time`. A file that is too large for it passes.
    ///
    /// # Errors
    ///
    /// An [`OpenError`] that names the file and the next step.
    pub fn open(path: impl AsRef<Path>, config: SqliteConfig) -> Result<Self, OpenError> {
        if rusqlite::version_number() < OLDEST_SQLITE {
            return Err(OpenError::OldSqlite(rusqlite::version()));
        }
        let blueprint = Arc::new(Blueprint::new(path.as_ref(), config)?);
        let reader = blueprint.open_and_check()?;
        let usage = Arc::new(Usage::default());
        Ok(Self {
            readers: Arc::new(Readers::new(blueprint.clone(), usage.clone(), reader)),
            writer: Writer::new(blueprint.clone(), usage.clone()),
            blueprint,
            usage,
        })
    }
}

impl Storage for SqliteStorage {
    fn read(&self, statement: Statement) -> BoxFuture<'_, Result<(Rows, Option<ReadSet>), StorageError>> {
        Box::pin(async move {
            Usage::count(&self.usage.queries);
            match self.readers.query_inline(&statement) {
                Some(result) => result,
                None => Readers::query_blocking(&self.readers, statement).await,
            }
        })
    }

    fn execute(&self, statement: Statement) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(async move {
            Usage::count(&self.usage.executes);
            self.writer.execute(statement).await
        })
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, StorageError>> {
        Box::pin(async move { Ok(Box::new(self.writer.begin().await?) as Box<dyn Transaction>) })
    }

    fn migrate(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<Vec<u32>, MigrationError>> {
        Box::pin(self.writer.migrate(migrations))
    }

    fn migration_waits(&self) -> Waits {
        self.writer.migration_waits()
    }

    fn check_writes(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(self.writer.check())
    }

    fn check_additive(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<(), NotAdditive>> {
        Box::pin(async move {
            let blueprint = self.blueprint.clone();
            let work = tokio::task::spawn_blocking(move || additive::check(&blueprint, &migrations));
            work.await.unwrap_or_else(|error| {
                Err(MigrationError::Storage(StorageError::Unavailable(error.to_string())).into())
            })
        })
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<Table>, StorageError>> {
        Box::pin(async move { self.readers.tables() })
    }

    fn schema_version(&self) -> BoxFuture<'_, Result<u32, StorageError>> {
        Box::pin(async move { self.readers.schema_version() })
    }

    fn usage(&self) -> &Usage {
        &self.usage
    }
}
