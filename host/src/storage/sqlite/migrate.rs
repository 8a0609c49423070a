//! Schema changes: one run is one transaction, on a connection of its own that no statement of a service ever sees.
//!
//! The connection's policy allows the schema and denies what a service may never do. Foreign keys are not enforced while
//! a run is under way, since rebuilding a table means dropping it; all of them are checked before the commit.

use std::time::Instant;

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, Error};

use super::connection::{Blueprint, Connection, Role};
use crate::storage::{Constraint, Migration, MigrationError, StorageError};

/// How much of a statement's text an error repeats, in characters.
const QUOTED: usize = 80;

/// Whether the versions count from 1 without gaps.
pub(super) fn check_numbering(migrations: &[Migration]) -> Result<(), MigrationError> {
    for (expected, migration) in (1..).zip(migrations) {
        if migration.version != expected {
            return Err(MigrationError::Numbering { expected, found: migration.version });
        }
    }
    Ok(())
}

/// Runs what is above the database's version. Gives the versions that ran; an error means that nothing changed.
pub(super) fn run(blueprint: &Blueprint, migrations: &[Migration]) -> Result<Vec<u32>, MigrationError> {
    let connection = blueprint.open(Role::Migrator)?;
    // Whatever ends this function early closes the connection, and with it the transaction.
    let until = Instant::now() + blueprint.config.migration_deadline;
    connection.until(until, || run_on(&connection, migrations))
}

fn run_on(connection: &Connection, migrations: &[Migration]) -> Result<Vec<u32>, MigrationError> {
    host(connection, "BEGIN IMMEDIATE")?;
    let current: u32 = connection
        .policy
        .as_host(|| connection.raw.query_row("PRAGMA user_version", [], |row| row.get(0)))
        .map_err(|error| connection.translate(&error))?;
    let mut ran = Vec::new();
    for migration in migrations.iter().filter(|migration| migration.version > current) {
        apply(connection, migration)?;
        check_references(connection, migration)?;
        host(connection, &format!("PRAGMA user_version = {}", migration.version))?;
        ran.push(migration.version);
    }
    host(connection, "COMMIT")?;
    Ok(ran)
}

fn apply(connection: &Connection, migration: &Migration) -> Result<(), MigrationError> {
    let mut statements = Batch::new(&connection.raw, &migration.sql);
    for number in 1.. {
        let failed = |text: &str, error: &Error| MigrationError::Failed {
            version: migration.version,
            statement: quote(number, text),
            cause: connection.translate(error),
        };
        let mut statement = match statements.next() {
            Ok(Some(statement)) => statement,
            Ok(None) => break,
            Err(error) => {
                let text = if let Error::SqlInputError { sql, .. } = &error { sql.as_str() } else { "" };
                return Err(failed(text, &error));
            }
        };
        // A SELECT changes nothing, but it may be there for a function of its own that fails: run all of it.
        let mut rows = statement.raw_query();
        let ran = loop {
            match rows.next() {
                Ok(Some(_)) => {}
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        drop(rows);
        ran.map_err(|error| failed(&statement.expanded_sql().unwrap_or_default(), &error))?;
    }
    Ok(())
}

fn check_references(connection: &Connection, migration: &Migration) -> Result<(), MigrationError> {
    let check = || connection.raw.query_row("PRAGMA foreign_key_check", [], |row| row.get::<_, String>(0));
    match connection.policy.as_host(check) {
        Err(Error::QueryReturnedNoRows) => Ok(()),
        Err(error) => Err(connection.translate(&error).into()),
        Ok(table) => Err(MigrationError::Failed {
            version: migration.version,
            statement: format!("all (a row of {table} refers to one that is not there)"),
            cause: StorageError::Constraint(Constraint::ForeignKey),
        }),
    }
}

fn host(connection: &Connection, sql: &str) -> Result<(), StorageError> {
    connection.policy.as_host(|| connection.raw.execute_batch(sql)).map_err(|error| connection.translate(&error))
}

fn quote(number: u32, text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(QUOTED) {
        _ if line.is_empty() => number.to_string(),
        Some((end, _)) => format!("{number} ({}…)", &line[..end]),
        None => format!("{number} ({line})"),
    }
}
