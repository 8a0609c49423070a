//! A transaction that a guest controls: the owner's handle and the writer's side.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::group::Group;
use crate::sqlite::statement::Prepared;
use crate::sqlite_connection::SqliteConfig;
use crate::{Rows, Statement, StorageError, Transaction, Usage};

/// The owner's handle of a transaction.
///
/// Dropping it closes the channel, and the writer rolls back.
pub(in crate::sqlite) struct SqliteTransaction {
    commands: Sender<Command>,
    ended: Arc<OnceLock<StorageError>>,
}

enum Command {
    Query(Statement, oneshot::Sender<Result<Rows, StorageError>>),
    Execute(Statement, oneshot::Sender<Result<u64, StorageError>>),
    Commit(oneshot::Sender<Result<(), StorageError>>),
}

impl SqliteTransaction {
    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StorageError>>) -> Command,
    ) -> Result<T, StorageError> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(command(reply)).is_ok()
            && let Ok(result) = answer.await
        {
            return result;
        }
        // The writer stores the reason before it closes the channel. Without a reason, its thread is gone.
        let ended = self.ended.get().cloned();
        Err(ended.unwrap_or_else(|| StorageError::Unavailable("the storage writer thread stopped".into())))
    }
}

impl Transaction for SqliteTransaction {
    fn query(&self, statement: Statement) -> BoxFuture<'_, Result<Rows, StorageError>> {
        Box::pin(self.ask(|reply| Command::Query(statement, reply)))
    }

    fn execute(&self, statement: Statement) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(self.ask(|reply| Command::Execute(statement, reply)))
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), StorageError>> {
        Box::pin(async move { self.ask(Command::Commit).await })
    }
}

/// Serves a transaction until it ends or its lease is over.
pub(super) fn serve(
    group: &mut Group<'_>,
    owner: oneshot::Sender<Result<SqliteTransaction, StorageError>>,
    config: &SqliteConfig,
    usage: &Arc<Usage>,
) {
    if let Err(error) = group.set_savepoint() {
        let _ = owner.send(Err(error));
        return;
    }
    let (commands, inbox) = mpsc::channel();
    let ended = Arc::new(OnceLock::new());
    let lease_end = Instant::now() + config.transaction_lease;
    // If the owner is gone, the handle is dropped here, which ends the conversation at once.
    let _ = owner.send(Ok(SqliteTransaction { commands, ended: ended.clone() }));
    let mut conversation = Conversation { group, inbox, ended, lease_end, config, usage, wrote: false };
    match conversation.serve() {
        Some(reply) => finish(group, reply, usage),
        None => {
            Usage::count(&usage.rollbacks);
            group.roll_back_to_savepoint();
        }
    }
}

fn finish(group: &mut Group<'_>, reply: oneshot::Sender<Result<(), StorageError>>, usage: &Arc<Usage>) {
    if let Err(error) = group.release_savepoint() {
        Usage::count(&usage.rollbacks);
        let _ = reply.send(Err(error));
        return;
    }
    let usage = usage.clone();
    group.join(move |outcome| {
        Usage::count(if outcome.is_ok() { &usage.commits } else { &usage.rollbacks });
        let _ = reply.send(outcome.clone());
    });
}

/// The writer's side of one transaction, from its savepoint to its last command.
struct Conversation<'s, 'c> {
    group: &'s mut Group<'c>,
    inbox: Receiver<Command>,
    /// Why the writer ended the transaction.
    ///
    /// Set before a command stays unanswered, so that the owner learns the reason.
    ended: Arc<OnceLock<StorageError>>,
    lease_end: Instant,
    config: &'s SqliteConfig,
    usage: &'s Usage,
    wrote: bool,
}

impl Conversation<'_, '_> {
    /// Serves commands until the end.
    ///
    /// Returns where to acknowledge the commit, or `None` for a rollback.
    fn serve(&mut self) -> Option<oneshot::Sender<Result<(), StorageError>>> {
        while self.ended.get().is_none() {
            let received = self.inbox.recv_timeout(self.patience());
            let over = Instant::now() >= self.lease_end;
            match received {
                Err(RecvTimeoutError::Disconnected) => return None,
                _ if over => self.end(StorageError::TimedOut),
                Ok(Command::Commit(reply)) => return Some(reply),
                Ok(Command::Query(statement, reply)) => {
                    self.answer(&statement, reply, |prepared, config| prepared.rows(&config.limits));
                }
                Ok(Command::Execute(statement, reply)) => {
                    self.answer(&statement, reply, |prepared, _| prepared.changes());
                }
                Err(RecvTimeoutError::Timeout) => {
                    if let Err(error) = self.group.commit_before() {
                        self.end(error);
                    }
                }
            }
        }
        None
    }

    /// How long to wait for a command.
    ///
    /// Until the lease ends. If the group before this transaction can be committed, only until that commit is due.
    fn patience(&self) -> Duration {
        let until = if self.group.has_members() && !self.wrote {
            self.lease_end.min(self.group.commit_due())
        } else {
            self.lease_end
        };
        until.saturating_duration_since(Instant::now())
    }

    fn answer<T>(
        &mut self,
        statement: &Statement,
        reply: oneshot::Sender<Result<T, StorageError>>,
        work: impl FnOnce(&mut Prepared<'_>, &SqliteConfig) -> Result<T, StorageError>,
    ) {
        Usage::count(&self.usage.transaction_statements);
        let config = self.config;
        let until = self.lease_end.min(Instant::now() + config.statement_deadline);
        let result = self.group.run(statement, until, &mut self.wrote, |prepared| work(prepared, config));
        if !self.group.is_open() {
            // Only an error can end the outer transaction.
            self.end(result.as_ref().err().cloned().unwrap_or(StorageError::Busy));
        }
        let _ = reply.send(result);
    }

    fn end(&self, reason: StorageError) {
        let _ = self.ended.set(reason);
    }
}
