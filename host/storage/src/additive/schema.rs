//! Reads the schema of a database and compares two schemas.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;

/// Tables, indexes, views and triggers. The keys are names in lower case.
#[derive(Clone, Debug)]
pub(super) struct Schema {
    tables: BTreeMap<String, Table>,
    indexes: BTreeMap<String, Index>,
    /// Views and triggers.
    ///
    /// The key contains the kind, because a view and a trigger may have the same name.
    programs: BTreeMap<(Kind, String), Program>,
}

/// A table as it is.
#[derive(Clone, Debug)]
pub(super) struct Table {
    name: String,
    /// The root page of its rows. Renaming a table does not change it.
    root: i64,
    sql: String,
    strict: bool,
    columns: Vec<Column>,
    references: Vec<Reference>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Column {
    name: String,
    /// Type, position in the primary key, and kind of generated column.
    nature: (String, i64, i64),
    not_null: bool,
    default: Option<String>,
}

#[derive(Clone, Debug)]
struct Reference {
    column: String,
    to: String,
}

#[derive(Clone, Debug)]
struct Index {
    name: String,
    table: String,
    unique: bool,
    sql: String,
    /// The indexed columns. `None` stands for an expression.
    columns: Vec<Option<String>>,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    View,
    Trigger,
}

#[derive(Clone, Debug)]
struct Program {
    name: String,
    table: String,
    sql: String,
}

impl Schema {
    /// Reads the current schema of a connection.
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut schema = Self { tables: BTreeMap::new(), indexes: BTreeMap::new(), programs: BTreeMap::new() };
        let mut parts = connection.prepare_cached(
            "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema
             WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
        )?;
        let mut parts = parts.query([])?;
        while let Some(part) = parts.next()? {
            let (kind, name, table, root, sql): (String, String, String, i64, String) =
                (part.get(0)?, part.get(1)?, part.get(2)?, part.get(3)?, part.get(4)?);
            let key = name.to_ascii_lowercase();
            match kind.as_str() {
                "table" => {
                    let (columns, references) = (read_columns(connection, &name)?, read_references(connection, &name)?);
                    let strict = "SELECT strict FROM pragma_table_list(?1) WHERE schema = 'main'";
                    let strict = connection.query_row(strict, [&name], |row| row.get(0))?;
                    schema.tables.insert(key, Table { name, root, sql, strict, columns, references });
                }
                "index" => {
                    let (unique, columns) = read_index(connection, &table, &name)?;
                    schema.indexes.insert(key, Index { name, table, unique, sql, columns });
                }
                kind => {
                    let kind = if kind == "view" { Kind::View } else { Kind::Trigger };
                    schema.programs.insert((kind, key), Program { name, table, sql });
                }
            }
        }
        Ok(schema)
    }

    /// Whether the schema contains a table or view.
    ///
    /// SQLite's own tables always count as known.
    pub(super) fn knows(&self, name: &str) -> bool {
        let key = name.to_ascii_lowercase();
        key.starts_with("sqlite_") || self.tables.contains_key(&key) || self.programs.contains_key(&(Kind::View, key))
    }

    /// Whether a table has a column.
    pub(super) fn has_column(&self, table: &str, column: &str) -> bool {
        self.tables.get(&table.to_ascii_lowercase()).is_some_and(|table| table.column(column).is_some())
    }
}

impl Table {
    /// The SQL of a table with the same name and strictness, but only one column.
    pub(super) fn with_one_column(&self, definition: &str) -> String {
        format!("CREATE TABLE {} ({definition}) {}", self.quoted_name(), if self.strict { "STRICT" } else { "" })
    }

    /// Its name as a quoted SQL identifier.
    pub(super) fn quoted_name(&self) -> String {
        format!("\"{}\"", self.name.replace('"', "\"\""))
    }

    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name))
    }
}

impl Column {
    /// Whether a row that does not name the column gets NULL.
    fn is_null_by_default(&self) -> bool {
        self.default.as_deref().is_none_or(|default| default.eq_ignore_ascii_case("null"))
    }

    fn is_generated(&self) -> bool {
        self.nature.2 != 0
    }
}

fn read_columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Column>> {
    let sql = "SELECT name, type, pk, hidden, \"notnull\", dflt_value FROM pragma_table_xinfo(?1)";
    let mut columns = connection.prepare_cached(sql)?;
    let columns = columns.query_map([table], |row| {
        Ok(Column {
            name: row.get(0)?,
            nature: (row.get(1)?, row.get(2)?, row.get(3)?),
            not_null: row.get(4)?,
            default: row.get(5)?,
        })
    })?;
    columns.collect()
}

fn read_references(connection: &Connection, table: &str) -> rusqlite::Result<Vec<Reference>> {
    let mut references = connection.prepare_cached("SELECT \"from\", \"table\" FROM pragma_foreign_key_list(?1)")?;
    let references = references.query_map([table], |row| Ok(Reference { column: row.get(0)?, to: row.get(1)? }))?;
    references.collect()
}

fn read_index(connection: &Connection, table: &str, name: &str) -> rusqlite::Result<(bool, Vec<Option<String>>)> {
    let sql = "SELECT \"unique\" FROM pragma_index_list(?1) WHERE name = ?2";
    let unique = connection.query_row(sql, [table, name], |row| row.get(0))?;
    let mut columns = connection.prepare_cached("SELECT name FROM pragma_index_info(?1)")?;
    let columns = columns.query_map([name], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    Ok((unique, columns))
}

/// Why the last statement would break the old revision; `None` if it would not.
///
/// `old` is the old revision's schema. `before` and `after` are the schemas around the statement. `passes` tells whether a
/// column's default satisfies the constraints in the column's definition.
pub(super) fn compare(
    old: &Schema,
    before: &Schema,
    after: &Schema,
    passes: impl Fn(&Table, &str) -> bool,
) -> Option<String> {
    old.tables
        .iter()
        .find_map(|(key, known)| compare_table(old, known, &before.tables[key], after, &passes))
        .or_else(|| old.indexes.iter().find_map(|(key, index)| missing_index(index, after.indexes.get(key))))
        .or_else(|| after.indexes.values().find_map(|index| new_index(old, after, index)))
        .or_else(|| compare_programs(old, after))
}

fn compare_table(
    old: &Schema,
    known: &Table,
    before: &Table,
    after: &Schema,
    passes: &impl Fn(&Table, &str) -> bool,
) -> Option<String> {
    let name = &known.name;
    let Some(now) = after.tables.get(&name.to_ascii_lowercase()) else {
        let renamed = after.tables.values().find(|table| table.root == before.root);
        return Some(match renamed {
            Some(Table { name: new, .. }) => {
                format!("renames the table `{name}`, which the running revision may use, to `{new}`")
            }
            None => format!("drops the table `{name}`, which the running revision may use"),
        });
    };
    if now.sql == before.sql {
        return None;
    }
    if let Some(reason) = known.columns.iter().find_map(|column| compare_column(name, column, now, before)) {
        return Some(reason);
    }
    let added: Vec<_> = now.columns.iter().filter(|column| before.column(&column.name).is_none()).collect();
    match (now.columns.len().cmp(&before.columns.len()), added.as_slice()) {
        (Ordering::Greater, [column]) => {
            let definition = inserted(&before.sql, &now.sql);
            new_column(old, now, column, || definition.is_some_and(|definition| passes(now, definition)))
        }
        // A column that only the new revision knows was dropped or renamed.
        (Ordering::Less, []) | (Ordering::Equal, [_]) => None,
        _ => Some(format!("changes the rules of the table `{name}`, which the running revision relies on")),
    }
}

/// Why a change of a known column breaks the old revision.
fn compare_column(table: &str, known: &Column, now: &Table, before: &Table) -> Option<String> {
    let name = &known.name;
    let Some(column) = now.column(name) else {
        let place = before.columns.iter().position(|column| column.name == *name);
        let renamed =
            place.and_then(|place| now.columns.get(place)).filter(|_| now.columns.len() == before.columns.len());
        return Some(match renamed {
            Some(Column { name: new, .. }) => {
                format!("renames the column `{name}` of `{table}`, which the running revision may use, to `{new}`")
            }
            None => format!("drops the column `{name}` of `{table}`, which the running revision may use"),
        });
    };
    if column.not_null != known.not_null {
        let rule = if column.not_null { "forbids NULL in" } else { "allows NULL in" };
        return Some(format!("{rule} the column `{name}` of `{table}`, which the running revision does not expect"));
    }
    (column != known)
        .then(|| format!("changes the definition of the column `{name}` of `{table}`, which the running revision uses"))
}

/// Why a new column would prevent the old revision from writing rows.
fn new_column(old: &Schema, table: &Table, column: &Column, passes: impl FnOnce() -> bool) -> Option<String> {
    let what = format!("adds the column `{}` to `{}`", column.name, table.name);
    if column.is_generated() {
        return Some(format!("{what}, whose expression may fail on rows that the running revision writes"));
    }
    if column.not_null && column.is_null_by_default() {
        return Some(format!(
            "{what}, which is NOT NULL and has no default: the running revision could no longer add rows"
        ));
    }
    let reference = table.references.iter().find(|reference| reference.column.eq_ignore_ascii_case(&column.name));
    if let Some(Reference { to, .. }) = reference {
        if old.knows(to) {
            return Some(format!(
                "{what} with a reference to `{to}`, whose rows the running revision may want to delete"
            ));
        }
        if !column.is_null_by_default() {
            return Some(format!("{what} with a reference and a default other than NULL, which may refer to no row"));
        }
    }
    (!passes()).then(|| {
        format!(
            "{what} with a rule that its default does not meet or that looks at other columns: \
             the running revision may be refused rows"
        )
    })
}

/// The definition that ALTER TABLE inserted into the SQL of a table.
fn inserted<'a>(before: &str, after: &'a str) -> Option<&'a str> {
    let more = after.len().checked_sub(before.len())?;
    (0..=before.len()).filter(|at| before.is_char_boundary(*at)).find_map(|at| {
        let (head, tail) = before.split_at(at);
        let rest = after.strip_prefix(head)?;
        let (definition, end) = rest.split_at_checked(more)?;
        if end == tail { definition.strip_prefix(", ") } else { None }
    })
}

fn missing_index(known: &Index, now: Option<&Index>) -> Option<String> {
    let same = now.is_some_and(|now| now.sql == known.sql && now.table == known.table);
    (known.unique && !same).then(|| {
        format!("drops the unique index `{}` of `{}`, which the running revision relies on", known.name, known.table)
    })
}

/// Why a new unique index could refuse rows of the old revision.
///
/// In new columns these rows have NULL, and a unique index accepts any number of NULLs.
fn new_index(old: &Schema, after: &Schema, index: &Index) -> Option<String> {
    if !index.unique || !old.knows(&index.table) || old.indexes.contains_key(&index.name.to_ascii_lowercase()) {
        return None;
    }
    let names: Option<BTreeSet<&str>> = index.columns.iter().map(Option::as_deref).collect();
    let table = after.tables.get(&index.table.to_ascii_lowercase());
    let harmless = names.zip(table).is_some_and(|(names, table)| {
        names.iter().all(|name| !old.has_column(&index.table, name) && table.column(name).is_some())
            && names.iter().filter_map(|name| table.column(name)).any(Column::is_null_by_default)
    });
    (!harmless).then(|| {
        format!(
            "adds the unique index `{}` to the table `{}`: the running revision may be refused rows",
            index.name, index.table
        )
    })
}

fn compare_programs(old: &Schema, after: &Schema) -> Option<String> {
    let word = |kind: Kind| if kind == Kind::View { "view" } else { "trigger" };
    let gone = old.programs.iter().find_map(|((kind, key), known)| {
        let now = after.programs.get(&(*kind, key.clone()));
        let same = now.is_some_and(|now| now.sql == known.sql && now.table == known.table);
        (!same).then(|| {
            format!("drops or changes the {} `{}`, which the running revision relies on", word(*kind), known.name)
        })
    });
    gone.or_else(|| {
        after.programs.iter().find_map(|((kind, key), program)| {
            let new = *kind == Kind::Trigger && !old.programs.contains_key(&(*kind, key.clone()));
            (new && old.knows(&program.table)).then(|| {
                format!(
                    "adds the trigger `{}` to `{}`, which the running revision's writes would trigger",
                    program.name, program.table
                )
            })
        })
    })
}
