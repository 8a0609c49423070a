//! A storage that rolls back every write. Services get it while they are probed.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::read_set::ReadSet;
use super::{
    Migration, MigrationError, NotAdditive, Rows, Statement, Storage, StorageError, Table, Transaction, Usage,
};

/// A storage with real reads, whose writes run but are always rolled back.
///
/// A write meets the real rows, constraints and limits. It holds the real writer while it runs, and [`Usage`] counts it as a
/// rollback. Only its own transaction sees its changes. Later reads and other transactions see the old rows. So a probe can read
/// what it wrote only within one transaction. References that the schema checks at the commit are not checked.
pub struct Rehearsal {
    storage: Arc<dyn Storage>,
}

/// A transaction that rolls back instead of committing.
struct Rehearsed {
    transaction: Box<dyn Transaction>,
}

impl Rehearsal {
    /// Wraps the database of a running service.
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

    /// Always refuses: a schema cannot be rehearsed while another revision uses it.
    fn migrate(&self, _: Vec<Migration>) -> BoxFuture<'_, Result<Vec<u32>, MigrationError>> {
        let denied = StorageError::Denied("migrations while it is being probed".into());
        Box::pin(async move { Err(denied.into()) })
    }

    fn check_writes(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        self.storage.check_writes()
    }

    fn check_additive(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<(), NotAdditive>> {
        self.storage.check_additive(migrations)
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<Table>, StorageError>> {
        self.storage.tables()
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

    /// Rolls back. Returns an error if the lease is over, like a commit.
    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), StorageError>> {
        Box::pin(async move { self.transaction.query(Statement::new("SELECT 1", [])).await.map(drop) })
    }
}
