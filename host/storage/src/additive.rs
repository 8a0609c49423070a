//! Checks that migrations only add, so that the previous revision can keep running.
//!
//! The check runs the migrations in memory, on a copy of the schema without rows. A statement that changes the schema runs on the
//! copy, and the check compares the schema before and after it ([`schema`]). A data statement is only compiled, because there are
//! no rows. SQLite then tells the authorizer what the statement would write. The copy has the same policy and limits as the
//! connection that migrates.
//!
//! The old revision's schema is the one in the file when the check begins. Authors must watch for three things that the check
//! accepts: dropping a plain index makes queries slower. A new table that refers to an old one without `ON DELETE` prevents
//! deleting the referenced rows. An index on an expression can fail on values of later rows.

mod schema;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::hooks::{AuthAction, AuthContext};

use self::schema::{Schema, Table};
use crate::migration::check_numbering;
use crate::sqlite_connection::{Blueprint, Connection, Role, script};
use crate::statement_kind::{StatementKind, skip_comments};
use crate::{Migration, MigrationError, NotAdditive, StorageError};

/// How long a check may take, even if migrations may take longer.
///
/// Checks usually take milliseconds, because there are no rows.
const LONGEST_CHECK: Duration = Duration::from_secs(5);

/// Selects the statements that create the schema.
///
/// SQLite creates its own tables and the indexes of constraints itself. Each part comes after the parts that it needs.
const PARTS: &str = "
    SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
    ORDER BY CASE type WHEN 'table' THEN 1 WHEN 'index' THEN 2 WHEN 'view' THEN 3 ELSE 4 END, rowid";

/// A change that a data statement would make to rows.
#[derive(Debug)]
enum RowChange {
    Insert { table: String },
    Update { table: String, column: String },
    Delete { table: String },
}

/// The row changes of all statements compiled since the last reset.
type RowChanges = Arc<Mutex<Vec<RowChange>>>;

/// Checks the pending migrations of a file.
///
/// Blocks on the disk and on locks of other processes.
pub(crate) fn check(blueprint: &Blueprint, migrations: &[Migration]) -> Result<(), NotAdditive> {
    check_numbering(migrations)?;
    let until = Instant::now() + blueprint.config.migration_deadline.min(LONGEST_CHECK);
    let (version, parts) = read_parts(blueprint, until)?;
    check_on_copy(blueprint, migrations, version, until, |sandbox| {
        let copied = sandbox.policy.as_host(|| parts.iter().try_for_each(|sql| sandbox.raw.execute_batch(sql)));
        copied.map_err(|error| storage_error(sandbox, &error))
    })
}

/// Checks the migrations above `version` without a file.
///
/// Runs the earlier migrations on the copy. Blocks until the check ends.
#[cfg(feature = "postgres")]
pub(crate) fn check_after(version: u32, migrations: &[Migration]) -> Result<(), NotAdditive> {
    check_numbering(migrations)?;
    let until = Instant::now() + LONGEST_CHECK;
    check_on_copy(&Blueprint::without_file(), migrations, version, until, |sandbox| {
        migrations.iter().take_while(|migration| migration.version <= version).try_for_each(|migration| {
            script::each_statement(sandbox, migration, |number, statement| {
                let text = script::text(statement);
                script::run_to_end(statement)
                    .map_err(|error| script::failed(sandbox, migration, number, &text, &error).into())
            })
        })
    })
}

/// Checks the migrations above `version` on a copy of the schema.
///
/// `copy` creates the copy.
fn check_on_copy(
    blueprint: &Blueprint,
    migrations: &[Migration],
    version: u32,
    until: Instant,
    copy: impl FnOnce(&Connection) -> Result<(), NotAdditive>,
) -> Result<(), NotAdditive> {
    let mut new = migrations.iter().filter(|migration| migration.version > version).peekable();
    if new.peek().is_none() {
        return Ok(());
    }
    let mut sandbox = blueprint.sandbox().map_err(MigrationError::from)?;
    let row_changes = record_row_changes(&mut sandbox).map_err(|error| storage_error(&sandbox, &error))?;
    sandbox.until(until, || {
        copy(&sandbox)?;
        let old = read_schema(&sandbox)?;
        let mut check = Check { blueprint, sandbox: &sandbox, row_changes, now: old.clone(), old };
        new.try_for_each(|migration| check.migration(migration))
    })
}

/// Reads the version and the schema of the file in one snapshot.
fn read_parts(blueprint: &Blueprint, until: Instant) -> Result<(u32, Vec<String>), MigrationError> {
    let connection = blueprint.open(Role::Blocking)?;
    let read = || {
        let snapshot = connection.raw.unchecked_transaction()?;
        let version = snapshot.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        let parts = snapshot.prepare(PARTS)?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        Ok((version, parts))
    };
    let result = connection.until(until, || connection.policy.as_host(read));
    result.map_err(|error: rusqlite::Error| connection.translate(&error).into())
}

/// Makes the authorizer record row changes, before it decides as usual.
fn record_row_changes(sandbox: &mut Connection) -> rusqlite::Result<RowChanges> {
    let row_changes = RowChanges::default();
    let (notes, policy) = (row_changes.clone(), sandbox.policy.clone());
    sandbox.raw.authorizer(Some(move |context: AuthContext<'_>| {
        if let Some(change) = RowChange::of(&context.action) {
            notes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
        }
        policy.judge(&context)
    }))?;
    Ok(row_changes)
}

fn read_schema(sandbox: &Connection) -> Result<Schema, NotAdditive> {
    sandbox.policy.as_host(|| Schema::read(&sandbox.raw)).map_err(|error| storage_error(sandbox, &error))
}

/// An error that no statement caused.
fn storage_error(sandbox: &Connection, error: &rusqlite::Error) -> NotAdditive {
    let cause = match sandbox.translate(error) {
        cause @ (StorageError::TimedOut | StorageError::Unavailable(_)) => cause,
        cause => StorageError::Unavailable(format!("cannot copy the schema to check migrations: {cause}")),
    };
    MigrationError::Storage(cause).into()
}

/// A running check.
struct Check<'c> {
    blueprint: &'c Blueprint,
    sandbox: &'c Connection,
    row_changes: RowChanges,
    /// The schema that the old revision knows.
    old: Schema,
    /// The schema after the last statement.
    now: Schema,
}

impl Check<'_> {
    fn migration(&mut self, migration: &Migration) -> Result<(), NotAdditive> {
        self.reset_row_changes();
        let sandbox = self.sandbox;
        script::each_statement(sandbox, migration, |number, statement| {
            let text = script::text(statement);
            let found = if matches!(StatementKind::of(&text), StatementKind::Data) {
                self.data_statement(&text)
            } else {
                script::run_to_end(statement)
                    .map_err(|error| script::failed(sandbox, migration, number, &text, &error))?;
                self.schema_change()?
            };
            self.reset_row_changes();
            found.map_or(Ok(()), |reason| {
                let statement = script::beginning(&text);
                Err(NotAdditive::Breaks { version: migration.version, statement, reason })
            })
        })?;
        Ok(script::check_references(sandbox, migration)?)
    }

    /// Why the old revision could not work after the last schema change.
    fn schema_change(&mut self) -> Result<Option<String>, NotAdditive> {
        let next = read_schema(self.sandbox)?;
        let found =
            schema::compare(&self.old, &self.now, &next, |table, definition| self.default_passes(table, definition));
        self.now = next;
        Ok(found)
    }

    /// Whether a column's default satisfies the constraints in its own definition.
    ///
    /// Returns false if these constraints read other columns.
    fn default_passes(&self, table: &Table, definition: &str) -> bool {
        let Ok(alone) = self.blueprint.sandbox() else {
            return false;
        };
        let until = Instant::now() + self.blueprint.config.statement_deadline;
        alone.until(until, || {
            alone.raw.execute(&table.with_one_column(definition), []).is_ok()
                && alone.raw.execute(&format!("INSERT INTO {} DEFAULT VALUES", table.quoted_name()), []).is_ok()
        })
    }

    /// Why a data statement would change rows that the old revision knows.
    fn data_statement(&self, text: &str) -> Option<String> {
        let row_changes = self.row_changes.lock().unwrap_or_else(PoisonError::into_inner);
        row_changes.iter().find_map(|change| match change {
            RowChange::Delete { table } if self.old.knows(table) => {
                Some(format!("deletes rows of the table `{table}`, which the running revision may need"))
            }
            RowChange::Update { table, column } if self.old.knows(table) && !self.is_new(table, column) => {
                Some(format!("changes the column `{column}` in rows of `{table}`, which the running revision may read"))
            }
            RowChange::Insert { table } if self.old.knows(table) && has_word(text, "REPLACE") => {
                Some(format!("may replace rows of the table `{table}`, which the running revision may need"))
            }
            _ => None,
        })
    }

    fn is_new(&self, table: &str, column: &str) -> bool {
        self.now.has_column(table, column) && !self.old.has_column(table, column)
    }

    fn reset_row_changes(&self) {
        self.row_changes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl RowChange {
    fn of(action: &AuthAction<'_>) -> Option<Self> {
        match *action {
            AuthAction::Insert { table_name } => Some(Self::Insert { table: table_name.into() }),
            AuthAction::Update { table_name, column_name } => {
                Some(Self::Update { table: table_name.into(), column: column_name.into() })
            }
            AuthAction::Delete { table_name } => Some(Self::Delete { table: table_name.into() }),
            _ => None,
        }
    }
}

/// Whether a statement contains a word outside of quotes and comments.
///
/// The check needs this because SQLite does not tell the authorizer about `OR REPLACE`.
fn has_word(sql: &str, word: &str) -> bool {
    let mut rest = skip_comments(sql);
    while let Some(first) = rest.chars().next() {
        let in_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = match first {
            '\'' | '"' | '`' => rest[1..].find(first).map(|at| at + 2),
            '[' => rest.find(']').map(|at| at + 1),
            c if in_word(c) => rest.find(|c| !in_word(c)),
            c => Some(c.len_utf8()),
        };
        let (token, after) = rest.split_at(length.unwrap_or(rest.len()));
        if token.eq_ignore_ascii_case(word) {
            return true;
        }
        rest = skip_comments(after);
    }
    false
}
