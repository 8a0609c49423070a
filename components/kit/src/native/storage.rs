//! The interface `storage`, with an SQLite database in memory.

use std::cell::RefCell;
use std::rc::Rc;

use rusqlite::types::ValueRef;
use rusqlite::{Statement, ffi};

use crate::bindings::comptoir::platform::storage::{Constraint, Error, Rows, Value};
use crate::storage::row::pack;

/// This thread's database, shared with the service.
pub type Connection = Rc<rusqlite::Connection>;

thread_local! {
    static DATABASE: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

pub(crate) fn install(migrations: &[&str]) -> Connection {
    let connection = rusqlite::Connection::open_in_memory().expect("an empty database fits in memory");
    connection.pragma_update(None, "foreign_keys", true).expect("SQLite supports foreign keys");
    for sql in migrations {
        connection.execute_batch(sql).expect("the service's migrations are valid SQL");
    }
    let connection = Rc::new(connection);
    DATABASE.set(Some(connection.clone()));
    connection
}

fn connection() -> Connection {
    DATABASE.with_borrow(|database| database.clone()).expect("a test calls `install` first")
}

pub(crate) fn query(sql: &str, params: &[Value]) -> Result<Rows, Error> {
    let connection = connection();
    let statement = prepare(&connection, sql, params)?;
    if !statement.readonly() {
        return Err(invalid("query cannot write outside a transaction: use execute or a transaction"));
    }
    rows(statement)
}

pub(crate) fn execute(sql: &str, params: &[Value]) -> Result<u64, Error> {
    let connection = connection();
    change(prepare(&connection, sql, params)?)
}

pub(crate) fn begin() -> Result<Transaction, Error> {
    let connection = connection();
    if !connection.is_autocommit() {
        return Err(Error::Busy);
    }
    connection.execute_batch("BEGIN IMMEDIATE").map_err(|error| reason(&error))?;
    Ok(Transaction { connection, committed: false })
}

#[derive(Debug)]
pub(crate) struct Transaction {
    connection: Connection,
    committed: bool,
}

impl Transaction {
    pub(crate) fn query(&self, sql: &str, params: &[Value]) -> Result<Rows, Error> {
        rows(prepare(&self.connection, sql, params)?)
    }

    pub(crate) fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, Error> {
        change(prepare(&self.connection, sql, params)?)
    }

    pub(crate) fn commit(mut transaction: Transaction) -> Result<(), Error> {
        transaction.connection.execute_batch("COMMIT").map_err(|error| reason(&error))?;
        transaction.committed = true;
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.committed {
            self.connection.execute_batch("ROLLBACK").expect("the transaction is still open");
        }
    }
}

/// Prepares a statement and binds `$1`, `$2`, … by number, because SQLite takes them for names and numbers them itself.
fn prepare<'a>(connection: &'a rusqlite::Connection, sql: &str, params: &[Value]) -> Result<Statement<'a>, Error> {
    let mut statement = connection.prepare(sql).map_err(|error| reason(&error))?;
    let mut highest = 0;
    for index in 1..=statement.parameter_count() {
        let digits = statement.parameter_name(index).and_then(|name| name.strip_prefix('$'));
        let number: usize =
            digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| invalid("parameters must be $1, $2, …"))?;
        highest = highest.max(number);
        if let Some(value) = number.checked_sub(1).and_then(|position| params.get(position)) {
            bind(&mut statement, index, value).map_err(|error| reason(&error))?;
        }
    }
    if highest == params.len() { Ok(statement) } else { Err(invalid("wrong number of parameters")) }
}

fn bind(statement: &mut Statement<'_>, index: usize, value: &Value) -> rusqlite::Result<()> {
    match value {
        Value::Null => statement.raw_bind_parameter(index, rusqlite::types::Null),
        Value::Integer(integer) => statement.raw_bind_parameter(index, integer),
        Value::Real(real) => statement.raw_bind_parameter(index, real),
        Value::Text(text) => statement.raw_bind_parameter(index, text),
        Value::Blob(bytes) => statement.raw_bind_parameter(index, bytes),
    }
}

fn invalid(why: &str) -> Error {
    Error::Invalid(why.to_owned())
}

fn change(mut statement: Statement<'_>) -> Result<u64, Error> {
    if statement.readonly() {
        return Err(invalid("execute needs a statement that writes"));
    }
    let changed = statement.raw_execute().map_err(|error| reason(&error))?;
    u64::try_from(changed).map_err(|_| Error::Unavailable)
}

fn rows(mut statement: Statement<'_>) -> Result<Rows, Error> {
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let width = columns.len();
    if width == 0 {
        return Err(invalid("query needs a statement that returns rows"));
    }
    let mut values = Vec::new();
    let mut cursor = statement.raw_query();
    while let Some(row) = cursor.next().map_err(|error| reason(&error))? {
        for index in 0..width {
            let value = match row.get_ref(index).map_err(|error| reason(&error))? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(integer) => Value::Integer(integer),
                ValueRef::Real(real) => Value::Real(real),
                ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
                ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
            };
            values.push(value);
        }
    }
    Ok(pack(&columns, &values))
}

fn reason(error: &rusqlite::Error) -> Error {
    let Some(failure) = error.sqlite_error() else {
        return Error::Invalid(error.to_string());
    };
    match (failure.code, failure.extended_code) {
        (ffi::ErrorCode::ConstraintViolation, code) => Error::Constraint(match code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY => Constraint::Unique,
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Constraint::ForeignKey,
            ffi::SQLITE_CONSTRAINT_CHECK => Constraint::Check,
            ffi::SQLITE_CONSTRAINT_NOTNULL => Constraint::NotNull,
            _ => Constraint::Other,
        }),
        (ffi::ErrorCode::DatabaseBusy | ffi::ErrorCode::DatabaseLocked, _) => Error::Busy,
        _ => Error::Invalid(error.to_string()),
    }
}
