//! A connection while one caller has it, and how a statement runs on it.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool};
use futures::TryStreamExt;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Error, Statement as Compiled};

use super::config::PostgresLimits;
use super::dialect::Translated;
use super::fault;
use super::value::{Packing, Parameter};
use crate::{Rows, StorageError, Value};

/// Statements that a connection keeps compiled before it begins anew: on both sides, so a hostile service must not add to them
/// for ever.
const COMPILED_STATEMENTS: usize = 128;

/// The text of one that is kept, in bytes, for the same reason.
const COMPILED_BYTES: usize = 4 << 10;

/// Columns of a result, as many as in a table of SQLite's, and those among them that may be as large as a value: a row is read
/// whole before it is weighed.
const COLUMNS: usize = 256;
const LARGE_COLUMNS: usize = 32;

/// A connection, lent. Whoever has it says when it is done: else it is closed, and the server undoes what was under way.
pub(super) struct Session {
    object: Option<Box<Object>>,
    /// How long a server that says nothing is waited for. One that lives has outcome up before.
    patience: Duration,
}

/// A statement in PostgreSQL's words, and the values that go with it.
#[derive(Clone)]
pub(super) struct BoundStatement {
    pub(super) translated: Arc<Translated>,
    pub(super) params: Vec<Value>,
}

/// What a caller wants of a statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ResultKind {
    /// Its rows.
    Rows,
    /// How many rows it changed.
    Changes,
}

/// What a statement gave.
pub(super) enum Outcome {
    Rows(Rows),
    Changes(u64),
}

impl Session {
    /// Lends a connection, waiting for one.
    pub(super) async fn lend(pool: &Pool, patience: Duration) -> Result<Self, StorageError> {
        let object = pool.get().await.map_err(|error| fault::translate_pool(&error))?;
        Ok(Self { object: Some(Box::new(object)), patience })
    }

    /// Waits longer for what takes longer.
    pub(super) fn extend_patience(&mut self, longer: Duration) {
        self.patience += longer;
    }

    /// Gives it back, with nothing under way on it.
    pub(super) fn done(mut self) {
        self.object = None;
    }

    fn object(&self) -> &Object {
        self.object.as_ref().expect("it is there until it is done")
    }

    /// Sends statements of the host's own.
    pub(super) async fn command(&self, sql: &str) -> Result<(), StorageError> {
        self.answered(self.object().batch_execute(sql)).await?.map_err(|error| fault::translate(&error))
    }

    /// The one number that a statement of the host's own gives.
    pub(super) async fn number(&self, sql: &str) -> Result<i64, StorageError> {
        let row = self.answered(self.object().query_one(sql, &[])).await?.map_err(|error| fault::translate(&error))?;
        row.try_get(0).map_err(|error| fault::translate(&error))
    }

    /// The answer of the server, which may have gone without a word. The session must not be used again after an error.
    async fn answered<T>(&self, answer: impl Future<Output = T>) -> Result<T, StorageError> {
        let answered = timeout(self.patience, answer).await;
        answered.map_err(|_| StorageError::Unavailable(format!("PostgreSQL said nothing for {:?}", self.patience)))
    }

    /// Runs a service's statement to its end. None if it has to be compiled again first: then it had no effect.
    pub(super) async fn run(
        &self,
        bound: &BoundStatement,
        kind: ResultKind,
        limits: &PostgresLimits,
    ) -> Result<Option<Outcome>, StorageError> {
        let compiled = self.compile(bound).await?;
        match kind {
            ResultKind::Rows => self.rows(&compiled, bound, limits).await,
            ResultKind::Changes => self.changes(&compiled, bound).await,
        }
    }

    /// Runs the one statement of a transaction and commits it. One wait for both: after an error the server takes the commit for
    /// a rollback.
    pub(super) async fn run_and_commit(&self, bound: &BoundStatement) -> Result<Option<u64>, StorageError> {
        let compiled = self.compile(bound).await?;
        let (ran, committed) = futures::future::join(self.changes(&compiled, bound), self.command("COMMIT")).await;
        let outcome = ran?;
        committed?;
        Ok(outcome.map(Outcome::changes))
    }

    async fn compile(&self, bound: &BoundStatement) -> Result<Compiled, StorageError> {
        let object = self.object();
        if object.statement_cache.size() >= COMPILED_STATEMENTS {
            object.statement_cache.clear();
        }
        let kinds: Vec<_> = bound.params.iter().map(|value| Parameter(value).kind()).collect();
        let sql = &bound.translated.sql;
        let compiled = if sql.len() > COMPILED_BYTES {
            self.answered(object.prepare_typed(sql, &kinds)).await?
        } else {
            self.answered(object.prepare_typed_cached(sql, &kinds)).await?
        };
        let compiled = compiled.map_err(|error| translate(&error, bound))?;
        let is_large = |kind: &Type| matches!(*kind, Type::TEXT | Type::BYTEA);
        let large = compiled.columns().iter().filter(|column| is_large(column.type_())).count();
        for (count, most, what) in
            [(compiled.columns().len(), COLUMNS, "columns"), (large, LARGE_COLUMNS, "texts and blobs in a row")]
        {
            if count > most {
                return Err(StorageError::TooLarge(format!("a result of more than {most} {what}")));
            }
        }
        Ok(compiled)
    }

    async fn rows(
        &self,
        compiled: &Compiled,
        bound: &BoundStatement,
        limits: &PostgresLimits,
    ) -> Result<Option<Outcome>, StorageError> {
        let mut packing = Packing::of(compiled.columns(), limits);
        let answered = async {
            let stream = self.object().query_raw(compiled, bound.params.iter().map(Parameter)).await;
            let mut stream = std::pin::pin!(stream.map_err(Ok)?);
            while let Some(row) = stream.try_next().await.map_err(Ok)? {
                packing.add(&row).map_err(Err)?;
            }
            Ok(())
        };
        match self.answered(answered).await? {
            Ok(()) => Ok(Some(Outcome::Rows(packing.packed()))),
            Err(Ok(error)) => self.forget(&error, bound),
            Err(Err(refused)) => Err(refused),
        }
    }

    async fn changes(&self, compiled: &Compiled, bound: &BoundStatement) -> Result<Option<Outcome>, StorageError> {
        match self.answered(self.object().execute_raw(compiled, bound.params.iter().map(Parameter))).await? {
            Ok(changed) => Ok(Some(Outcome::Changes(changed))),
            Err(error) => self.forget(&error, bound),
        }
    }

    /// None after an error that says that what is compiled is out of date.
    fn forget(&self, error: &Error, bound: &BoundStatement) -> Result<Option<Outcome>, StorageError> {
        if !fault::is_outdated(error) {
            return Err(translate(error, bound));
        }
        self.object().statement_cache.clear();
        Ok(None)
    }
}

/// What reads breaks no rule of the schema: there, a text that is no number is the statement's fault.
fn translate(error: &Error, bound: &BoundStatement) -> StorageError {
    match error.as_db_error() {
        Some(refused) if !bound.translated.writes && *refused.code() == SqlState::INVALID_TEXT_REPRESENTATION => {
            StorageError::Invalid(refused.message().to_owned())
        }
        _ => fault::translate(error),
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(*object));
        }
    }
}

impl Outcome {
    pub(super) fn rows(self) -> Rows {
        match self {
            Self::Rows(rows) => rows,
            Self::Changes(_) => Rows::of(std::iter::empty()),
        }
    }

    pub(super) fn changes(self) -> u64 {
        match self {
            Self::Rows(_) => 0,
            Self::Changes(changes) => changes,
        }
    }
}
