//! Signing keys in a table that several hosts share.
//!
//! A row whose secret is NULL is the tombstone of a disabled key. This module does not know which key signs.

use std::fmt::{self, Debug, Formatter};
use std::path::Path;
use std::sync::Arc;

use futures::future::BoxFuture;
use storage::{Cell, Statement, Storage, StorageError, Value};
use tokio::runtime::Handle;

use super::store::KeyStore;
use crate::key_file::{KEY_BYTES, Key, KeyFileError};
use crate::tokens::error::{KeyChangeError, TokensError};
use crate::tokens::key::SigningKey;
use crate::tokens::shared::{rows, sql_seconds, unusable};

/// The task in the error if a query fails.
const READ: &str = "read the signing keys";

/// `is_empty` is a number, because not every backend has a Boolean type.
const LIST: &str =
    "SELECT since, CASE WHEN secret IS NULL THEN 1 ELSE 0 END AS is_empty FROM signing_keys ORDER BY since DESC";

const SECRET: &str = "SELECT secret FROM signing_keys WHERE since = $1";

const INSERT: &str = "INSERT INTO signing_keys (since, secret) VALUES ($1, $2) ON CONFLICT (since) DO NOTHING";

const ERASE: &str = "UPDATE signing_keys SET secret = NULL WHERE since = $1";

const DELETE: &str = "DELETE FROM signing_keys WHERE since = $1";

/// The table of keys.
/// Every method blocks on the database: call it on a blocking thread of a Tokio runtime.
pub(super) struct KeyTable(Arc<dyn Storage>);

impl KeyTable {
    /// Creates the first key if there is no key.
    /// If two hosts open the table at once, only one of them creates it.
    pub(super) fn open(storage: Arc<dyn Storage>) -> Result<Self, TokensError> {
        let table = Self(storage);
        if table.rows()?.is_empty() {
            let key = table.generate(None)?;
            table.write(INSERT, keyed(None, &key)).map_err(unusable("save the first signing key"))?;
        }
        Ok(table)
    }

    fn rows(&self) -> Result<Vec<(Option<u64>, bool)>, TokensError> {
        let row = |cells: &[Cell<'_>; 2]| match *cells {
            [Cell::Integer(since), Cell::Integer(is_empty)] => Some((key_second(since)?, is_empty != 0)),
            _ => None,
        };
        wait(Box::pin(rows(&*self.0, READ, LIST, Vec::new(), row)))
    }

    fn write(&self, sql: &'static str, params: Vec<Value>) -> Result<u64, StorageError> {
        wait(self.0.execute(Statement::new(sql, params)))
    }
}

impl KeyStore for KeyTable {
    fn list(&self) -> Result<Vec<(Option<u64>, bool)>, TokensError> {
        let rows = self.rows()?;
        if rows.is_empty() { Err(unusable(READ)("the table of keys is empty")) } else { Ok(rows) }
    }

    fn load(&self, since: Option<u64>) -> Result<SigningKey, TokensError> {
        let row = |cells: &[Cell<'_>; 1]| match *cells {
            [Cell::Blob(secret)] => Some(Key::from_bytes(secret).map(|key| SigningKey::new(&key))),
            _ => Some(None),
        };
        let found = wait(Box::pin(rows(&*self.0, READ, SECRET, vec![second(since)], row)))?;
        let second = since.unwrap_or(0);
        let damaged = || unusable(READ)(format!("the key of second {second} is not {KEY_BYTES} bytes long"));
        found.into_iter().flatten().next().ok_or_else(damaged)
    }

    fn generate(&self, _: Option<u64>) -> Result<Key, KeyFileError> {
        Key::random(Path::new("the table of signing keys"))
    }

    fn save(&self, since: Option<u64>, key: &Key) -> Result<(), String> {
        match self.write(INSERT, keyed(since, key)) {
            Ok(0) => Err("another host created a key in the same second; try again".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn erase(&self, since: Option<u64>) -> Result<(), KeyChangeError> {
        self.write(ERASE, vec![second(since)]).map(|_| ()).map_err(|error| self.not_saved(error.to_string()))
    }

    fn remove(&self, since: Option<u64>) {
        if let Err(error) = self.write(DELETE, vec![second(since)]) {
            // A debug message, because every reload tries again.
            tracing::debug!(?since, %error, "tokens: cannot remove an expired signing key yet; the next reload retries");
        }
    }

    fn not_saved(&self, cause: String) -> KeyChangeError {
        KeyChangeError::NotShared(cause)
    }

    fn is_shared(&self) -> bool {
        true
    }
}

impl Debug for KeyTable {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyTable")
    }
}

fn wait<T>(future: BoxFuture<'_, T>) -> T {
    Handle::current().block_on(future)
}

fn second(since: Option<u64>) -> Value {
    Value::Integer(since.map_or(0, sql_seconds))
}

fn keyed(since: Option<u64>, key: &Key) -> Vec<Value> {
    vec![second(since), Value::Blob(key.bytes().to_vec())]
}

/// Reads the second of a row, in which 0 stands for the first key.
/// A second before 1970 returns `None`.
fn key_second(since: i64) -> Option<Option<u64>> {
    let since = u64::try_from(since).ok()?;
    Some((since > 0).then_some(since))
}
