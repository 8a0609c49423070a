//! All SQL statements of the service.

use kit::params;
use kit::storage::{Result, Rows, Transaction, query};
use serde::{Deserialize, Serialize};

/// An item. Borrows its texts from its row.
#[derive(Deserialize, Serialize)]
pub(crate) struct Item<'a> {
    id: i64,
    owner: &'a str,
    text: &'a str,
}

/// The newest items. Each row is an [`Item`].
pub(crate) fn newest() -> Result<Rows> {
    query("SELECT id, owner, text FROM items ORDER BY id DESC LIMIT 100", params![])
}

pub(crate) fn insert(transaction: &Transaction, owner: &str, text: &str) -> Result<i64> {
    let sql = "INSERT INTO items (owner, text) VALUES ($1, $2) RETURNING id";
    Ok(transaction.query(sql, params![owner, text])?.one()?.unwrap_or_default())
}
