//! A database to test, and short ways to use it.

use std::sync::Arc;
use std::time::Duration;

use crate::{Migration, Rows, Statement, Storage, StorageError, Transaction, Value};

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(600);

/// Limits that a test sets. The defaults are longer than any test waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) statement_deadline: Duration,
    pub(crate) transaction_lease: Duration,
    pub(crate) longest_wait: Duration,
    pub(crate) result_rows: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { statement_deadline: LONG, transaction_lease: LONG, longest_wait: LONG, result_rows: 10_000 }
    }
}

pub(crate) type Opened = Arc<dyn Storage>;

pub(crate) fn schema() -> Migration {
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
        CREATE TABLE numbers (i INTEGER, r REAL, t TEXT, b BLOB) STRICT;
        INSERT INTO products (id, name, stock) VALUES (1, 'mug', 10);";
    Migration { version: 1, sql: sql.into() }
}

pub(crate) fn step(version: u32, sql: &str) -> Migration {
    Migration { version, sql: sql.into() }
}

/// A database with the tables of [`schema`].
pub(crate) async fn shop(open: impl AsyncFn(Bounds) -> Opened, bounds: Bounds) -> Opened {
    let storage = open(bounds).await;
    assert_eq!(storage.migrate(vec![schema()]).await, Ok(vec![1]));
    storage
}

pub(crate) async fn query(storage: &Opened, sql: &str) -> Result<Rows, StorageError> {
    storage.query(Statement::new(sql, [])).await
}

pub(crate) async fn execute(storage: &Opened, sql: &str) -> Result<u64, StorageError> {
    storage.execute(Statement::new(sql, [])).await
}

pub(crate) async fn run(transaction: &dyn Transaction, sql: &str) -> Result<u64, StorageError> {
    transaction.execute(Statement::new(sql, [])).await
}

pub(crate) async fn ask(transaction: &dyn Transaction, sql: &str) -> Result<Rows, StorageError> {
    transaction.query(Statement::new(sql, [])).await
}

/// The single number of a result.
pub(crate) fn number(rows: Result<Rows, StorageError>) -> i64 {
    match rows.unwrap().values().as_slice() {
        [Value::Integer(number)] => *number,
        other => panic!("not one number: {other:?}"),
    }
}

pub(crate) async fn stock(storage: &Opened) -> i64 {
    number(query(storage, "SELECT stock FROM products WHERE id = 1").await)
}

pub(crate) async fn count(storage: &Opened, table: &str) -> i64 {
    number(query(storage, &format!("SELECT count(*) FROM {table}")).await)
}

pub(crate) const SELL_ONE: &str = "UPDATE products SET stock = stock - 1 WHERE id = 1 AND stock >= 1";
pub(crate) const ONE_LINE: &str = "INSERT INTO lines (product, quantity) VALUES (1, 1)";

/// A query that never ends.
pub(crate) const FOREVER: &str =
    "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";
