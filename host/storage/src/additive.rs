//! Whether migrations only add: tried out in memory, on a copy of the schema without its rows.
//!
//! No text is parsed. A statement that changes the schema runs on the copy, and what the schema was before is compared with
//! what it is then ([`schema`]). A data statement is compiled and not run, since it would meet no rows: what it would write
//! is what SQLite asks the authorizer about. The copy has the policy and the limits of the connection that migrates.
//!
//! What counts as the old revision's is what the file has when the check begins. Not refused, and so for an author to think of:
//! a plain index that goes (slower, but right), a new table that refers to an old one without `ON DELETE` (from its first row
//! on, the row that it refers to cannot be deleted), an index on an expression that fails on a value of a later row.

mod schema;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::hooks::{AuthAction, AuthContext};

use self::schema::{Schema, Table};
use crate::migration::check_numbering;
use crate::sqlite_connection::{Blueprint, Connection, Role, script};
use crate::statement_kind::{StatementKind, skip_comments};
use crate::{Migration, MigrationError, NotAdditive, StorageError};

/// How long a check may take, if migrations may take as long. There are no rows, so milliseconds are the rule.
const LONGEST_CHECK: Duration = Duration::from_secs(5);

/// The parts of a schema that make it: SQLite makes its own tables and the indexes of constraints by itself. Sorted so that
/// each part comes after those that it needs.
const PARTS: &str = "
    SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
    ORDER BY CASE type WHEN 'table' THEN 1 WHEN 'index' THEN 2 WHEN 'view' THEN 3 ELSE 4 END, rowid";

/// What a data statement would do to the rows of a table.
#[derive(Debug)]
enum Touch {
    Insert { table: String },
    Update { table: String, column: String },
    Delete { table: String },
}

/// What the statements compiled since the last look would do.
type Touches = Arc<Mutex<Vec<Touch>>>;

/// Checks the migrations above the file's version. Blocks on the disk, and on a lock of another process.
pub(crate) fn check(blueprint: &Blueprint, migrations: &[Migration]) -> Result<(), NotAdditive> {
    check_numbering(migrations)?;
    let until = Instant::now() + blueprint.config.migration_deadline.min(LONGEST_CHECK);
    let (version, parts) = read_parts(blueprint, until)?;
    check_on_copy(blueprint, migrations, version, until, |sandbox| {
        let copied = sandbox.policy.as_host(|| parts.iter().try_for_each(|sql| sandbox.raw.execute_batch(sql)));
        copied.map_err(|error| storage(sandbox, &error))
    })
}

/// Checks the migrations above a version, where there is no file: those up to it are run on the copy. Blocks for as long.
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

/// Checks the migrations above a version on a copy of the schema, which `copy` makes.
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
    let touches = record(&mut sandbox).map_err(|error| storage(&sandbox, &error))?;
    sandbox.until(until, || {
        copy(&sandbox)?;
        let old = read_schema(&sandbox)?;
        let mut check = Check { blueprint, sandbox: &sandbox, touches, now: old.clone(), old };
        new.try_for_each(|migration| check.migration(migration))
    })
}

/// The version and the parts of the file's schema, of one moment.
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

/// Has the authorizer note what statements would do to rows, before it judges them as ever.
fn record(sandbox: &mut Connection) -> rusqlite::Result<Touches> {
    let touches = Touches::default();
    let (notes, policy) = (touches.clone(), sandbox.policy.clone());
    sandbox.raw.authorizer(Some(move |context: AuthContext<'_>| {
        if let Some(touch) = Touch::of(&context.action) {
            notes.lock().unwrap_or_else(PoisonError::into_inner).push(touch);
        }
        policy.judge(&context)
    }))?;
    Ok(touches)
}

fn read_schema(sandbox: &Connection) -> Result<Schema, NotAdditive> {
    sandbox.policy.as_host(|| Schema::read(&sandbox.raw)).map_err(|error| storage(sandbox, &error))
}

/// An error that is no statement's fault.
fn storage(sandbox: &Connection, error: &rusqlite::Error) -> NotAdditive {
    let cause = match sandbox.translate(error) {
        cause @ (StorageError::TimedOut | StorageError::Unavailable(_)) => cause,
        cause => StorageError::Unavailable(format!("its schema cannot be copied: {cause}")),
    };
    MigrationError::Storage(cause).into()
}

/// A check under way.
struct Check<'c> {
    blueprint: &'c Blueprint,
    sandbox: &'c Connection,
    touches: Touches,
    /// What the old revision knows.
    old: Schema,
    /// The schema after the last statement.
    now: Schema,
}

impl Check<'_> {
    fn migration(&mut self, migration: &Migration) -> Result<(), NotAdditive> {
        self.take_touches();
        let sandbox = self.sandbox;
        script::each_statement(sandbox, migration, |number, statement| {
            let text = script::text(statement);
            let found = if matches!(StatementKind::of(&text), StatementKind::Data) {
                self.data(&text)
            } else {
                script::run_to_end(statement)
                    .map_err(|error| script::failed(sandbox, migration, number, &text, &error))?;
                self.shape()?
            };
            self.take_touches();
            found.map_or(Ok(()), |reason| {
                let statement = script::beginning(&text);
                Err(NotAdditive::Breaks { version: migration.version, statement, reason })
            })
        })?;
        Ok(script::check_references(sandbox, migration)?)
    }

    /// Why the old revision could not live with the statement that changed the schema just now.
    fn shape(&mut self) -> Result<Option<String>, NotAdditive> {
        let next = read_schema(self.sandbox)?;
        let found =
            schema::compare(&self.old, &self.now, &next, |table, definition| self.default_passes(table, definition));
        self.now = next;
        Ok(found)
    }

    /// Whether a column's default meets the rules in its own definition, and these look at no other column.
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

    /// Why the rows that the old revision knows would not be what they were after a data statement.
    fn data(&self, text: &str) -> Option<String> {
        let touches = self.touches.lock().unwrap_or_else(PoisonError::into_inner);
        touches.iter().find_map(|touch| match touch {
            Touch::Delete { table } if self.old.knows(table) => {
                Some(format!("deletes rows of the table `{table}`, which the running revision may need"))
            }
            Touch::Update { table, column } if self.old.knows(table) && !self.is_new(table, column) => {
                Some(format!("changes the column `{column}` in rows of `{table}`, which the running revision may read"))
            }
            Touch::Insert { table } if self.old.knows(table) && has_word(text, "REPLACE") => {
                Some(format!("may replace rows of the table `{table}`, which the running revision may need"))
            }
            _ => None,
        })
    }

    fn is_new(&self, table: &str, column: &str) -> bool {
        self.now.has_column(table, column) && !self.old.has_column(table, column)
    }

    fn take_touches(&self) {
        self.touches.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Touch {
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

/// Whether a word stands in a statement, outside of quotes and comments. The authorizer is not told of `OR REPLACE`.
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
