//! A transaction that a guest drives: what its owner holds, and how the writer serves it.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::group::Group;
use crate::storage::sqlite::config::SqliteConfig;
use crate::storage::{Rows, Statement, StorageError, Transaction, Usage};

/// The writer, held. Dropping it closes the channel, which the writer takes for a rollback.
pub(in crate::storage::sqlite) struct Held {
    commands: Sender<Command>,
    ended: Arc<OnceLock<StorageError>>,
}

enum Command {
    Query(Statement, oneshot::Sender<Result<Rows, StorageError>>),
    Execute(Statement, oneshot::Sender<Result<u64, StorageError>>),
    Commit(oneshot::Sender<Result<(), StorageError>>),
}

/// How a transaction came to its end.
enum End {
    Commit(oneshot::Sender<Result<(), StorageError>>),
    Dropped,
    /// The writer ended it. Later calls get this error.
    Revoked(StorageError),
}

impl Held {
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
        // The writer says why before it closes the channel; silent, it is gone.
        let ended = self.ended.get().cloned();
        Err(ended.unwrap_or_else(|| StorageError::Unavailable("the writer stopped".into())))
    }
}

impl Transaction for Held {
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

/// Gives the writer to an owner, and serves it to the end of its transaction or its lease.
pub(super) fn serve(
    group: &mut Group<'_>,
    owner: oneshot::Sender<Result<Held, StorageError>>,
    config: &SqliteConfig,
    usage: &Arc<Usage>,
) {
    if let Err(error) = group.enter() {
        let _ = owner.send(Err(error));
        return;
    }
    let (commands, inbox) = mpsc::channel();
    let ended = Arc::new(OnceLock::new());
    let lease_end = Instant::now() + config.transaction_lease;
    let held = Held {
        commands,
        ended: ended.clone(),
    };
    // An owner that is gone drops what it was sent, which ends the conversation at once.
    let _ = owner.send(Ok(held));
    match converse(group, &inbox, lease_end, config, usage) {
        End::Commit(reply) => finish(group, reply, usage),
        End::Dropped => {
            Usage::count(&usage.rollbacks);
            group.undo();
        }
        End::Revoked(error) => {
            Usage::count(&usage.rollbacks);
            group.undo();
            let _ = ended.set(error);
        }
    }
}

fn finish(group: &mut Group<'_>, reply: oneshot::Sender<Result<(), StorageError>>, usage: &Arc<Usage>) {
    if let Err(error) = group.keep() {
        Usage::count(&usage.rollbacks);
        let _ = reply.send(Err(error));
        return;
    }
    let usage = usage.clone();
    group.join(move |outcome| {
        Usage::count(if outcome.is_ok() {
            &usage.commits
        } else {
            &usage.rollbacks
        });
        let _ = reply.send(outcome.clone());
    });
}

fn converse(
    group: &mut Group<'_>,
    inbox: &Receiver<Command>,
    lease_end: Instant,
    config: &SqliteConfig,
    usage: &Usage,
) -> End {
    let mut wrote = false;
    loop {
        let until = if group.owes() && !wrote {
            lease_end.min(group.due())
        } else {
            lease_end
        };
        let command = match inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(_) if Instant::now() >= lease_end => return End::Revoked(StorageError::TimedOut),
            Ok(command) => command,
            Err(RecvTimeoutError::Disconnected) => return End::Dropped,
            Err(RecvTimeoutError::Timeout) if Instant::now() >= lease_end => {
                return End::Revoked(StorageError::TimedOut);
            }
            Err(RecvTimeoutError::Timeout) => match group.settle_beneath() {
                Ok(()) => continue,
                Err(error) => return End::Revoked(error),
            },
        };
        let deadline = lease_end.min(Instant::now() + config.statement_deadline);
        let failure = match command {
            Command::Commit(reply) => return End::Commit(reply),
            Command::Query(statement, reply) => {
                Usage::count(&usage.transaction_statements);
                let result = group.run(&statement, deadline, &mut wrote, |prepared| {
                    prepared.rows(&config.limits)
                });
                answer(reply, result)
            }
            Command::Execute(statement, reply) => {
                Usage::count(&usage.transaction_statements);
                answer(
                    reply,
                    group.run(&statement, deadline, &mut wrote, |prepared| prepared.changes()),
                )
            }
        };
        if !group.is_open() {
            return End::Revoked(failure.unwrap_or(StorageError::TimedOut));
        }
    }
}

/// Sends a result to whoever asked, and keeps its error.
fn answer<T>(reply: oneshot::Sender<Result<T, StorageError>>, result: Result<T, StorageError>) -> Option<StorageError> {
    let failure = result.as_ref().err().cloned();
    let _ = reply.send(result);
    failure
}
