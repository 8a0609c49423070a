//! The writer's thread: runs jobs, groups their commits, checkpoints the log.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use rusqlite::wal::CheckpointMode;
use tokio::sync::oneshot;

use super::group::Group;
use super::{Job, Work, transaction};
use crate::priority;
use crate::sqlite::migrate;
use crate::sqlite_connection::{Blueprint, CHECKPOINT_BYTES, Connection, LOCK_WAIT, Role};
use crate::{Statement, StorageError, Usage};

/// The header of each page in the write-ahead log, in bytes.
const FRAME_HEADER_BYTES: u64 = 24;

/// Runs jobs until all senders are gone.
///
/// Opens a new connection if the last one broke.
pub(super) fn run(queue: &Receiver<Job>, blueprint: &Blueprint, usage: &Arc<Usage>) {
    // A group consists of many statements. Reads on other threads should not wait for this thread's time slice.
    let _ = priority::lower(0);
    while let Ok(job) = queue.recv() {
        match blueprint.open(Role::Writer) {
            Ok(connection) => serve(&connection, job, queue, blueprint, usage),
            Err(error) => job.refuse(error),
        }
    }
}

fn serve(connection: &Connection, first: Job, queue: &Receiver<Job>, blueprint: &Blueprint, usage: &Arc<Usage>) {
    let mut group = match Group::new(connection, blueprint, usage) {
        Ok(group) => group,
        Err(error) => return first.refuse(error),
    };
    let mut log = Log::new(connection, blueprint);
    let mut next = Some(first);
    while let Some(job) = next.take() {
        perform(job, &mut group, &log, blueprint, usage);
        while group.has_room()
            && let Ok(job) = queue.try_recv()
        {
            perform(job, &mut group, &log, blueprint, usage);
        }
        group.commit();
        if group.is_broken() {
            return;
        }
        log.shorten();
        next = queue.recv().ok();
    }
}

fn perform(job: Job, group: &mut Group<'_>, log: &Log<'_>, blueprint: &Blueprint, usage: &Arc<Usage>) {
    // This comes before the claim of the job. So its owner can still give up while another process holds the
    // database's lock.
    if matches!(job.work, Work::Migrate(..) | Work::Check(..)) {
        group.commit();
    } else if let Err(error) = group.open() {
        return job.refuse(error);
    }
    match job.claim() {
        Some(Work::Execute(statement, reply)) => execute(&statement, reply, group, blueprint, usage),
        Some(Work::Begin(reply)) => transaction::serve(group, reply, &blueprint.config, usage),
        Some(Work::Migrate(migrations, running, reply)) => {
            let result = migrate::run(blueprint, &migrations);
            let result = result.and_then(|ran| group.read_schema().map(|()| ran).map_err(Into::into));
            // The caller of the migration waits for this checkpoint too. Else the next write would.
            log.checkpoint_passively();
            drop(running);
            let _ = reply.send(result);
        }
        Some(Work::Check(reply)) => drop(reply.send(group.check())),
        None => {}
    }
}

fn execute(
    statement: &Statement,
    reply: oneshot::Sender<Result<u64, StorageError>>,
    group: &mut Group<'_>,
    blueprint: &Blueprint,
    usage: &Arc<Usage>,
) {
    if reply.is_closed() {
        return;
    }
    let until = Instant::now() + blueprint.config.statement_deadline;
    let result = group.run(statement, until, &mut false, |prepared| prepared.changes());
    if result.is_err() {
        Usage::count(&usage.rollbacks);
    }
    if !group.is_open() {
        let _ = reply.send(result);
        return;
    }
    let usage = usage.clone();
    group.join(move |outcome| {
        if result.is_ok() {
            Usage::count(if outcome.is_ok() { &usage.commits } else { &usage.rollbacks });
        }
        let _ = reply.send(outcome.clone().and(result));
    });
}

impl Job {
    /// Takes the work and frees the queue slot. `None` if the owner gave up.
    fn claim(self) -> Option<Work> {
        self.claim.take().then_some(self.work)
    }

    /// Answers the owner with an error, if it still waits.
    fn refuse(self, error: StorageError) {
        match self.claim() {
            Some(Work::Execute(_, reply)) => drop(reply.send(Err(error))),
            Some(Work::Begin(reply)) => drop(reply.send(Err(error))),
            Some(Work::Migrate(_, running, reply)) => {
                drop(running);
                let _ = reply.send(Err(error.into()));
            }
            Some(Work::Check(reply)) => drop(reply.send(Err(error))),
            None => {}
        }
    }
}

/// Keeps the write-ahead log short.
struct Log<'c> {
    connection: &'c Connection,
    frame_bytes: u64,
    limit_bytes: u64,
    /// The size from which the writer tries again to wait for readers.
    truncate_at_bytes: u64,
    patience: Duration,
    usual_patience: Duration,
}

impl<'c> Log<'c> {
    fn new(connection: &'c Connection, blueprint: &Blueprint) -> Self {
        let read = || connection.raw.query_row("PRAGMA page_size", [], |row| row.get::<_, u32>(0));
        let page_bytes = connection.policy.as_host(read).unwrap_or(4096);
        let limit_bytes = blueprint.config.wal_bytes;
        Self {
            connection,
            frame_bytes: u64::from(page_bytes) + FRAME_HEADER_BYTES,
            limit_bytes,
            truncate_at_bytes: limit_bytes,
            // A reader ends within its statement's deadline. SQLite waits twice: first for readers of frames that are not yet
            // checkpointed, then for all readers of the log.
            patience: blueprint.config.statement_deadline * 2 + Duration::from_millis(500),
            usual_patience: LOCK_WAIT,
        }
    }

    /// Checkpoints the log after a commit if it is long enough.
    ///
    /// A failure is harmless, because the next commit tries again.
    fn shorten(&mut self) {
        let bytes = u64::from(self.connection.wal_frames()) * self.frame_bytes;
        if bytes < CHECKPOINT_BYTES {
            return;
        }
        let (frames, moved) = self.checkpoint_passively();
        if bytes < self.truncate_at_bytes || frames == moved && bytes < self.limit_bytes {
            return;
        }
        // Readers kept SQLite from restarting the log. Wait for the present readers. New ones do not prevent the restart.
        let waited = self
            .connection
            .raw
            .busy_timeout(self.patience)
            .and_then(|()| self.checkpoint(CheckpointMode::TRUNCATE))
            .and(self.connection.raw.busy_timeout(self.usual_patience));
        self.truncate_at_bytes = match waited {
            Ok(()) => self.limit_bytes,
            Err(error) => {
                tracing::warn!(target: crate::LOG_TARGET, %error, bytes, "cannot truncate the write-ahead log because a reader still uses it");
                bytes + self.limit_bytes / 4
            }
        };
    }

    /// Checkpoints the frames that no reader needs.
    ///
    /// Returns the length of the log and how much was checkpointed.
    fn checkpoint_passively(&self) -> (i32, i32) {
        self.checkpoint(CheckpointMode::PASSIVE).unwrap_or((0, 0))
    }

    fn checkpoint(&self, mode: CheckpointMode) -> rusqlite::Result<(i32, i32)> {
        self.connection.policy.as_host(|| self.connection.raw.wal_checkpoint_v2(Some("main"), mode))
    }
}
