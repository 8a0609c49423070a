//! All SQL statements of the service.

use kit::params;
use kit::storage::{Result, Rows, Transaction, execute, query};
use serde::{Deserialize, Serialize};

/// A note. Borrows its text from its row.
#[derive(Deserialize, Serialize)]
pub(crate) struct Note<'a> {
    id: i64,
    text: &'a str,
}

/// The newest notes of a user. Each row is a [`Note`].
pub(crate) fn newest(owner: &str) -> Result<Rows> {
    query("SELECT id, text FROM notes WHERE owner = $1 ORDER BY id DESC LIMIT 100", params![owner])
}

pub(crate) fn insert(transaction: &Transaction, owner: &str, text: &str) -> Result<i64> {
    let sql = "INSERT INTO notes (owner, text) VALUES ($1, $2) RETURNING id";
    Ok(transaction.query(sql, params![owner, text])?.one()?.unwrap_or_default())
}

pub(crate) fn delete(owner: &str, id: i64) -> Result<bool> {
    Ok(execute("DELETE FROM notes WHERE owner = $1 AND id = $2", params![owner, id])? == 1)
}
