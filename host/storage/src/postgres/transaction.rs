//! Takes the writer of a service's schema, and runs transactions on it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::patience::Patience;
use super::session::{BoundStatement, Outcome, ResultKind, Session};
use crate::{Rows, Statement, StorageError, Transaction, Usage};

/// A transaction, which holds the writer. Dropping it rolls back.
pub(super) struct PostgresTransaction {
    shared: Arc<Shared>,
    state: Arc<Mutex<State>>,
    until: Instant,
    lease: AbortHandle,
    runtime: Handle,
}

/// Where the transaction's connection is.
enum State {
    Idle(Session),
    /// A statement is running on it.
    ///
    /// If the statement is dropped, the connection is closed.
    Working,
    /// The transaction has ended, for this reason.
    Over(StorageError),
}

/// A slot in the queue for the writer. Dropping it frees the slot.
pub(super) struct QueueSlot<'w>(&'w AtomicUsize);

/// Moves the savepoint to the start of the next statement.
///
/// A failed statement rolls back to it.
const NEXT_SAVEPOINT: &str = "RELEASE SAVEPOINT statement; SAVEPOINT statement";
const UNDO: &str = "ROLLBACK TO SAVEPOINT statement";

impl Shared {
    /// Begins a transaction on the writing connection and takes the writer's lock.
    pub(super) async fn take_writer(&self) -> Result<Session, StorageError> {
        self.wait_for_writer().await.inspect_err(|error| self.count_refusal(error))
    }

    async fn wait_for_writer(&self) -> Result<Session, StorageError> {
        let _slot = QueueSlot::take(&self.waiting, self.config.waiting_writes)?;
        self.migrating.count_write();
        let mut patience = Patience::new(self);
        loop {
            match self.take_writer_once().await {
                Err(StorageError::Busy) if patience.may_wait_longer().await => {}
                result => return result,
            }
        }
    }

    /// Takes the writer, but waits at most the usual time.
    pub(super) async fn take_writer_once(&self) -> Result<Session, StorageError> {
        let mut session = self.lend(&self.writer).await?;
        let (lock, deadline) = (self.writer_lock, milliseconds(self.config.statement_deadline));
        // `lock_timeout` limits the wait for the lock, so `statement_timeout` must not.
        let begin = format!(
            "BEGIN; SET LOCAL statement_timeout = 0; SELECT pg_advisory_xact_lock({lock}); \
             SET LOCAL statement_timeout = {deadline}; SELECT pg_current_xact_id(); SAVEPOINT statement"
        );
        match session.begin(&begin).await {
            Ok(()) => Ok(session),
            Err(error) => {
                roll_back_after(session, &error).await;
                Err(error)
            }
        }
    }
}

impl PostgresTransaction {
    /// Takes the writer and starts the lease.
    pub(super) async fn begin(shared: Arc<Shared>) -> Result<Self, StorageError> {
        let session = shared.take_writer().await?;
        let until = Instant::now() + shared.config.transaction_lease;
        let state = Arc::new(Mutex::new(State::Idle(session)));
        let runtime = Handle::current();
        let lease = runtime.spawn(end_lease(state.clone(), until)).abort_handle();
        Ok(Self { shared, state, until, lease, runtime })
    }

    async fn run(&self, statement: Statement, kind: ResultKind) -> Result<Outcome, StorageError> {
        Usage::count(&self.shared.usage.transaction_statements);
        let bound = self.shared.bind(statement, kind).await?;
        let session = self.take()?;
        let began = Instant::now();
        // If this future is dropped here, the connection is closed, which rolls back the transaction.
        let abandoned = Abandoned(&self.state);
        let ended = timeout_at(self.until, run_alone(session, &bound, kind, &self.shared)).await;
        drop(abandoned);
        self.shared.usage.add_sql_time(began.elapsed());
        match ended {
            Ok((result, Some(session))) => {
                self.put_back(session);
                result
            }
            Ok((result, None)) => {
                let lost = result.as_ref().err().cloned();
                *self.lock() = State::Over(lost.unwrap_or(StorageError::TimedOut));
                result
            }
            Err(_) => Err(StorageError::TimedOut),
        }
    }

    fn take(&self) -> Result<Session, StorageError> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, State::Working) {
            State::Idle(session) => Ok(session),
            State::Working => Err(StorageError::Invalid("a transaction runs one statement at a time".into())),
            State::Over(reason) => {
                *state = State::Over(reason.clone());
                Err(reason)
            }
        }
    }

    /// Returns the connection after a statement. Rolls back if the lease has ended.
    fn put_back(&self, session: Session) {
        let mut state = self.lock();
        // The time is checked under the lock. If the lease ended before, this sees it. If it ends later, it finds the connection
        // idle.
        if Instant::now() < self.until {
            *state = State::Idle(session);
        } else {
            self.runtime.spawn(roll_back(session));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn finish(&self) -> Result<(), StorageError> {
        let session = self.take()?;
        self.lease.abort();
        *self.lock() = State::Over(StorageError::TimedOut);
        if Instant::now() >= self.until {
            Usage::count(&self.shared.usage.rollbacks);
            roll_back(session).await;
            return Err(StorageError::TimedOut);
        }
        self.shared.commit(session).await.inspect_err(|_| Usage::count(&self.shared.usage.rollbacks))
    }
}

impl Transaction for PostgresTransaction {
    fn query(&self, statement: Statement) -> BoxFuture<'_, Result<Rows, StorageError>> {
        Box::pin(async move { self.run(statement, ResultKind::Rows).await.map(Outcome::rows) })
    }

    fn execute(&self, statement: Statement) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(async move { self.run(statement, ResultKind::Changes).await.map(Outcome::changes) })
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), StorageError>> {
        Box::pin(async move { self.finish().await })
    }
}

impl Drop for PostgresTransaction {
    fn drop(&mut self) {
        self.lease.abort();
        let state = std::mem::replace(&mut *self.lock(), State::Over(StorageError::TimedOut));
        if let State::Idle(session) = state {
            Usage::count(&self.shared.usage.rollbacks);
            self.runtime.spawn(roll_back(session));
        }
    }
}

/// Guards a running statement. If it is dropped early, the transaction is lost.
struct Abandoned<'s>(&'s Mutex<State>);

impl Drop for Abandoned<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::Over(StorageError::TimedOut);
    }
}

impl<'w> QueueSlot<'w> {
    fn take(waiting: &'w AtomicUsize, limit: usize) -> Result<Self, StorageError> {
        // Counts before the comparison, so that two callers cannot both get the last slot.
        let (slot, before) = (Self(waiting), waiting.fetch_add(1, Ordering::Relaxed));
        if before < limit { Ok(slot) } else { Err(StorageError::Busy) }
    }
}

impl Drop for QueueSlot<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs a statement in its own savepoint.
///
/// Returns the connection unless the transaction is lost.
async fn run_alone(
    session: Session,
    bound: &BoundStatement,
    kind: ResultKind,
    shared: &Shared,
) -> (Result<Outcome, StorageError>, Option<Session>) {
    let limits = &shared.config.limits;
    let mut result = Err(StorageError::Busy);
    for _ in 0..2 {
        // Sends both at once, in this order, and waits once.
        let (opened, ran) =
            futures::future::join(session.command(NEXT_SAVEPOINT), session.run(bound, kind, limits)).await;
        if let Err(error) = opened {
            return (Err(error), None);
        }
        match ran {
            Ok(Some(outcome)) => return (Ok(outcome), Some(session)),
            Ok(None) => {}
            Err(error @ StorageError::Unavailable(_)) => return (Err(error), None),
            Err(error) => result = Err(error),
        }
        if let Err(lost) = session.command(UNDO).await {
            return (Err(lost), None);
        }
        if !matches!(result, Err(StorageError::Busy)) {
            break;
        }
    }
    (result, Some(session))
}

/// Waits for the end of a lease, and rolls back if the transaction is still open.
async fn end_lease(state: Arc<Mutex<State>>, until: Instant) {
    tokio::time::sleep_until(until).await;
    let left = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *state, State::Over(StorageError::TimedOut)) {
            State::Idle(session) => Some(session),
            // The running statement ends at the same moment.
            State::Working => {
                *state = State::Working;
                None
            }
            over @ State::Over(_) => {
                *state = over;
                None
            }
        }
    };
    if let Some(session) = left {
        roll_back(session).await;
    }
}

/// Rolls back and returns the connection to the pool.
///
/// Closes the connection if that fails.
pub(super) async fn roll_back(session: Session) {
    if session.command("ROLLBACK").await.is_ok() {
        session.done();
    }
}

/// Rolls back after an error. After an error of the connection, only closes it.
pub(super) async fn roll_back_after(session: Session, error: &StorageError) {
    if !matches!(error, StorageError::Unavailable(_)) {
        roll_back(session).await;
    }
}

/// A duration as a setting of PostgreSQL. At least 1, because 0 means no limit.
pub(super) fn milliseconds(time: Duration) -> u128 {
    time.as_millis().clamp(1, i32::MAX.unsigned_abs().into())
}
