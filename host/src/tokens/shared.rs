//! The tables that several hosts share, and a reader for their rows.
//!
//! The SQL is portable between the storage backends. This module does not know which key signs or when a session is forgotten.

use std::fmt::Display;

use storage::{Cell, Migration, Rows, Statement, Storage, Value};

use super::error::TokensError;

/// The tables of keys and of ended sessions.
///
/// `since` is the second in which a key begins to sign, 0 for the first key. `secret` is NULL after its key was disabled.
/// A host that ends a session gives it the next number as `change`. The database has one writer at a time, so the numbers
/// follow the order of the commits. A host that has read up to a number only asks for higher ones.
const TABLES: &str = "
    CREATE TABLE signing_keys (
        since INTEGER NOT NULL PRIMARY KEY,
        secret BLOB
    ) STRICT;
    CREATE TABLE ended_sessions (
        session TEXT NOT NULL PRIMARY KEY,
        remember_until INTEGER NOT NULL,
        change INTEGER NOT NULL
    ) STRICT;
    CREATE UNIQUE INDEX ended_sessions_by_change ON ended_sessions (change);
";

/// Creates missing tables.
pub(super) async fn migrate(storage: &dyn Storage) -> Result<(), TokensError> {
    let made = storage.migrate(vec![Migration { version: 1, sql: TABLES.to_owned() }]).await;
    made.map(|_| ()).map_err(unusable("create the tables of keys and sessions"))
}

/// Turns a database error into one that names the failed task.
pub(super) fn unusable<E: Display>(task: &'static str) -> impl Fn(E) -> TokensError {
    move |cause| TokensError::Shared { task, cause: cause.to_string() }
}

/// Runs a query of `N` columns and converts its rows.
/// `row` returns `None` for a row of the wrong types.
pub(super) async fn rows<const N: usize, T>(
    storage: &dyn Storage,
    task: &'static str,
    sql: &'static str,
    params: Vec<Value>,
    row: impl Fn(&[Cell<'_>; N]) -> Option<T>,
) -> Result<Vec<T>, TokensError> {
    let result = Erased(storage.query(Statement::new(sql, params)).await.map_err(unusable(task))?);
    let cells = result.0.cells();
    let (rows, rest) = cells.as_chunks::<N>();
    let rows: Option<Vec<T>> = rows.iter().map(row).collect();
    rows.filter(|_| rest.is_empty()).ok_or_else(|| unusable(task)("its rows have other types than this host writes"))
}

/// Converts seconds to SQL's signed integers.
pub(super) fn sql_seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// The result of a query. Erased when it is dropped, because it can contain keys.
struct Erased(Rows);

impl Drop for Erased {
    fn drop(&mut self) {
        self.0.erase();
    }
}
