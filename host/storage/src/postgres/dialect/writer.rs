//! Writes the translated statement, and counts its parts for the limits.

use std::collections::BTreeSet;

use sqlparser::ast::{Ident, ObjectName, ObjectNamePart};

use crate::StorageError;

use super::{Limits, denied, invalid, shown};
use crate::postgres::value::escaped;

pub(super) type Written = Result<(), StorageError>;

/// The maximum number of LIKEs per statement, because each searches through a text.
const LIKES: usize = 8;
/// The maximum length of a name, in bytes. PostgreSQL truncates longer ones.
const NAME_BYTES: usize = 63;
/// Columns that every table in PostgreSQL has.
const SYSTEM_COLUMNS: [&str; 7] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid", "oid"];
/// Prefixes of tables that belong to PostgreSQL, SQLite or the host.
const OTHERS: [&str; 4] = ["pg_", "sqlite_", "information_schema", "comptoir_"];
const ROW_IDS: [&str; 2] = ["rowid", "_rowid_"];

/// Functions that take a row.
///
/// If a table has no column `to_json`, PostgreSQL takes `t.to_json` for `to_json(t)`.
const ROW_FUNCTIONS: &[&str] = &[
    "any_value",
    "array_agg",
    "concat",
    "hash_record",
    "json_agg",
    "json_build_array",
    "json_build_object",
    "json_scalar",
    "json_serialize",
    "jsonb_agg",
    "json_agg_strict",
    "jsonb_agg_strict",
    "jsonb_build_array",
    "jsonb_build_object",
    "num_nonnulls",
    "num_nulls",
    "quote_literal",
    "quote_nullable",
    "row_to_json",
    "to_json",
    "to_jsonb",
];

pub(super) struct Writer<'l> {
    out: String,
    limits: &'l Limits,
    parameters: usize,
    functions: usize,
    likes: usize,
    subqueries: usize,
    /// Names and aliases of tables.
    tables: BTreeSet<String>,
    /// Columns that the statement uses without naming their table.
    bare_columns: BTreeSet<String>,
}

impl<'l> Writer<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Writer {
            out: String::new(),
            limits,
            parameters: 0,
            functions: 0,
            likes: 0,
            subqueries: 0,
            // The names of the affected rows in a writing statement.
            tables: ["excluded", "old", "new"].map(String::from).into(),
            bare_columns: BTreeSet::new(),
        }
    }

    /// Returns the text and the highest number of a parameter.
    pub(super) fn finish(self) -> Result<(String, usize), StorageError> {
        // PostgreSQL would take the name for the whole row.
        if let Some(name) = self.bare_columns.intersection(&self.tables).next() {
            let name = shown(name);
            return Err(invalid(format!("{name} is a table but used as a column: write {name}.{name}")));
        }
        Ok((self.out, self.parameters))
    }

    pub(super) fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Writes parentheses and their content.
    pub(super) fn parentheses(&mut self, inner: impl FnOnce(&mut Self) -> Written) -> Written {
        self.put("(");
        inner(self)?;
        self.put(")");
        Ok(())
    }

    /// Writes items separated by commas.
    pub(super) fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T) -> Written) -> Written {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.put(", ");
            }
            each(self, item)?;
        }
        Ok(())
    }

    /// Writes a string. Backslashes have no special meaning in it.
    pub(super) fn string(&mut self, text: &str) {
        self.put("'");
        self.put(&escaped(text).replace('\'', "''"));
        self.put("'");
    }

    fn quoted(&mut self, name: &str) {
        self.put("\"");
        self.put(&name.replace('"', "\"\""));
        self.put("\"");
    }

    /// Writes a name of no existing object: an alias, a window, a constraint.
    pub(super) fn name(&mut self, ident: &Ident) -> Written {
        let name = name_of(ident)?;
        self.quoted(&name);
        Ok(())
    }

    /// Writes the name of a table, an index or a view.
    pub(super) fn table(&mut self, name: &ObjectName) -> Written {
        let [ObjectNamePart::Identifier(ident)] = name.0.as_slice() else {
            return Err(denied(format!("the table {}", shown(&name.to_string()))));
        };
        self.bare_table(ident)
    }

    /// Writes the name of a table without a schema.
    pub(super) fn bare_table(&mut self, ident: &Ident) -> Written {
        let name = name_of(ident)?;
        let lower = name.to_ascii_lowercase();
        if OTHERS.iter().any(|prefix| lower.starts_with(prefix)) {
            return Err(denied(format!("the table {}", shown(&name))));
        }
        self.quoted(&name);
        self.tables.insert(name);
        Ok(())
    }

    /// Writes the alias of a table.
    pub(super) fn table_alias(&mut self, ident: &Ident) -> Written {
        self.put(" AS ");
        self.name(ident)?;
        self.tables.insert(name_of(ident)?);
        Ok(())
    }

    /// Writes an alias for a subquery without one, because PostgreSQL requires it.
    pub(super) fn subquery_alias(&mut self) {
        self.subqueries += 1;
        let alias = format!("subquery {}", self.subqueries);
        self.put(&format!(" AS \"{alias}\""));
        self.tables.insert(alias);
    }

    /// Writes the name of a column that the statement creates or changes.
    pub(super) fn column(&mut self, ident: &Ident) -> Written {
        let name = name_of(ident)?;
        let lower = name.to_ascii_lowercase();
        if ROW_IDS.contains(&lower.as_str()) {
            return Err(invalid(format!("{lower} does not work on PostgreSQL: name a column INTEGER PRIMARY KEY")));
        }
        if SYSTEM_COLUMNS.contains(&lower.as_str()) {
            return Err(denied(format!("the column {lower}")));
        }
        self.quoted(&name);
        Ok(())
    }

    /// Writes the name of a column from a path with one part.
    pub(super) fn column_of(&mut self, name: &ObjectName) -> Written {
        match name.0.as_slice() {
            [ObjectNamePart::Identifier(ident)] => self.column(ident),
            _ => Err(invalid(format!("the column {}: write only its name", shown(&name.to_string())))),
        }
    }

    /// Writes a column in an expression, with its table if there is one.
    pub(super) fn column_reference(&mut self, parts: &[Ident]) -> Written {
        match parts {
            [column] => {
                self.bare_columns.insert(name_of(column)?);
                self.column(column)
            }
            [table, column] => {
                self.name(table)?;
                self.put(".");
                refuse_row_function(column)?;
                self.column(column)
            }
            _ => Err(invalid("a column with a schema: write table.column")),
        }
    }

    /// Writes a parameter. Its number starts at 1.
    pub(super) fn parameter(&mut self, name: &str) -> Written {
        if self.limits.parameters == 0 {
            return Err(invalid("a migration cannot have parameters"));
        }
        let number = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok()).unwrap_or(usize::MAX);
        if number == 0 || number > self.limits.parameters {
            return Err(StorageError::TooLarge(format!("more than {} parameters", self.limits.parameters)));
        }
        self.parameters = self.parameters.max(number);
        self.put(&format!("${number}"));
        Ok(())
    }

    pub(super) fn count_function(&mut self) -> Written {
        self.functions += 1;
        if self.functions > self.limits.functions {
            return Err(StorageError::TooLarge(format!("more than {} function calls", self.limits.functions)));
        }
        Ok(())
    }

    pub(super) fn count_like(&mut self) -> Written {
        self.likes += 1;
        if self.likes > LIKES {
            return Err(StorageError::TooLarge(format!("more than {LIKES} uses of LIKE")));
        }
        Ok(())
    }
}

fn refuse_row_function(column: &Ident) -> Written {
    let lower = column.value.to_ascii_lowercase();
    let is_internal = lower.starts_with("pg_") || lower.ends_with("_out") || lower.ends_with("_send");
    if is_internal || ROW_FUNCTIONS.contains(&lower.as_str()) {
        let name = shown(&lower);
        return Err(invalid(format!(
            "the column {name} after a table: PostgreSQL has a function {name}, so rename the column"
        )));
    }
    Ok(())
}

/// The name of an object in PostgreSQL.
pub(super) fn name_of(ident: &Ident) -> Result<String, StorageError> {
    let name = match ident.quote_style {
        None => ident.value.to_ascii_lowercase(),
        Some('"' | '`' | '[') => ident.value.clone(),
        Some(_) => return Err(invalid(format!("'{}' in place of a name", shown(&ident.value)))),
    };
    match name.len() {
        0 => Err(invalid("a name is empty")),
        1..=NAME_BYTES => Ok(name),
        _ => Err(invalid(format!("the name {} has more than {NAME_BYTES} bytes", shown(&name)))),
    }
}
