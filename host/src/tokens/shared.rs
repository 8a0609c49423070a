//! The database that the hosts of one shop share: its tables, and how their rows are read.
//!
//! The SQL is plain, so that every backend reads it. Knows nothing of what a key signs or when a session is forgotten.

use std::fmt::Display;
use std::str;

use storage::{Migration, Rows, Statement, Storage, Value};

use super::TokensError;

/// The keys by the second in which they begin to sign, 0 for the first; a secret is NULL once its key was disabled.
///
/// Whoever ends a session gives it the next number, as the one writer of the database: so the order of the numbers is that of
/// the commits, and whoever has read up to a number asks for those above it.
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

/// Makes the tables that are not there.
pub(super) async fn migrate(storage: &dyn Storage) -> Result<(), TokensError> {
    let made = storage.migrate(vec![Migration { version: 1, sql: TABLES.to_owned() }]).await;
    made.map(|_| ()).map_err(unusable("make the tables of keys and sessions"))
}

/// What it means that the database did not do something.
pub(super) fn unusable<E: Display>(task: &'static str) -> impl Fn(E) -> TokensError {
    move |cause| TokensError::Shared { task, cause: cause.to_string() }
}

/// The rows of a query, each of `N` columns and read by a function that gives none for what it does not know.
pub(super) async fn rows<const N: usize, T>(
    storage: &dyn Storage,
    task: &'static str,
    sql: &'static str,
    params: Vec<Value>,
    row: impl Fn(&[Cell<'_>; N]) -> Option<T>,
) -> Result<Vec<T>, TokensError> {
    let packed = Packed::new(storage.query(Statement::new(sql, params)).await.map_err(unusable(task))?);
    let cells = packed.cells().unwrap_or_default();
    let (rows, rest) = cells.as_chunks::<N>();
    let rows: Option<Vec<T>> = rows.iter().map(row).collect();
    rows.filter(|_| rest.is_empty()).ok_or_else(|| unusable(task)("there is something else in their table"))
}

/// Seconds as SQL has them: its integers are signed.
pub(super) fn sql_seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// A value of a row.
#[derive(Clone, Copy)]
pub(super) enum Cell<'p> {
    Null,
    Integer(i64),
    Text(&'p str),
    Blob(&'p [u8]),
}

/// What a query returned. Cleared when it is dropped, because keys go through it.
struct Packed(Vec<u8>);

impl Packed {
    fn new(rows: Rows) -> Self {
        Self(rows.into_packed())
    }

    /// The values of one row after the other, if it is packed as `wit/storage.wit` says, without real numbers.
    fn cells(&self) -> Option<Vec<Cell<'_>>> {
        let mut rest = self.0.as_slice();
        for _ in 0..length(&mut rest)? {
            bytes(&mut rest)?;
        }
        let mut cells = Vec::new();
        while let Some((kind, after)) = rest.split_first() {
            rest = after;
            cells.push(match kind {
                0 => Cell::Null,
                1 => Cell::Integer(i64::from_le_bytes(take(&mut rest)?)),
                3 => Cell::Text(str::from_utf8(bytes(&mut rest)?).ok()?),
                4 => Cell::Blob(bytes(&mut rest)?),
                _ => return None,
            });
        }
        Some(cells)
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(*taken)
}

fn length(rest: &mut &[u8]) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(take(rest)?)).ok()
}

fn bytes<'p>(rest: &mut &'p [u8]) -> Option<&'p [u8]> {
    let length = length(rest)?;
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}
