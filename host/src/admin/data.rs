//! `/services/{name}/tables`: the tables and rows of a service's database, read only. Each look is in the audit log.

use std::sync::Arc;

use hyper::{Method, Request, Response};
use serde_json::{Value, json};
use storage::{Cell, Column, Statement, Storage, StorageError, Table};

use super::Admin;
use super::envelope::{allow, query, success};
use super::masking::{Rules, is_numeric, is_secret};
use crate::body::{Arriving, Body};
use crate::deploy::DeployError;
use crate::error::{AdminError, Error};
use crate::manifest::Service;

/// The most rows of one page.
const ROWS: usize = 100;

/// The most rows that a page may leave out. The database reads them all.
const SKIPPED: u64 = 1_000_000;

/// The most columns of a page. Further ones are only counted.
const COLUMNS: usize = 64;

/// The most characters of a text.
const TEXT: usize = 200;

impl Admin {
    /// `path` begins after `tables`.
    pub(super) async fn tables(
        &self,
        request: &Request<Arriving>,
        name: &str,
        path: &[&str],
        id: &Arc<str>,
    ) -> Result<Response<Body>, AdminError> {
        allow(request, &[Method::GET])?;
        let page = Page::read(request, path)?;
        let service = self.deployer.manifest().services.remove(name);
        let service = service.ok_or_else(|| DeployError::UnknownService(name.to_owned()))?;
        let storage = self.deployer.storages().remove(name).ok_or(AdminError::NoDatabase)?;
        let tables = storage.tables().await.map_err(AdminError::Database)?;
        let rules = Rules::of(&service);
        let found = match page {
            None => {
                let tables: Vec<Value> = tables.iter().map(|table| described(table, &rules)).collect();
                json!({ "count": tables.len(), "data": tables })
            }
            Some(page) => {
                let wanted = path.first().copied().unwrap_or_default();
                let table = tables.into_iter().find(|table| table.name == wanted).ok_or(Error::NotFound)?;
                json!({ "data": page.rows(&*storage, &table, &service).await.map_err(AdminError::Database)? })
            }
        };
        let target = format!("GET {}", request.uri());
        let count = found["count"].as_u64().or_else(|| found["data"]["count"].as_u64()).unwrap_or_default();
        self.audit_order(&target, id, &format!("200 {count}")).await;
        Ok(success(&found))
    }
}

/// A part of the rows of a table.
struct Page {
    limit: usize,
    offset: u64,
}

impl Page {
    /// The page that a request names. None if it asks for the tables.
    fn read(request: &Request<Arriving>, path: &[&str]) -> Result<Option<Self>, AdminError> {
        if path.is_empty() {
            query(request, &[])?;
            return Ok(None);
        }
        if path.len() > 1 {
            return Err(Error::NotFound.into());
        }
        let mut query = query(request, &["limit", "offset"])?;
        let limit = query.remove("limit").map_or(Ok(ROWS), |text| text.parse());
        let limit = limit.ok().filter(|limit| (1..=ROWS).contains(limit));
        let offset = query.remove("offset").map_or(Ok(0), |text| text.parse());
        let offset = offset.ok().filter(|offset| *offset <= SKIPPED);
        let limit = limit.ok_or(Error::BadRequest("limit is a number from 1 to 100"))?;
        let offset = offset.ok_or(Error::BadRequest("offset is a number up to 1000000"))?;
        Ok(Some(Self { limit, offset }))
    }

    /// The rows of the page, newest first if the table has a key of one number.
    async fn rows(&self, storage: &dyn Storage, table: &Table, service: &Service) -> Result<Value, StorageError> {
        let rules = Rules::of(service);
        let columns = &table.columns[..table.columns.len().min(COLUMNS)];
        let (rows, _) = storage.read(self.statement(table, columns, &rules)).await?;
        let cells = rows.cells();
        let all = cells.chunks(columns.len()).take(self.limit);
        let shown: Vec<Vec<Value>> = all
            .map(|row| {
                row.iter()
                    .zip(columns)
                    .map(|(cell, column)| shown(cell, rules.masks(&table.name, column), column))
                    .collect()
            })
            .collect();
        Ok(json!({
            "table": described(table, &rules),
            "further_columns": table.columns.len() - columns.len(),
            "count": shown.len(),
            "offset": self.offset,
            "more": cells.len() / columns.len() > self.limit,
            "rows": shown,
        }))
    }

    /// Reads one row more than the page has, to know whether there is one.
    fn statement(&self, table: &Table, columns: &[Column], rules: &Rules<'_>) -> Statement {
        let selected: Vec<String> =
            columns.iter().map(|column| selected(column, rules.masks(&table.name, column))).collect();
        let mut keys: Vec<&Column> = table.columns.iter().filter(|column| column.key > 0).collect();
        keys.sort_by_key(|column| column.key);
        let order: Vec<String> = keys.iter().map(|column| format!("{} DESC", quoted(&column.name))).collect();
        let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) };
        let (columns, name) = (selected.join(", "), quoted(&table.name));
        let (limit, offset) = (self.limit + 1, self.offset);
        Statement::new(format!("SELECT {columns} FROM {name}{order} LIMIT {limit} OFFSET {offset}"), [])
    }
}

/// What is read of a column: a number, the beginning of a text, or a length.
fn selected(column: &Column, is_masked: bool) -> String {
    let name = quoted(&column.name);
    if is_numeric(column) {
        return name;
    }
    let kind = column.kind.to_ascii_lowercase();
    let is_blob = kind.contains("blob") || kind.contains("bytea");
    if is_masked || is_blob { format!("length({name})") } else { format!("substr({name}, 1, {})", TEXT + 1) }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A value as JSON. `masked`, `blob` and `cut` are objects, so that no text can be taken for one.
fn shown(cell: &Cell<'_>, is_masked: bool, column: &Column) -> Value {
    let kind = column.kind.to_ascii_lowercase();
    let is_blob = kind.contains("blob") || kind.contains("bytea");
    match *cell {
        Cell::Null => Value::Null,
        Cell::Integer(length) if !is_numeric(column) && is_masked => json!({ "masked": length }),
        Cell::Integer(length) if is_blob => json!({ "blob": length }),
        Cell::Integer(integer) => json!(integer),
        Cell::Real(real) => json!(real),
        Cell::Text(text) if is_masked || is_secret(cell) => json!({ "masked": text.chars().count() }),
        Cell::Text(text) => match text.char_indices().nth(TEXT) {
            Some((end, _)) => json!({ "cut": &text[..end] }),
            None => json!(text),
        },
        Cell::Blob(bytes) if is_masked => json!({ "masked": bytes.len() }),
        Cell::Blob(bytes) => json!({ "blob": bytes.len() }),
    }
}

fn described(table: &Table, rules: &Rules<'_>) -> Value {
    let column = |column: &Column| {
        let is_masked = rules.masks(&table.name, column) && !is_numeric(column);
        json!({ "name": column.name, "type": column.kind, "key": column.key > 0, "masked": is_masked })
    };
    json!({ "name": table.name, "columns": table.columns.iter().map(column).collect::<Vec<_>>() })
}
