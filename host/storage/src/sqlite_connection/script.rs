//! Runs the statements of a migration on a SQLite connection, one after the other.

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Error, Statement};

use super::Connection;
use crate::statement_kind::skip_comments;
use crate::{Constraint, Migration, MigrationError, StorageError};

/// How much of a statement's text an error quotes, in characters.
const QUOTED_CHARACTERS: usize = 80;

/// Compiles the statements of a migration one by one, and calls `visit` for each.
///
/// Each statement is compiled after the visit of the one before it.
pub(crate) fn each_statement<E: From<MigrationError>>(
    connection: &Connection,
    migration: &Migration,
    mut visit: impl FnMut(u32, &mut Statement<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut statements = Batch::new(&connection.raw, &migration.sql);
    for number in 1.. {
        match statements.next() {
            Ok(Some(mut statement)) => visit(number, &mut statement)?,
            Ok(None) => break,
            Err(error) => {
                let text = if let Error::SqlInputError { sql, .. } = &error { sql.as_str() } else { "" };
                return Err(failed(connection, migration, number, text, &error).into());
            }
        }
    }
    Ok(())
}

/// Runs a statement and fetches all rows.
///
/// The rows of a SELECT matter too: a migration may select an expression that fails if the data is wrong.
pub(crate) fn run_to_end(statement: &mut Statement<'_>) -> rusqlite::Result<()> {
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(())
}

/// The text of a compiled statement.
pub(crate) fn text(statement: &Statement<'_>) -> String {
    statement.expanded_sql().unwrap_or_default()
}

/// The error for a failed statement of a migration.
pub(crate) fn failed(
    connection: &Connection,
    migration: &Migration,
    number: u32,
    text: &str,
    error: &Error,
) -> MigrationError {
    MigrationError::Failed {
        version: migration.version,
        statement: quote(number, text),
        cause: connection.translate(error),
    }
}

/// Checks that all foreign keys are valid and all referenced rows exist.
pub(crate) fn check_references(connection: &Connection, migration: &Migration) -> Result<(), MigrationError> {
    let check = || connection.raw.query_row("PRAGMA foreign_key_check", [], |row| row.get::<_, String>(0));
    match connection.policy.as_host(check) {
        Err(Error::QueryReturnedNoRows) => Ok(()),
        // A foreign key refers to columns that are not a key.
        Err(error) => match connection.translate(&error) {
            cause @ StorageError::Invalid(_) => {
                Err(MigrationError::Failed { version: migration.version, statement: "all".into(), cause })
            }
            cause => Err(cause.into()),
        },
        Ok(table) => Err(MigrationError::Failed {
            version: migration.version,
            statement: format!("all (a row of {table} refers to one that does not exist)"),
            cause: StorageError::Constraint(Constraint::ForeignKey),
        }),
    }
}

fn quote(number: u32, text: &str) -> String {
    let beginning = beginning(text);
    if beginning.is_empty() { number.to_string() } else { format!("{number} ({beginning})") }
}

/// The beginning of a statement's text on one line, without the comments before it.
pub(crate) fn beginning(text: &str) -> String {
    let line = skip_comments(text)
        .trim_end_matches(|c: char| c == ';' || c.is_whitespace())
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ");
    match line.char_indices().nth(QUOTED_CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
