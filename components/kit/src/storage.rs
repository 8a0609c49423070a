//! Typed SQL on the service's own database.
//!
//! Statements number their parameters `$1`, `$2`, … [`params!`](crate::params) builds the list of values. SQL functions for the
//! time and for random numbers are not available: pass such values as parameters.
//!
//! ```no_run
//! # fn look() -> Result<(), kit::Failure> {
//! #[derive(serde::Deserialize)]
//! struct Visit<'a> {
//!     id: i64,
//!     name: &'a str,
//! }
//! let rows = kit::storage::query("SELECT id, name FROM visits WHERE name = $1", kit::params!["Ada"])?;
//! let visits: Vec<Visit> = rows.all()?;
//! # Ok(())
//! # }
//! ```

mod read;
pub(crate) mod row;

#[cfg(not(feature = "native"))]
use crate::bindings::comptoir::platform::storage as host;
#[cfg(feature = "native")]
use crate::native::storage as host;

pub use crate::bindings::comptoir::platform::storage::{Constraint, Error, Value};
pub use row::{FromValue, Row, Rows, ValueRef};

/// The result of a storage call.
pub type Result<T> = std::result::Result<T, Error>;

/// Reads rows outside a transaction. Sees every commit that was acknowledged before.
///
/// # Errors
///
/// See [`Error`]. A statement that writes is `Invalid`.
pub fn query(sql: &str, params: &[Value]) -> Result<Rows> {
    host::query(sql, params).and_then(Rows::unpack)
}

/// Checks that the database responds, for the health of a [`Service`](crate::Service).
///
/// # Errors
///
/// See [`Error`].
pub fn ping() -> Result<()> {
    query("SELECT 1", &[]).map(drop)
}

/// Writes in its own transaction and returns the number of changed rows. When it returns, the write is durable.
///
/// # Errors
///
/// See [`Error`]. After an error, nothing was written.
pub fn execute(sql: &str, params: &[Value]) -> Result<u64> {
    host::execute(sql, params)
}

/// Begins a transaction, which takes the only writer of the database.
///
/// # Errors
///
/// `Busy` if other transactions hold the writer for longer than the host waits. See [`Error`].
pub fn begin() -> Result<Transaction> {
    host::begin().map(Transaction)
}

/// Maximum rows of one batch of [`in_batches`]. They take milliseconds, far less than a statement's deadline.
const BATCH_ROWS: u32 = 500;
/// Maximum batches of one request: 200,000 rows, which take some seconds.
const BATCHES: u32 = 400;

/// Changes many rows in batches, so that other requests can write in between.
///
/// `batch` changes up to the given number of rows in its own transaction. It returns true if no rows are left. A finished batch
/// stays if a later one fails. Returns false if rows are left after 400 batches of 500: then the next request continues.
///
/// # Errors
///
/// The error of a batch.
pub fn in_batches(mut batch: impl FnMut(u32) -> Result<bool>) -> Result<bool> {
    for _ in 0..BATCHES {
        if batch(BATCH_ROWS)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A source of rows: the committed [`Database`], or a [`Transaction`] with its own writes.
pub trait Reads {
    /// Reads rows.
    ///
    /// # Errors
    ///
    /// See [`Error`].
    fn query(&self, sql: &str, params: &[Value]) -> Result<Rows>;
}

/// The database outside any transaction.
#[derive(Clone, Copy, Debug)]
pub struct Database;

impl Reads for Database {
    fn query(&self, sql: &str, params: &[Value]) -> Result<Rows> {
        query(sql, params)
    }
}

/// An open transaction, which holds the only writer of the database.
///
/// [`commit`](Transaction::commit) makes all of its writes durable. Dropping it rolls back. Other writers wait meanwhile, so
/// the host ends a transaction after its lease: one second unless the manifest sets another.
#[derive(Debug)]
pub struct Transaction(host::Transaction);

impl Transaction {
    /// Reads committed rows and this transaction's writes. Can also write, with `RETURNING`.
    ///
    /// # Errors
    ///
    /// See [`Error`]. After `TimedOut`, the whole transaction was rolled back.
    pub fn query(&self, sql: &str, params: &[Value]) -> Result<Rows> {
        self.0.query(sql, params).and_then(Rows::unpack)
    }

    /// Writes and returns the number of changed rows.
    ///
    /// # Errors
    ///
    /// See [`Error`]. After `TimedOut`, the whole transaction was rolled back.
    pub fn execute(&self, sql: &str, params: &[Value]) -> Result<u64> {
        self.0.execute(sql, params)
    }

    /// Commits the transaction. When it returns, the writes are durable.
    ///
    /// # Errors
    ///
    /// See [`Error`]. After an error, nothing was written.
    pub fn commit(self) -> Result<()> {
        host::Transaction::commit(self.0)
    }
}

impl Reads for Transaction {
    fn query(&self, sql: &str, params: &[Value]) -> Result<Rows> {
        self.query(sql, params)
    }
}

/// Builds the parameters of a statement.
///
/// Accepts every type that is `Into<Value>`: integers, floats, booleans (as 0 and 1), texts, bytes, and `Option`s of them.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::storage::Value::from($value)),*]
    };
}
