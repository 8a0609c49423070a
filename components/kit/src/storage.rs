//! SQL on the service's own database, with types.
//!
//! Statements number their parameters `$1`, `$2`, …; [`params!`](crate::params) makes the list. Time and randomness are
//! passed in as values: SQL has neither here.
//!
//! ```no_run
//! # fn look() -> Result<(), kit::Failure> {
//! let rows = kit::storage::query("SELECT id, name FROM visits WHERE name = $1", kit::params!["Ada"])?;
//! for row in rows.iter() {
//!     let (id, name): (i64, &str) = (row.get("id")?, row.get("name")?);
//!     println!("{id}: {name}");
//! }
//! # Ok(())
//! # }
//! ```

pub(crate) mod row;

#[cfg(not(feature = "native"))]
use crate::bindings::comptoir::platform::storage as host;
#[cfg(feature = "native")]
use crate::native::storage as host;

pub use crate::bindings::comptoir::platform::storage::{Constraint, Error, Value};
pub use row::{Found, FromValue, Row, Rows};

/// What storage gives back, or why it had no effect.
pub type Result<T> = std::result::Result<T, Error>;

/// Reads outside a transaction: every commit that was acknowledged before is there.
///
/// # Errors
///
/// See [`Error`]. A statement that writes is `Invalid`.
pub fn query(sql: &str, params: &[Value]) -> Result<Rows> {
    host::query(sql, params).and_then(Rows::unpack)
}

/// Whether the database answers, for the health of a [`Service`](crate::Service).
///
/// # Errors
///
/// See [`Error`].
pub fn answers() -> Result<()> {
    query("SELECT 1", &[]).map(drop)
}

/// Writes in a transaction of its own, and gives the number of rows changed. Once it returns, the write is durable.
///
/// # Errors
///
/// See [`Error`]. Then nothing was written.
pub fn execute(sql: &str, params: &[Value]) -> Result<u64> {
    host::execute(sql, params)
}

/// Takes the one writer of the database.
///
/// # Errors
///
/// `Busy` when others held it for longer than the host waits; see [`Error`].
pub fn begin() -> Result<Transaction> {
    host::begin().map(Transaction)
}

/// Rows that one batch of [`in_batches`] changes at the most. That many take milliseconds, far less than a statement may.
const BATCH_ROWS: u32 = 500;
/// Batches of one request: 200,000 rows, which take some seconds.
const BATCHES: u32 = 400;

/// Changes any number of rows, a batch at a time. `batch` changes at most so many rows, in a transaction of its own, and says
/// whether none are left. So what was done stays done if a later batch fails, and others write in between.
///
/// False if rows are left after as many batches as one request should run: then the next request goes on from there.
///
/// # Errors
///
/// What `batch` gives.
pub fn in_batches(mut batch: impl FnMut(u32) -> Result<bool>) -> Result<bool> {
    for _ in 0..BATCHES {
        if batch(BATCH_ROWS)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Where a statement can read: the [`Database`] as it was committed, or a [`Transaction`] with its own writes.
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

/// The one writer, held: all of what it writes becomes durable with [`commit`](Transaction::commit), or none of it.
///
/// Others wait meanwhile, so it has a lease of about a second. Dropping it without a commit rolls back.
#[derive(Debug)]
pub struct Transaction(host::Transaction);

impl Transaction {
    /// Writes, and gives the number of rows changed.
    ///
    /// # Errors
    ///
    /// See [`Error`]. After `TimedOut` the whole transaction is gone.
    pub fn execute(&self, sql: &str, params: &[Value]) -> Result<u64> {
        self.0.execute(sql, params)
    }

    /// Ends the transaction and keeps what it wrote.
    ///
    /// # Errors
    ///
    /// See [`Error`]. Then none of it was written.
    pub fn commit(self) -> Result<()> {
        host::Transaction::commit(self.0)
    }
}

impl Reads for Transaction {
    /// Reads what was committed and what this transaction wrote. May also write, with `RETURNING`.
    fn query(&self, sql: &str, params: &[Value]) -> Result<Rows> {
        self.0.query(sql, params).and_then(Rows::unpack)
    }
}

/// The parameters of a statement, each of a type that is `Into<Value>`: integers, floats, booleans (as 0 and 1), texts, bytes,
/// and `Option`s of them.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => {
        &[$($crate::storage::Value::from($value)),*]
    };
}
