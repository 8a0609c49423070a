//! The tables of a database, for somebody who looks into it.

/// The most columns of all tables that are listed.
pub(crate) const MOST_COLUMNS: u32 = 2_000;

/// A table of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns, in their order.
    pub columns: Vec<Column>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// The declared type, as the engine calls it.
    pub kind: String,
    /// Its place in the primary key, beginning with 1. 0 if it is not part of that.
    pub key: i64,
}

/// Collects columns that arrive in the order of their tables.
pub(crate) fn collect(columns: impl IntoIterator<Item = (String, Column)>) -> Vec<Table> {
    let mut tables: Vec<Table> = Vec::new();
    for (table, column) in columns {
        match tables.last_mut().filter(|last| last.name == table) {
            Some(last) => last.columns.push(column),
            None => tables.push(Table { name: table, columns: vec![column] }),
        }
    }
    tables
}
