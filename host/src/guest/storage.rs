//! The grant `storage`: a database of the service's own.
//!
//! The read set of a query outside of a transaction becomes part of the response's read set. All other calls make the response
//! uncacheable.

use std::sync::Arc;

use storage::rehearsal::Rehearsal;
use storage::{Constraint, Rows, Statement, Storage, StorageError, Transaction, Value};
use wasmtime::component::{HasSelf, Resource};

use super::Guest;
use super::bindings::storage as wit;
use super::dependency_failure::DependencyFailure;
use super::interface::Interface;
use super::sql_text::{operation, without_values};
use crate::telemetry::{Kind, Parent, Span};

pub(super) const INTERFACE: Interface = Interface {
    name: "storage",
    link: |linker| wit::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest),
    unavailable: "`describe` cannot use `storage`",
};

/// The database as a probe sees it: all writes are rolled back.
pub(super) fn for_rehearsal(storage: Arc<dyn Storage>) -> Arc<dyn Storage> {
    Arc::new(Rehearsal::new(storage))
}

/// A transaction that a guest has open. It is rolled back when the guest drops it without a commit, and when the store is dropped.
pub struct OpenTransaction(Box<dyn Transaction>);

impl Guest {
    fn storage(&self) -> wasmtime::Result<Arc<dyn Storage>> {
        INTERFACE.require(self.grants.storage.as_ref()).cloned()
    }
}

/// The span of a statement. It has the text without values.
fn traced(trace: &Parent, sql: &str) -> Span {
    let mut span = trace.child("SQL", Kind::Client);
    span.rename(|| operation(sql));
    span.set("db.operation.name", || operation(sql));
    span.set("db.query.text", || without_values(sql));
    span
}

/// Ends the span of a statement.
fn finish<T>(mut span: Span, result: &Result<T, StorageError>) {
    if let Err(error) = result {
        span.fail(|| without_values(&error.to_string()));
    }
}

fn statement(sql: String, params: Vec<wit::Value>) -> Statement {
    let params = params.into_iter().map(|value| match value {
        wit::Value::Null => Value::Null,
        wit::Value::Integer(integer) => Value::Integer(integer),
        wit::Value::Real(real) => Value::Real(real),
        wit::Value::Text(text) => Value::Text(text),
        wit::Value::Blob(blob) => Value::Blob(blob),
    });
    Statement { sql, params: params.collect() }
}

/// Records an error as a dependency failure if the database is to blame.
pub(super) fn note_failure(error: &StorageError, failure: &DependencyFailure) {
    match error {
        StorageError::Busy => failure.record(|| "the database is busy".to_owned()),
        StorageError::Unavailable(cause) => failure
            .record(|| format!("the database is unavailable ({cause}): check its disk, or the PostgreSQL server")),
        StorageError::OutcomeUnknown(_) => failure.record(|| error.to_string()),
        _ => {}
    }
}

/// Ends a guest, because nobody knows whether its commit was made. The guest must not tell its client that it failed.
#[derive(Debug, thiserror::Error)]
#[error("the database was lost during a commit, which it may have made: {0}")]
pub struct OutcomeUnknown(pub(super) String);

/// Converts a result for the guest. Causes inside of the host go only into the log. Nothing else converts database errors.
///
/// # Errors
/// [`OutcomeUnknown`]. After each of the guest's own errors nothing was written, as `wit/storage.wit` promises.
fn to_guest<T>(
    result: Result<T, StorageError>,
    failure: &DependencyFailure,
) -> wasmtime::Result<Result<T, wit::Error>> {
    let error = match result {
        Ok(value) => return Ok(Ok(value)),
        Err(error) => error,
    };
    note_failure(&error, failure);
    Ok(Err(match error {
        StorageError::Constraint(kind) => wit::Error::Constraint(match kind {
            Constraint::Unique => wit::Constraint::Unique,
            Constraint::ForeignKey => wit::Constraint::ForeignKey,
            Constraint::Check => wit::Constraint::Check,
            Constraint::NotNull => wit::Constraint::NotNull,
            Constraint::Other => wit::Constraint::Other,
        }),
        StorageError::Busy => wit::Error::Busy,
        StorageError::Denied(what) => wit::Error::Denied(what),
        StorageError::TooLarge(which) => wit::Error::TooLarge(which),
        StorageError::TimedOut => wit::Error::TimedOut,
        StorageError::Invalid(why) => wit::Error::Invalid(why),
        StorageError::Unavailable(_) => wit::Error::Unavailable,
        StorageError::OutcomeUnknown(cause) => return Err(OutcomeUnknown(cause).into()),
    }))
}

impl wit::Host for Guest {
    async fn query(&mut self, sql: String, params: Vec<wit::Value>) -> wasmtime::Result<Result<wit::Rows, wit::Error>> {
        let (storage, span) = (self.storage()?, traced(self.trace(), &sql));
        let read = storage.read(statement(sql, params)).await;
        finish(span, &read);
        match read {
            Ok((read, read_set)) => {
                self.extend_read_set(read_set);
                Ok(Ok(read.into_packed()))
            }
            Err(error) => to_guest(Err(error), &self.mark_uncacheable().failure),
        }
    }

    async fn execute(&mut self, sql: String, params: Vec<wit::Value>) -> wasmtime::Result<Result<u64, wit::Error>> {
        self.mark_uncacheable();
        let (storage, span) = (self.storage()?, traced(self.trace(), &sql));
        let executed = storage.execute(statement(sql, params)).await;
        finish(span, &executed);
        to_guest(executed, &self.failure)
    }

    async fn begin(&mut self) -> wasmtime::Result<Result<Resource<OpenTransaction>, wit::Error>> {
        let (storage, span) = (self.mark_uncacheable().storage()?, self.trace().child("BEGIN", Kind::Client));
        let begun = storage.begin().await;
        finish(span, &begun);
        match begun {
            Ok(transaction) => Ok(Ok(self.table.push(OpenTransaction(transaction))?)),
            Err(error) => to_guest(Err(error), &self.failure),
        }
    }
}

impl wit::HostTransaction for Guest {
    async fn query(
        &mut self,
        transaction: Resource<OpenTransaction>,
        sql: String,
        params: Vec<wit::Value>,
    ) -> wasmtime::Result<Result<wit::Rows, wit::Error>> {
        let OpenTransaction(transaction) = self.table.get(&transaction)?;
        let span = traced(self.trace(), &sql);
        let read = transaction.query(statement(sql, params)).await;
        finish(span, &read);
        to_guest(read.map(Rows::into_packed), &self.failure)
    }

    async fn execute(
        &mut self,
        transaction: Resource<OpenTransaction>,
        sql: String,
        params: Vec<wit::Value>,
    ) -> wasmtime::Result<Result<u64, wit::Error>> {
        let OpenTransaction(transaction) = self.table.get(&transaction)?;
        let span = traced(self.trace(), &sql);
        let executed = transaction.execute(statement(sql, params)).await;
        finish(span, &executed);
        to_guest(executed, &self.failure)
    }

    async fn commit(&mut self, transaction: Resource<OpenTransaction>) -> wasmtime::Result<Result<(), wit::Error>> {
        let OpenTransaction(transaction) = self.table.delete(transaction)?;
        let span = self.trace().child("COMMIT", Kind::Client);
        let committed = transaction.commit().await;
        finish(span, &committed);
        to_guest(committed, &self.failure)
    }

    async fn drop(&mut self, transaction: Resource<OpenTransaction>) -> wasmtime::Result<()> {
        self.table.delete(transaction)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_with_an_unknown_outcome_ends_the_guest_and_is_not_its_fault() {
        let failure = DependencyFailure::default();
        let ended = to_guest::<()>(Err(StorageError::OutcomeUnknown("the cable is out".to_owned())), &failure);
        assert!(ended.is_err_and(|error| error.is::<OutcomeUnknown>()));
        assert!(failure.cause().is_some_and(|cause| cause.contains("the cable is out")), "{:?}", failure.cause());
    }
}
