//! The rows of the keys that several hosts share.
//!
//! A secret that is NULL is of a key that was disabled. Knows nothing of which key signs.

use std::fmt::{self, Debug, Formatter};
use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use storage::{Statement, Storage, StorageError, Value};
use tokio::runtime::Handle;

use super::{KeyChangeError, Place, SigningKey, TokensError};
use crate::key_file::{KEY_BYTES, Key, KeyFileError};
use crate::tokens::shared::{Cell, rows, sql_seconds, unusable};

const READ: &str = "read the signing keys";

/// Numbers, because not every backend has another type for what is true.
const LIST: &str =
    "SELECT since, CASE WHEN secret IS NULL THEN 1 ELSE 0 END AS is_empty FROM signing_keys ORDER BY since DESC";

const SECRET: &str = "SELECT secret FROM signing_keys WHERE since = $1";

const KEEP: &str = "INSERT INTO signing_keys (since, secret) VALUES ($1, $2) ON CONFLICT (since) DO NOTHING";

const EMPTY: &str = "UPDATE signing_keys SET secret = NULL WHERE since = $1";

const DISCARD: &str = "DELETE FROM signing_keys WHERE since = $1";

/// Where the rows are. Everything here waits for the database, on a thread of a Tokio runtime that may block.
pub(super) struct Table(Arc<dyn Storage>);

impl Table {
    /// Makes the first key if there is none. Of two hosts that open at once, one makes it.
    pub(super) fn open(storage: Arc<dyn Storage>) -> Result<Self, TokensError> {
        let table = Self(storage);
        if table.list()?.is_empty() {
            let key = table.random(None)?;
            table.write(KEEP, keyed(None, &key)).map_err(unusable("keep the first signing key"))?;
        }
        Ok(table)
    }

    fn list(&self) -> Result<Vec<(Option<u64>, bool)>, TokensError> {
        let row = |cells: &[Cell<'_>; 2]| match *cells {
            [Cell::Integer(since), Cell::Integer(is_empty)] => Some((begin(since)?, is_empty != 0)),
            _ => None,
        };
        wait(Box::pin(rows(&*self.0, READ, LIST, Vec::new(), row)))
    }

    fn write(&self, sql: &'static str, params: Vec<Value>) -> Result<u64, StorageError> {
        wait(self.0.execute(Statement::new(sql, params)))
    }
}

impl Place for Table {
    fn begins(&self) -> Result<Vec<(Option<u64>, bool)>, TokensError> {
        let begins = self.list()?;
        if begins.is_empty() { Err(unusable(READ)("there are none")) } else { Ok(begins) }
    }

    fn read(&self, since: Option<u64>) -> Result<SigningKey, TokensError> {
        let row = |cells: &[Cell<'_>; 1]| match *cells {
            [Cell::Blob(secret)] => Some(Key::of(secret).map(|key| SigningKey::new(&key))),
            _ => Some(None),
        };
        let found = wait(Box::pin(rows(&*self.0, READ, SECRET, vec![second(since)], row)))?;
        let second = since.unwrap_or(0);
        let damaged = || unusable(READ)(format!("that of second {second} is not {KEY_BYTES} bytes long"));
        found.into_iter().flatten().next().ok_or_else(damaged)
    }

    fn random(&self, _: Option<u64>) -> Result<Key, KeyFileError> {
        Key::random(Path::new("the table of signing keys"))
    }

    fn keep(&self, since: Option<u64>, key: &Key) -> Result<(), String> {
        match self.write(KEEP, keyed(since, key)) {
            Ok(0) => Err("another host made one in the same second, try again".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn empty(&self, since: Option<u64>) -> Result<(), KeyChangeError> {
        self.write(EMPTY, vec![second(since)]).map(|_| ()).map_err(|error| self.not_kept(error.to_string()))
    }

    fn discard(&self, since: Option<u64>) {
        if let Err(error) = self.write(DISCARD, vec![second(since)]) {
            // Every round tries again, so this says it often.
            tracing::debug!(?since, %error, "a key that verifies nothing cannot be removed yet");
        }
    }

    fn not_kept(&self, cause: String) -> KeyChangeError {
        KeyChangeError::NotShared(cause)
    }

    fn is_shared(&self) -> bool {
        true
    }
}

impl Debug for Table {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("Table")
    }
}

fn wait<T>(answer: BoxFuture<'_, T>) -> T {
    Handle::current().block_on(answer)
}

fn second(since: Option<u64>) -> Value {
    Value::Integer(since.map_or(0, sql_seconds))
}

fn keyed(since: Option<u64>, key: &Key) -> Vec<Value> {
    vec![second(since), Value::Blob(key.bytes().to_vec())]
}

/// What a row's second says; none where it is before 1970.
fn begin(since: i64) -> Option<Option<u64>> {
    let since = u64::try_from(since).ok()?;
    Some((since > 0).then_some(since))
}
