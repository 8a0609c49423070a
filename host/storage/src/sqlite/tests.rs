//! Tests of the SQLite engine. Each uses a file in its own folder.

mod additive;
mod contract;
mod isolation;
mod limits;
mod migrations;
mod opening;
mod read_set;
mod reads;
mod rehearsal;
mod transactions;
mod writes;

use std::path::PathBuf;
use std::time::Duration;

use futures::FutureExt;
use tempfile::TempDir;

use super::{SqliteConfig, SqliteStorage};
use crate::{Migration, Rows, Statement, Storage, StorageError, Transaction, Value};

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(600);

/// A database in its own folder. Dropping it deletes the folder.
struct Shop {
    storage: SqliteStorage,
    folder: TempDir,
}

impl Shop {
    /// A shop with the tables `products`, `lines` and `numbers`.
    ///
    /// `products` has one row (id 1, stock 10). `lines` refers to `products`.
    async fn open(config: SqliteConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        let storage = SqliteStorage::open(&path, SqliteConfig::default()).unwrap();
        storage.migrate(vec![schema()]).await.unwrap();
        Self { storage: SqliteStorage::open(&path, config).unwrap(), folder }
    }

    async fn new() -> Self {
        Self::open(SqliteConfig::default()).await
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("shop.db")
    }

    /// A connection outside the host, like that of another process.
    fn outsider(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.file()).unwrap()
    }

    async fn query(&self, sql: &str, params: &[Value]) -> Result<Rows, StorageError> {
        self.storage.query(Statement::new(sql, params)).await
    }

    async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, StorageError> {
        self.storage.execute(Statement::new(sql, params)).await
    }

    async fn begin(&self) -> Box<dyn Transaction> {
        self.storage.begin().await.unwrap()
    }

    async fn stock(&self) -> i64 {
        number(self.query("SELECT stock FROM products WHERE id = 1", &[]).await)
    }

    async fn count(&self, table: &str) -> i64 {
        number(self.query(&format!("SELECT count(*) FROM {table}"), &[]).await)
    }

    /// The sorted names of the folder's files.
    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn schema() -> Migration {
    let sql = "
        CREATE TABLE products (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            stock INTEGER NOT NULL CHECK (stock >= 0)
        ) STRICT;
        CREATE TABLE lines (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            product INTEGER NOT NULL REFERENCES products (id),
            quantity INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE numbers (n ANY) STRICT;
        INSERT INTO products VALUES (1, 'mug', 10);";
    Migration { version: 1, sql: sql.into() }
}

/// The single number of a result.
fn number(rows: Result<Rows, StorageError>) -> i64 {
    match rows.unwrap().values().as_slice() {
        [Value::Integer(number)] => *number,
        other => panic!("not one number: {other:?}"),
    }
}

async fn run(transaction: &dyn Transaction, sql: &str) -> Result<u64, StorageError> {
    transaction.execute(Statement::new(sql, [])).await
}

async fn ask(transaction: &dyn Transaction, sql: &str) -> Result<Rows, StorageError> {
    transaction.query(Statement::new(sql, [])).await
}

/// Polls a future once. Returns whether it is still waiting.
fn waits(future: &mut (impl Future + Unpin)) -> bool {
    future.now_or_never().is_none()
}

const SELL_ONE: &str = "UPDATE products SET stock = stock - 1 WHERE id = 1 AND stock >= 1";

/// A query that never ends.
const FOREVER: &str = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";

/// A write that never ends.
const WRITE_FOREVER: &str =
    "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) INSERT INTO numbers SELECT n FROM c WHERE n < 0";
