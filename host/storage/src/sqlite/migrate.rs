//! Runs migrations: each run is one transaction on a separate connection.
//!
//! The policy of that connection allows schema changes, but nothing that a service may never do. Guests never use the connection.
//! Foreign keys are not enforced during a run, because rebuilding a table includes dropping it. All references are checked before
//! the commit.

use std::sync::Arc;
use std::time::Instant;

use crate::read_set::{Commit, Version};
use crate::sqlite_connection::script::{check_references, each_statement, failed, run_to_end, text};
use crate::sqlite_connection::{Blueprint, Connection, Role};
use crate::statement_kind::skip_comments;
use crate::{Migration, MigrationError, StorageError};

/// Runs the pending migrations and returns the versions that ran.
///
/// Pending are those above the database's version. An error means that nothing changed.
pub(super) fn run(blueprint: &Blueprint, migrations: &[Migration]) -> Result<Vec<u32>, MigrationError> {
    let connection = blueprint.open(Role::Migrator)?;
    // If this function returns early, it closes the connection, which rolls back the transaction.
    let until = Instant::now() + blueprint.config.migration_deadline;
    connection.until(until, || run_on(&connection, migrations, blueprint.versions.schema()))
}

fn run_on(
    connection: &Connection,
    migrations: &[Migration],
    schema: &Arc<Version>,
) -> Result<Vec<u32>, MigrationError> {
    host(connection, "BEGIN IMMEDIATE")?;
    let current: u32 = connection
        .policy
        .as_host(|| connection.raw.query_row("PRAGMA user_version", [], |row| row.get(0)))
        .map_err(|error| connection.translate(&error))?;
    let mut ran = Vec::new();
    for migration in migrations.iter().filter(|migration| migration.version > current) {
        // The check reads every referring row while the migration holds the writer, so it is skipped if possible.
        if !apply(connection, migration)? {
            check_references(connection, migration)?;
        }
        host(connection, &format!("PRAGMA user_version = {}", migration.version))?;
        ran.push(migration.version);
    }
    // If no migration ran, no read set becomes outdated.
    let _commit = Commit::begin(if ran.is_empty() { Vec::new() } else { vec![schema.clone()] });
    host(connection, "COMMIT")?;
    Ok(ran)
}

/// Runs a migration.
///
/// Returns true if none of its statements can have broken a reference.
fn apply(connection: &Connection, migration: &Migration) -> Result<bool, MigrationError> {
    let mut keeps = true;
    each_statement(connection, migration, |number, statement| {
        let sql = text(statement);
        keeps &= keeps_references(&sql);
        run_to_end(statement).map_err(|error| failed(connection, migration, number, &sql, &error))
    })?;
    Ok(keeps)
}

/// Whether a statement certainly breaks no reference.
///
/// That holds if it creates an index or a view, or adds a column without a reference. Unclear statements return false.
fn keeps_references(sql: &str) -> bool {
    let sql = skip_comments(sql).to_ascii_uppercase();
    let words: Vec<&str> = sql.split_ascii_whitespace().take(3).collect();
    match words[..] {
        ["CREATE", "INDEX" | "VIEW", _] | ["CREATE", "UNIQUE", "INDEX"] => true,
        ["ALTER", "TABLE", _] => {
            sql.contains(" ADD ") && !["REFERENCES", "RENAME", "DROP"].iter().any(|word| sql.contains(word))
        }
        _ => false,
    }
}

fn host(connection: &Connection, sql: &str) -> Result<(), StorageError> {
    connection.policy.as_host(|| connection.raw.execute_batch(sql)).map_err(|error| connection.translate(&error))
}

#[cfg(test)]
mod tests {
    use super::keeps_references;

    #[test]
    fn indexes_views_and_plain_columns_keep_references() {
        for sql in [
            "CREATE INDEX i ON t (a)",
            "-- Why.\ncreate unique index i on t (a)",
            "CREATE VIEW v AS SELECT 1",
            "ALTER TABLE t ADD COLUMN a TEXT",
            "alter table t add a INTEGER NOT NULL DEFAULT 0 CHECK (a >= 0)",
        ] {
            assert!(keeps_references(sql), "{sql}");
        }
    }

    #[test]
    fn any_other_statement_may_break_references() {
        for sql in [
            "",
            "CREATE TABLE t (a INTEGER REFERENCES u (id))",
            "ALTER TABLE t ADD COLUMN a INTEGER DEFAULT 1 REFERENCES u (id)",
            "ALTER TABLE t RENAME TO \" ADD \"",
            "ALTER TABLE t DROP COLUMN a",
            "DROP TABLE t",
            "UPDATE t SET a = 7",
            "DELETE FROM t",
        ] {
            assert!(!keeps_references(sql), "{sql}");
        }
    }
}
