//! The caller's side of the writer: a bounded queue, and one thread.

mod group;
mod thread;
mod transaction;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use self::transaction::SqliteTransaction;
use crate::migrating::{Migrating, Running};
use crate::migration::check_numbering;
use crate::sqlite_connection::Blueprint;
use crate::{Migration, MigrationError, Statement, StorageError, Usage, Waits};

/// The writing side of a database.
pub(super) struct Writer {
    blueprint: Arc<Blueprint>,
    usage: Arc<Usage>,
    queue: Mutex<Option<Sender<Job>>>,
    waiting: Arc<AtomicUsize>,
    migrating: Arc<Migrating>,
}

/// A job for the writer.
struct Job {
    work: Work,
    claim: Arc<Claim>,
    _slot: QueueSlot,
}

/// The kind of job, with the channel for its answer.
enum Work {
    Execute(Statement, oneshot::Sender<Result<u64, StorageError>>),
    Begin(oneshot::Sender<Result<SqliteTransaction, StorageError>>),
    Migrate(Vec<Migration>, Running, oneshot::Sender<Result<Vec<u32>, MigrationError>>),
    Check(oneshot::Sender<Result<(), StorageError>>),
}

/// Decides whether the writer runs a job or its owner gave up first.
///
/// The first `take` wins.
#[derive(Default)]
struct Claim(AtomicBool);

/// A slot in the queue. Dropping it frees the slot, when the writer takes the job.
struct QueueSlot(Arc<AtomicUsize>);

impl Writer {
    /// Makes a writer. Its thread starts with the first job.
    pub(super) fn new(blueprint: Arc<Blueprint>, usage: Arc<Usage>) -> Self {
        let config = &blueprint.config;
        let migrating = Migrating::new(config.waiting_for_migrations, config.migration_wait);
        Self { blueprint, usage, queue: Mutex::default(), waiting: Arc::default(), migrating }
    }

    /// Runs one statement in its own transaction.
    pub(super) async fn execute(&self, statement: Statement) -> Result<u64, StorageError> {
        self.migrating.count_write();
        self.submit(|reply| Work::Execute(statement, reply), true).await.ok_or(StorageError::Busy)?
    }

    /// Begins a transaction.
    pub(super) async fn begin(&self) -> Result<SqliteTransaction, StorageError> {
        self.migrating.count_write();
        self.submit(Work::Begin, true).await.ok_or(StorageError::Busy)?
    }

    /// Runs the pending migrations of a list.
    pub(super) async fn migrate(&self, migrations: Vec<Migration>) -> Result<Vec<u32>, MigrationError> {
        check_numbering(&migrations)?;
        let running = self.migrating.begin();
        self.submit(|reply| Work::Migrate(migrations, running, reply), false).await.ok_or(StorageError::Busy)?
    }

    /// The writes that waited for the last run of migrations.
    pub(super) fn migration_waits(&self) -> Waits {
        self.migrating.waits()
    }

    /// Checks with a write that changes nothing. A busy writer passes.
    pub(super) async fn check(&self) -> Result<(), StorageError> {
        match self.submit(Work::Check, false).await {
            None | Some(Err(StorageError::Busy)) => Ok(()),
            Some(checked) => checked,
        }
    }

    /// Queues a job and waits for its answer.
    ///
    /// A job that `waits_for_migrations` also waits until running migrations end. Returns `None` if the job never ran, because
    /// the queue was full or the wait too long.
    async fn submit<T, E: From<StorageError>>(
        &self,
        work: impl FnOnce(oneshot::Sender<Result<T, E>>) -> Work,
        waits_for_migrations: bool,
    ) -> Option<Result<T, E>> {
        let Some(slot) = QueueSlot::take(&self.waiting, self.blueprint.config.waiting_writes) else {
            Usage::count(&self.usage.refusals);
            return None;
        };
        let (reply, mut answer) = oneshot::channel();
        let claim = Arc::new(Claim::default());
        self.send(Job { work: work(reply), claim: claim.clone(), _slot: slot });
        let began = Instant::now();
        let mut from = began;
        let answered = loop {
            if let Ok(answered) = timeout_at(from + self.blueprint.config.longest_wait, &mut answer).await {
                break answered;
            }
            if waits_for_migrations {
                tokio::select! {
                    biased;
                    answered = &mut answer => break answered,
                    ended = self.migrating.wait_for_end(began, from) => if let Some(ended) = ended {
                        from = ended;
                        continue;
                    }
                }
            }
            if claim.take() {
                Usage::count(&self.usage.refusals);
                return None;
            }
            // The job is running, and its run time is limited.
            break answer.await;
        };
        Some(
            answered
                .unwrap_or_else(|_| Err(StorageError::Unavailable("the storage writer thread stopped".into()).into())),
        )
    }

    fn send(&self, mut job: Job) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = queue.as_ref() {
            match running.send(job) {
                Ok(()) => return,
                // The thread panicked, which also closed its connection.
                Err(mpsc::SendError(returned)) => job = returned,
            }
        }
        let (sender, receiver) = mpsc::channel();
        let (blueprint, usage) = (self.blueprint.clone(), self.usage.clone());
        let thread = std::thread::Builder::new().name("storage-writer".into());
        match thread.spawn(move || thread::run(&receiver, &blueprint, &usage)) {
            // The dropped job tells its owner that there is no writer.
            Err(error) => {
                tracing::error!(target: crate::LOG_TARGET, %error, "cannot start the storage writer thread, so this write fails");
            }
            Ok(_) => {
                let _ = sender.send(job);
                *queue = Some(sender);
            }
        }
    }
}

impl Claim {
    /// Claims the job. Only the first call returns true.
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

impl QueueSlot {
    fn take(taken: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        // Counts before the comparison, so that two callers cannot both get the last slot.
        let slot = Self(taken.clone());
        (taken.fetch_add(1, Ordering::Relaxed) < limit).then_some(slot)
    }
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
