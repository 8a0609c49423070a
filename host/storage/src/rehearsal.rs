//! A database on which everything works and of which nothing remains: what a service is given while it is probed.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::read_set::ReadSet;
use super::{Migration, MigrationError, NotAdditive, Rows, Statement, Storage, StorageError, Transaction, Usage};

/// A storage whose reads are real and whose writes run and are always rolled back.
///
/// A write meets the real rows, constraints and limits, takes the real writer for as long as it runs, and counts in the
/// real [`Usage`], as a rollback. What it did is seen inside its transaction and nowhere else: a later read outside, or
/// another transaction, finds the rows as they were. So a probe that writes and then reads what it wrote finds it only where
/// both stand in one transaction. A reference that the schema checks at the commit alone is not checked.
pub struct Rehearsal {
    storage: Arc<dyn Storage>,
}

/// A transaction whose commit is none.
struct Rehearsed {
    transaction: Box<dyn Transaction>,
}

impl Rehearsal {
    /// A rehearsal on a database that serves meanwhile.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage }
    }
}

impl Storage for Rehearsal {
    fn read(&self, statement: Statement) -> BoxFuture<'_, Result<(Rows, Option<ReadSet>), StorageError>> {
        self.storage.read(statement)
    }

    fn execute(&self, statement: Statement) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(async move {
            let transaction = self.storage.begin().await?;
            transaction.execute(statement).await
        })
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, StorageError>> {
        Box::pin(async move {
            let transaction = self.storage.begin().await?;
            Ok(Box::new(Rehearsed { transaction }) as Box<dyn Transaction>)
        })
    }

    /// Refuses: a schema cannot be rehearsed beside what serves.
    fn migrate(&self, _: Vec<Migration>) -> BoxFuture<'_, Result<Vec<u32>, MigrationError>> {
        let denied = StorageError::Denied("migrations while it is probed".into());
        Box::pin(async move { Err(denied.into()) })
    }

    fn check_writes(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        self.storage.check_writes()
    }

    fn check_additive(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<(), NotAdditive>> {
        self.storage.check_additive(migrations)
    }

    fn schema_version(&self) -> BoxFuture<'_, Result<u32, StorageError>> {
        self.storage.schema_version()
    }

    fn serves_other_hosts(&self) -> bool {
        self.storage.serves_other_hosts()
    }

    fn usage(&self) -> &Usage {
        self.storage.usage()
    }
}

impl Transaction for Rehearsed {
    fn query(&self, statement: Statement) -> BoxFuture<'_, Result<Rows, StorageError>> {
        self.transaction.query(statement)
    }

    fn execute(&self, statement: Statement) -> BoxFuture<'_, Result<u64, StorageError>> {
        self.transaction.execute(statement)
    }

    /// Rolls back and answers as a commit would: with an error where the lease is over.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), StorageError>> {
        Box::pin(async move { self.transaction.query(Statement::new("SELECT 1", [])).await.map(drop) })
    }
}
