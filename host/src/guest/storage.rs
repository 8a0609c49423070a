//! `comptoir:platform/storage`. A query outside of a transaction is noted with what its rows rest on, anything else as more
//! than reading.

use std::sync::Arc;

use storage::{Constraint, Rows, Statement, Storage, StorageError, Transaction, Value};
use wasmtime::component::Resource;

use super::bindings::storage as wit;
use super::{Excuse, Guest};

/// A transaction that a guest holds. It rolls back when the guest drops it, and when the store is dropped.
pub struct OpenTransaction(Box<dyn Transaction>);

impl Guest {
    fn storage(&self) -> wasmtime::Result<Arc<dyn Storage>> {
        let granted = self.grants.storage.clone();
        granted.ok_or_else(|| wasmtime::format_err!("storage is not to be had while describing"))
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

/// The one place where an error of the database becomes one that a guest sees. What is the host's affair stays in its log.
fn visible(error: StorageError, excuse: &Excuse) -> wit::Error {
    match error {
        StorageError::Constraint(kind) => wit::Error::Constraint(match kind {
            Constraint::Unique => wit::Constraint::Unique,
            Constraint::ForeignKey => wit::Constraint::ForeignKey,
            Constraint::Check => wit::Constraint::Check,
            Constraint::NotNull => wit::Constraint::NotNull,
            Constraint::Other => wit::Constraint::Other,
        }),
        StorageError::Busy => {
            excuse.give(|| "the database is busy".to_owned());
            wit::Error::Busy
        }
        StorageError::Denied(what) => wit::Error::Denied(what),
        StorageError::TooLarge(which) => wit::Error::TooLarge(which),
        StorageError::TimedOut => wit::Error::TimedOut,
        StorageError::Invalid(why) => wit::Error::Invalid(why),
        StorageError::Unavailable(cause) => {
            excuse
                .give(|| format!("the database is unavailable ({cause}): check its disk, or the server that keeps it"));
            wit::Error::Unavailable
        }
    }
}

impl wit::Host for Guest {
    async fn query(&mut self, sql: String, params: Vec<wit::Value>) -> wasmtime::Result<Result<wit::Rows, wit::Error>> {
        match self.storage()?.read(statement(sql, params)).await {
            Ok((read, read_set)) => {
                self.depends_on(read_set);
                Ok(Ok(read.into_packed()))
            }
            Err(error) => Ok(Err(visible(error, &self.did_more().excuse))),
        }
    }

    async fn execute(&mut self, sql: String, params: Vec<wit::Value>) -> wasmtime::Result<Result<u64, wit::Error>> {
        self.did_more();
        Ok(self.storage()?.execute(statement(sql, params)).await.map_err(|error| visible(error, &self.excuse)))
    }

    async fn begin(&mut self) -> wasmtime::Result<Result<Resource<OpenTransaction>, wit::Error>> {
        // Whatever it does with the transaction.
        match self.did_more().storage()?.begin().await {
            Ok(transaction) => Ok(Ok(self.table.push(OpenTransaction(transaction))?)),
            Err(error) => Ok(Err(visible(error, &self.excuse))),
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
        Ok(transaction
            .query(statement(sql, params))
            .await
            .map(Rows::into_packed)
            .map_err(|error| visible(error, &self.excuse)))
    }

    async fn execute(
        &mut self,
        transaction: Resource<OpenTransaction>,
        sql: String,
        params: Vec<wit::Value>,
    ) -> wasmtime::Result<Result<u64, wit::Error>> {
        let OpenTransaction(transaction) = self.table.get(&transaction)?;
        Ok(transaction.execute(statement(sql, params)).await.map_err(|error| visible(error, &self.excuse)))
    }

    async fn commit(&mut self, transaction: Resource<OpenTransaction>) -> wasmtime::Result<Result<(), wit::Error>> {
        let OpenTransaction(transaction) = self.table.delete(transaction)?;
        Ok(transaction.commit().await.map_err(|error| visible(error, &self.excuse)))
    }

    async fn drop(&mut self, transaction: Resource<OpenTransaction>) -> wasmtime::Result<()> {
        self.table.delete(transaction)?;
        Ok(())
    }
}
