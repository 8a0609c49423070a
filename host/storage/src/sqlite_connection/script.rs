//! Runs the statements of a migration on a SQLite connection, one after the other.

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Error, Statement};

use super::Connection;
use crate::statement_kind::skip_comments;
use crate::{Constraint, Migration, MigrationError, StorageError};

/// How much of a statement's text an error quotes, in characters.
const QUOTED_CHARACTERS: usize = 80;

/// Compiles a migration's statements one after the other, each when those before it have been visited.
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

/// Runs a statement. A SELECT changes nothing, but it may be there for a function of its own that fails: all of it runs.
pub(crate) fn run_to_end(statement: &mut Statement<'_>) -> rusqlite::Result<()> {
    let mut rows = statement.raw_query();
    while rows.next()?.is_some() {}
    Ok(())
}

/// The text of a compiled statement.
pub(crate) fn text(statement: &Statement<'_>) -> String {
    statement.expanded_sql().unwrap_or_default()
}

/// What it means that a statement of a migration failed.
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

/// Whether every reference that the schema declares can be looked up, and is there.
pub(crate) fn check_references(connection: &Connection, migration: &Migration) -> Result<(), MigrationError> {
    let check = || connection.raw.query_row("PRAGMA foreign_key_check", [], |row| row.get::<_, String>(0));
    match connection.policy.as_host(check) {
        Err(Error::QueryReturnedNoRows) => Ok(()),
        // A reference to what is not the key of any row.
        Err(error) => match connection.translate(&error) {
            cause @ StorageError::Invalid(_) => {
                Err(MigrationError::Failed { version: migration.version, statement: "all".into(), cause })
            }
            cause => Err(cause.into()),
        },
        Ok(table) => Err(MigrationError::Failed {
            version: migration.version,
            statement: format!("all (a row of {table} refers to one that is not there)"),
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
