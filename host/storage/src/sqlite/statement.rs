//! One statement of a service: compiled, bound and run.
//!
//! Every number and length in it is hostile.

use std::sync::Arc;
use std::time::Instant;

use rusqlite::CachedStatement;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

use crate::read_set::ReadSet;
use crate::sqlite_connection::{Connection, SqliteLimits, Touched, Versions};
use crate::statement_kind::StatementKind;
use crate::{Rows, Statement, StorageError, Value};

/// How many bytes each value adds to the size of a result, besides its content.
const VALUE_BYTES: usize = 16;

/// A compiled statement with bound parameters.
///
/// It comes from the connection's statement cache, which contains only statements of services.
pub(super) struct Prepared<'c> {
    raw: CachedStatement<'c>,
    connection: &'c Connection,
    sql: &'c str,
    touched: Touched,
    heavy: bool,
}

impl<'c> Prepared<'c> {
    /// Compiles a statement or takes it from the cache, and binds its parameters.
    pub(super) fn new(
        connection: &'c Connection,
        statement: &'c Statement,
        versions: &Versions,
        limits: &SqliteLimits,
    ) -> Result<Self, StorageError> {
        // The statement cache trims texts in the same way.
        let sql = statement.sql.trim();
        if sql.len() > limits.sql_bytes as usize {
            return Err(StorageError::TooLarge(format!("a statement of more than {} bytes", limits.sql_bytes)));
        }
        match StatementKind::of(sql) {
            StatementKind::Data => {}
            StatementKind::Forbidden(kind) => return Err(StorageError::Denied(kind.into())),
            StatementKind::Unknown(word) => {
                return Err(StorageError::Invalid(format!("no data statement begins with {word:?}")));
            }
        }
        // SQLite would stop reading at the NUL.
        if sql.as_bytes().contains(&0) {
            return Err(StorageError::Invalid("the statement contains a NUL character".into()));
        }
        connection.policy.take_heavy();
        let (raw, touched) =
            compile(connection, sql, versions).map_err(|error| explain_compiling(connection, &error))?;
        let mut prepared = Self { raw, connection, sql, touched, heavy: connection.policy.take_heavy() };
        prepared.bind(&statement.params)?;
        Ok(prepared)
    }

    /// Whether it was just compiled and uses a function that can take long in one call.
    pub(super) fn heavy(&self) -> bool {
        self.heavy
    }

    /// Whether it may change the database.
    pub(super) fn writes(&self) -> bool {
        !self.raw.readonly()
    }

    /// The versions of the tables that it uses.
    ///
    /// Must be called after the run, because SQLite may compile the statement again during the run.
    pub(super) fn touched(&self, versions: &Versions) -> Touched {
        match self.connection.recorder.take() {
            Some(names) => self.connection.tables.learn(self.sql, &names, versions),
            None => self.touched.clone(),
        }
    }

    /// Removes it from the statement cache. The next compilation then checks again whether it is heavy.
    pub(super) fn discard(self) {
        self.raw.discard();
    }

    /// Runs it to its end and returns all rows.
    pub(super) fn rows(&mut self, limits: &SqliteLimits) -> Result<Rows, StorageError> {
        let width = self.raw.column_count();
        if width == 0 {
            return Err(StorageError::Invalid("the statement returns no rows: use execute".into()));
        }
        let connection = self.connection;
        let (mut packed, mut count, mut bytes) = (None, 0, 0);
        let mut rows = self.raw.raw_query();
        while let Some(row) = rows.next().map_err(|error| connection.translate(&error))? {
            if count == limits.result_rows {
                return Err(StorageError::TooLarge(format!("a result of more than {} rows", limits.result_rows)));
            }
            count += 1;
            // SQLite may compile the statement again in its first step, if the schema changed. So the names are read after that
            // step.
            let packed = packed.get_or_insert_with(|| names(row.as_ref()));
            for column in 0..width {
                let value = row.get_ref(column).map_err(|error| connection.translate(&error))?;
                bytes += VALUE_BYTES + length(value);
                if bytes > limits.result_bytes {
                    return Err(StorageError::TooLarge(format!("a result of more than {} bytes", limits.result_bytes)));
                }
                add(packed, value).map_err(|_| {
                    StorageError::Invalid(format!("column {} contains text that is not UTF-8", column + 1))
                })?;
            }
        }
        drop(rows);
        Ok(packed.unwrap_or_else(|| names(&self.raw)))
    }

    /// Runs it to its end and returns the number of changed rows.
    pub(super) fn changes(&mut self) -> Result<u64, StorageError> {
        if self.raw.column_count() > 0 {
            return Err(StorageError::Invalid("the statement returns rows: use query".into()));
        }
        if !self.writes() {
            return Err(StorageError::Invalid("the statement changes nothing: use query".into()));
        }
        let changed = self.raw.raw_execute().map_err(|error| self.connection.translate(&error))?;
        Ok(changed as u64)
    }

    /// Binds parameters by the number in their name.
    ///
    /// SQLite takes `$2` for a name and numbers names in the order in which they appear.
    fn bind(&mut self, params: &[Value]) -> Result<(), StorageError> {
        let mut highest = 0;
        for index in 1..=self.raw.parameter_count() {
            let number = self
                .raw
                .parameter_name(index)
                .and_then(parameter_number)
                .ok_or_else(|| StorageError::Invalid("write parameters as $1, $2, …".into()))?;
            highest = highest.max(number);
            let Some(value) = params.get(number - 1) else { continue };
            self.raw.raw_bind_parameter(index, value).map_err(|error| self.connection.translate(&error))?;
        }
        if highest != params.len() {
            return Err(StorageError::Invalid(format!(
                "the statement has {highest} parameters, but {} values were passed",
                params.len()
            )));
        }
        if params.iter().any(|value| matches!(value, Value::Real(real) if real.is_nan())) {
            return Err(StorageError::Invalid("a parameter is NaN".into()));
        }
        Ok(())
    }
}

/// Runs a reading statement until a deadline, and returns its rows and read set.
///
/// The read set is `None` if a repeated compilation found other tables than the first one.
pub(super) fn read(
    connection: &Connection,
    prepared: &mut Prepared<'_>,
    versions: &Versions,
    until: Instant,
    limits: &SqliteLimits,
) -> Result<(Rows, Option<ReadSet>), StorageError> {
    if prepared.writes() {
        return Err(StorageError::Invalid("a query outside a transaction cannot write".into()));
    }
    // Before the first step, because that step starts the snapshot.
    let read_set = ReadSet::take(prepared.touched.iter().chain([versions.schema()]));
    let rows = connection.until(until, || prepared.rows(limits))?;
    let all_taken =
        prepared.touched(versions).iter().all(|one| prepared.touched.iter().any(|known| Arc::ptr_eq(known, one)));
    Ok((rows, read_set.filter(|_| all_taken)))
}

/// Compiles a statement or takes it from the cache.
///
/// Returns the tables that it uses.
fn compile<'c>(
    connection: &'c Connection,
    sql: &str,
    versions: &Versions,
) -> rusqlite::Result<(CachedStatement<'c>, Touched)> {
    if connection.tables.are_outdated(versions) {
        // SQLite notices a changed schema when a statement runs, not when it is compiled. So this runs one.
        connection.raw.flush_prepared_statement_cache();
        connection.policy.as_host(|| connection.raw.execute_batch("SELECT 1 FROM sqlite_schema"))?;
    }
    connection.recorder.take();
    let raw = connection.raw.prepare_cached(sql)?;
    let (raw, names) = match (connection.recorder.take(), connection.tables.known(sql)) {
        (None, Some(touched)) => return Ok((raw, touched)),
        (Some(names), _) => (raw, names),
        (None, None) => {
            // The tables of this statement were forgotten. Compiling it again reports them.
            raw.discard();
            let raw = connection.raw.prepare_cached(sql)?;
            (raw, connection.recorder.take().unwrap_or_default())
        }
    };
    Ok((raw, connection.tables.learn(sql, &names, versions)))
}

/// Explains an error of the compilation.
///
/// If SQLite runs out of memory while it compiles a statement, the statement is far too large.
fn explain_compiling(connection: &Connection, error: &rusqlite::Error) -> StorageError {
    connection.policy.take_heavy();
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OutOfMemory) => {
            StorageError::TooLarge("the statement compiles to too many instructions".into())
        }
        _ => connection.translate(error),
    }
}

/// The number in `$7`. `None` for other notations, such as `$07` and `$7::int`.
fn parameter_number(name: &str) -> Option<usize> {
    let digits = name.strip_prefix('$')?;
    if digits.starts_with('0') || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

fn length(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
        _ => 0,
    }
}

/// Makes an empty result with the columns of a statement.
fn names(statement: &rusqlite::Statement<'_>) -> Rows {
    Rows::of(statement.column_names())
}

fn add(rows: &mut Rows, value: ValueRef<'_>) -> Result<(), std::str::Utf8Error> {
    match value {
        ValueRef::Null => rows.null(),
        ValueRef::Integer(integer) => rows.integer(integer),
        ValueRef::Real(real) => rows.real(real),
        ValueRef::Text(bytes) => rows.text(str::from_utf8(bytes)?),
        ValueRef::Blob(bytes) => rows.blob(bytes),
    }
    Ok(())
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Integer(integer) => ValueRef::Integer(*integer),
            Self::Real(real) => ValueRef::Real(*real),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}
