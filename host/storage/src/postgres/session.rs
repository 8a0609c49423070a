//! A connection lent to one caller, and how a statement runs on it.

use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Object, Pool, PoolError};
use futures::TryStreamExt;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSqlOwned, Type};
use tokio_postgres::{Error, SimpleQueryMessage, Statement as Compiled};

use super::config::PostgresLimits;
use super::dialect::Translated;
use super::fault;
use super::value::{Packing, Parameter};
use crate::{Rows, StorageError, Value};

/// How many compiled statements a connection keeps before it discards them all.
///
/// Client and server both keep them, so a hostile service must not make them grow without limit.
const COMPILED_STATEMENTS: usize = 128;

/// The longest text of a statement that is kept compiled, in bytes. A hostile service must not fill memory with long
/// ones.
const COMPILED_BYTES: usize = 4 << 10;

/// The maximum columns of a result, as in SQLite, and texts and blobs among them.
///
/// The second limit exists because a row is read completely before its size is checked.
const COLUMNS: usize = 256;
const LARGE_COLUMNS: usize = 32;

/// How long a call waits before it asks a server again that has no connection left.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// A lent connection.
///
/// The borrower calls [`done`](Self::done) to return it. Else it is closed, and the server rolls back.
pub(super) struct Session {
    object: Option<Box<Object>>,
    /// How long to wait for a silent server.
    ///
    /// Longer than the timeouts of the server, so a working server answers earlier.
    patience: Duration,
    /// The id of the transaction that is open, if the host may have to ask for its outcome.
    transaction: Option<String>,
}

/// A translated statement and its values.
#[derive(Clone)]
pub(super) struct BoundStatement {
    pub(super) translated: Arc<Translated>,
    pub(super) params: Vec<Value>,
}

/// What a caller expects from a statement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum ResultKind {
    /// Rows.
    Rows,
    /// The number of changed rows.
    Changes,
}

/// The result of a statement.
pub(super) enum Outcome {
    Rows(Rows),
    Changes(u64),
}

impl Session {
    /// Waits up to `longest_wait` for a connection from the pool, also while the server has none left for this host.
    pub(super) async fn lend(pool: &Pool, longest_wait: Duration, patience: Duration) -> Result<Self, StorageError> {
        let until = Instant::now() + longest_wait;
        let object = loop {
            match pool.get().await {
                Err(PoolError::Backend(error)) if fault::is_full(&error) && Instant::now() < until => {
                    sleep(FULL_PAUSE).await;
                }
                taken => break taken.map_err(|error| fault::translate_pool(&error))?,
            }
        };
        Ok(Self { object: Some(Box::new(object)), patience, transaction: None })
    }

    /// Waits longer from now on, for statements that may take longer.
    pub(super) fn extend_patience(&mut self, longer: Duration) {
        self.patience += longer;
    }

    /// Returns the connection to the pool.
    ///
    /// No statement or transaction may be open on it.
    pub(super) fn done(mut self) {
        self.object = None;
    }

    fn object(&self) -> &Object {
        self.object.as_ref().expect("only `done` and `drop` take the connection")
    }

    /// Runs statements of the host.
    pub(super) async fn command(&self, sql: &str) -> Result<(), StorageError> {
        self.answered(self.object().batch_execute(sql)).await?.map_err(|error| fault::translate(&error))
    }

    /// Begins a transaction. One of the statements selects its id.
    pub(super) async fn begin(&mut self, sql: &str) -> Result<(), StorageError> {
        let answered = self.answered(self.object().simple_query(sql)).await?;
        let messages = answered.map_err(|error| fault::translate(&error))?;
        self.transaction = messages.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        });
        Ok(())
    }

    /// The id of the open transaction, as `pg_current_xact_id` writes it.
    pub(super) fn transaction(&self) -> Option<&str> {
        self.transaction.as_deref()
    }

    /// Runs a host statement that selects numbers with a text each.
    pub(super) async fn pairs(&self, sql: &str) -> Result<Vec<(i64, String)>, StorageError> {
        let rows = self.answered(self.object().query(sql, &[])).await?.map_err(|error| fault::translate(&error))?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)))
            .collect::<Result<_, _>>()
            .map_err(|error| fault::translate(&error))
    }

    /// Runs a host statement that selects one value.
    pub(super) async fn value<T: FromSqlOwned>(&self, sql: &str) -> Result<T, StorageError> {
        let row = self.answered(self.object().query_one(sql, &[])).await?.map_err(|error| fault::translate(&error))?;
        row.try_get(0).map_err(|error| fault::translate(&error))
    }

    /// Waits for the server's answer, up to `patience`.
    ///
    /// After an error the session must not be used again.
    async fn answered<T>(&self, answer: impl Future<Output = T>) -> Result<T, StorageError> {
        let answered = timeout(self.patience, answer).await;
        answered.map_err(|_| StorageError::Unavailable(format!("PostgreSQL did not answer for {:?}", self.patience)))
    }

    /// Runs a statement of a service to its end.
    ///
    /// Returns `None` if the compiled statement was outdated. It then changed nothing, and the caller can run it again.
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

    /// Runs the only statement of a transaction and commits it, with one wait for both.
    ///
    /// If the statement fails, the server treats the commit as a rollback. Returns the results of both, because the commit may
    /// have been made even if the connection was lost before the statement's result.
    pub(super) async fn run_and_commit(
        &self,
        compiled: &Compiled,
        bound: &BoundStatement,
    ) -> (Result<Option<u64>, StorageError>, Result<(), StorageError>) {
        let (ran, committed) = futures::future::join(self.changes(compiled, bound), self.command("COMMIT")).await;
        (ran.map(|outcome| outcome.map(Outcome::changes)), committed)
    }

    /// Compiles a statement, or takes it from the connection's cache.
    pub(super) async fn compile(&self, bound: &BoundStatement) -> Result<Compiled, StorageError> {
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

    /// Returns `None` if an error says that the compiled statement is outdated.
    fn forget(&self, error: &Error, bound: &BoundStatement) -> Result<Option<Outcome>, StorageError> {
        if !fault::is_outdated(error) {
            return Err(translate(error, bound));
        }
        self.object().statement_cache.clear();
        Ok(None)
    }
}

/// Translates an error.
///
/// In a read, a text that is not a number makes the statement invalid, because a read cannot break a constraint of the schema.
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
