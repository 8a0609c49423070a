//! Ends a transaction, and finds out what became of it if the answer to its COMMIT is lost.
//!
//! The server may have committed before the connection broke. It knows the outcome of each recent transaction by its id
//! (`pg_xact_status`, PostgreSQL's manual, 9.27.8). So the host asks on another connection.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Shared;
use super::session::{BoundStatement, Session};
use super::transaction::{roll_back, roll_back_after};
use crate::StorageError;

/// The pause before the server is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// What the server knows of a transaction.
enum Fate {
    Committed,
    /// It had no effect.
    Aborted,
    /// The old connection's process has not noticed that its client is gone.
    InProgress,
    /// It is too old for the server to remember.
    Forgotten,
}

impl Shared {
    /// Commits, and returns the connection to the pool.
    ///
    /// # Errors
    ///
    /// [`StorageError::OutcomeUnknown`] if the connection is lost and the server does not answer on another one. After any other
    /// error nothing was written.
    pub(super) async fn commit(&self, session: Session) -> Result<(), StorageError> {
        let committed = session.command("COMMIT").await;
        self.settle(session, committed).await
    }

    /// Runs the only statement of a transaction and commits it. Returns `None` if it must be compiled again.
    ///
    /// # Errors
    ///
    /// Those of the statement and of [`commit`](Self::commit).
    pub(super) async fn run_and_commit(
        &self,
        session: Session,
        bound: &BoundStatement,
    ) -> Result<Option<u64>, StorageError> {
        let compiled = match session.compile(bound).await {
            Ok(compiled) => compiled,
            // No COMMIT was sent, so nothing was written.
            Err(error) => {
                roll_back_after(session, &error).await;
                return Err(error);
            }
        };
        match session.run_and_commit(&compiled, bound).await {
            (Ok(None), _) => {
                roll_back(session).await;
                Ok(None)
            }
            (Ok(Some(changed)), committed) => self.settle(session, committed).await.map(|()| Some(changed)),
            (Err(_), Err(StorageError::Unavailable(cause))) => {
                self.find_out(&session, cause).await?;
                Err(StorageError::OutcomeUnknown("it committed, but the number of changed rows was lost".into()))
            }
            (Err(error), _) => {
                roll_back_after(session, &error).await;
                Err(error)
            }
        }
    }

    async fn settle(&self, session: Session, committed: Result<(), StorageError>) -> Result<(), StorageError> {
        match committed {
            Ok(()) => session.done(),
            Err(StorageError::Unavailable(cause)) => self.find_out(&session, cause).await?,
            refused => return refused,
        }
        self.acknowledge();
        Ok(())
    }

    /// Asks for the outcome of the session's transaction until the server knows it.
    ///
    /// Gives up after as long as a statement may wait and run.
    async fn find_out(&self, session: &Session, cause: String) -> Result<(), StorageError> {
        let Some(transaction) = session.transaction() else { return Err(StorageError::OutcomeUnknown(cause)) };
        let until = Instant::now() + self.config.longest_wait + self.config.statement_deadline;
        loop {
            match self.fate(transaction).await {
                Ok(Fate::Committed) => return Ok(()),
                Ok(Fate::Aborted) => return Err(StorageError::Unavailable(cause)),
                Ok(Fate::InProgress) | Err(_) if Instant::now() + PAUSE < until => sleep(PAUSE).await,
                Ok(Fate::InProgress | Fate::Forgotten) | Err(_) => return Err(StorageError::OutcomeUnknown(cause)),
            }
        }
    }

    async fn fate(&self, transaction: &str) -> Result<Fate, StorageError> {
        let session = self.lend(&self.reader).await?;
        let asked = format!("SELECT coalesce(pg_xact_status('{transaction}'), 'forgotten')");
        let fate = match session.value::<String>(&asked).await?.as_str() {
            "committed" => Fate::Committed,
            "aborted" => Fate::Aborted,
            "in progress" => {
                // Its client is gone, so it can only hold the writer until its lease ends.
                let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_xid = ";
                session.command(&format!("{end} CAST(CAST('{transaction}' AS xid8) AS xid)")).await?;
                Fate::InProgress
            }
            _ => Fate::Forgotten,
        };
        session.done();
        Ok(fate)
    }
}
