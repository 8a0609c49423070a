//! All SQL statements of the service.

use kit::params;
use kit::storage::{Reads, Result, Row, Rows, Transaction, execute, query};

#[derive(serde::Serialize)]
pub(crate) struct Note<'a> {
    id: i64,
    text: &'a str,
}

/// Reads a note from its row, without copying its text.
pub(crate) fn note(row: Row<'_>) -> Result<Note<'_>> {
    Ok(Note { id: row.get("id")?, text: row.get("text")? })
}

pub(crate) fn newest(owner: &str) -> Result<Rows> {
    query("SELECT id, text FROM notes WHERE owner = $1 ORDER BY id DESC LIMIT 100", params![owner])
}

pub(crate) fn insert(transaction: &Transaction, owner: &str, text: &str) -> Result<i64> {
    let sql = "INSERT INTO notes (owner, text) VALUES ($1, $2) RETURNING id";
    transaction.query(sql, params![owner, text])?.first().map_or(Ok(0), |row| row.get("id"))
}

pub(crate) fn delete(owner: &str, id: i64) -> Result<bool> {
    Ok(execute("DELETE FROM notes WHERE owner = $1 AND id = $2", params![owner, id])? == 1)
}
