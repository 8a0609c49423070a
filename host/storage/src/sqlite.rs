//! SQLite behind the [`Storage`] trait: one file a service, many readers, one writer thread, one sync for many commits.
//!
//! # Reads
//!
//! A query runs where it is called: a small one takes microseconds, and a hop to another thread costs more than that. It gets
//! a few milliseconds there. When they are over it is interrupted and runs again from the start on a thread where it may
//! use its whole deadline, so no statement holds up the reactor. Statements known for being slow and those that match
//! patterns go there at once, and so does what meets a large value or compiles to a large program, since SQLite is
//! interrupted between its instructions only. Readers are connections of their own, `query_only`, and no snapshot outlives
//! its statement.
//!
//! # Writes
//!
//! One thread owns the one writing connection; it starts with the first write. What it may promise:
//!
//! 1. Every transaction of a guest is a savepoint inside an outer transaction, the *group*. The outer COMMIT is the only
//!    sync, and nothing of a group is acknowledged before it returned. An error that ends a transaction is held back as
//!    long, since it may rest on rows of the same group.
//! 2. A group is committed when nobody waits, or when it is full or old. A transaction in the middle cannot be cut in two, so
//!    it can delay the group by its lease at most; if it has written nothing yet, the group is committed beneath it.
//! 3. A statement that fails is undone by a savepoint of its own and leaves its transaction as it was.
//! 4. Some errors make SQLite roll back the whole outer transaction: a full disk, an I/O error, a lack of memory, an
//!    interrupted write, `OR ROLLBACK`. After every error the thread asks whether it is still inside the transaction it
//!    began. If not, every member that was not acknowledged fails, and so does the transaction under way; the next job
//!    begins a new group. Nothing has to be restarted when the cause is gone.
//! 5. If undoing itself fails, the connection is closed, which rolls back whatever there was, and the next job opens another.
//! 6. A job whose owner gave up waiting never runs: owner and thread settle by one atomic claim who was first.
//!
//! With foreign keys that the schema defers to the commit, a group holds one transaction, so that the one which broke a
//! reference is the one told.
//!
//! # What rows rest on
//!
//! Each table has a version, which every commit that may have changed it moves ([`ReadSet`]); each compiled statement knows
//! the tables that it reads or changes (`tables`). Versions live in this process: what another process writes into the
//! file while the host runs moves none. A transaction that is undone moves none either.
//!
//! # Isolation
//!
//! A guest's SQL passes an authorizer that lists what is allowed (`policy`) and never shares a prepared statement with the
//! host's own SQL: those are prepared once, outside the statement cache that guest SQL reaches. Schema changes run on a
//! connection of their own that no guest statement ever sees.

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
    Migration, MigrationError, NotAdditive, Rows, Statement, Storage, StorageError, Transaction, Usage, Waits,
};

/// The oldest SQLite without the bug of WAL that can lose a commit.
const OLDEST_SQLITE: i32 = 3_051_003;

/// The database of one service in one SQLite file.
///
/// Dropping it lets the writer finish what it has begun, then closes the file.
pub struct SqliteStorage {
    blueprint: Arc<Blueprint>,
    readers: Arc<Readers>,
    writer: Writer,
    usage: Arc<Usage>,
}

impl SqliteStorage {
    /// Opens the file, or creates it with mode 0600, and checks its structure. Blocks on the disk.
    ///
    /// The path should come from [`DataFolder::database`](super::folder::DataFolder::database): the folder's lock is what
    /// keeps a second host away. The check of a large file stops after `config.check_time` and then says nothing.
    ///
    /// # Errors
    ///
    /// An [`OpenError`] that names the file and what to do.
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

    fn schema_version(&self) -> BoxFuture<'_, Result<u32, StorageError>> {
        Box::pin(async move { self.readers.schema_version() })
    }

    fn usage(&self) -> &Usage {
        &self.usage
    }
}
