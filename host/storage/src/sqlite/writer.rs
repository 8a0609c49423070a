//! The caller's side of the writer: a bounded queue, and one thread that starts with the first job.

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

/// Something for the writer to do.
struct Job {
    work: Work,
    claim: Arc<Claim>,
    _slot: QueueSlot,
}

/// What there is to do, and where the answer goes.
enum Work {
    Execute(Statement, oneshot::Sender<Result<u64, StorageError>>),
    Begin(oneshot::Sender<Result<SqliteTransaction, StorageError>>),
    Migrate(Vec<Migration>, Running, oneshot::Sender<Result<Vec<u32>, MigrationError>>),
    Check(oneshot::Sender<Result<(), StorageError>>),
}

/// Settles between an owner that has waited enough and the writer that gets to the job: whoever takes it first has it.
#[derive(Default)]
struct Claim(AtomicBool);

/// A place in the queue, free again when the writer has taken the job out.
struct QueueSlot(Arc<AtomicUsize>);

impl Writer {
    /// A writer that has not started.
    pub(super) fn new(blueprint: Arc<Blueprint>, usage: Arc<Usage>) -> Self {
        let config = &blueprint.config;
        let migrating = Migrating::new(config.waiting_for_migrations, config.migration_wait);
        Self { blueprint, usage, queue: Mutex::default(), waiting: Arc::default(), migrating }
    }

    /// Runs one statement as a transaction of its own.
    pub(super) async fn execute(&self, statement: Statement) -> Result<u64, StorageError> {
        self.migrating.note_write();
        self.submit(|reply| Work::Execute(statement, reply), true).await.ok_or(StorageError::Busy)?
    }

    /// Takes the writer for a transaction.
    pub(super) async fn begin(&self) -> Result<SqliteTransaction, StorageError> {
        self.migrating.note_write();
        self.submit(Work::Begin, true).await.ok_or(StorageError::Busy)?
    }

    /// Brings the schema up to the end of a list.
    pub(super) async fn migrate(&self, migrations: Vec<Migration>) -> Result<Vec<u32>, MigrationError> {
        check_numbering(&migrations)?;
        let running = self.migrating.begin();
        self.submit(|reply| Work::Migrate(migrations, running, reply), false).await.ok_or(StorageError::Busy)?
    }

    /// Who waited for the last run of migrations.
    pub(super) fn migration_waits(&self) -> Waits {
        self.migrating.waits()
    }

    /// Tries a write that changes nothing. A writer that is busy writes.
    pub(super) async fn check(&self) -> Result<(), StorageError> {
        match self.submit(Work::Check, false).await {
            None | Some(Err(StorageError::Busy)) => Ok(()),
            Some(checked) => checked,
        }
    }

    /// Queues a job and waits for its answer, and for migrations to end if it is waits_for_migrations. None if it never ran, because too many
    /// wait or it waited too long.
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
                    ended = self.migrating.outlast(began, from) => if let Some(ended) = ended {
                        from = ended;
                        continue;
                    }
                }
            }
            if claim.take() {
                Usage::count(&self.usage.refusals);
                return None;
            }
            // It runs, and what runs is bounded.
            break answer.await;
        };
        Some(answered.unwrap_or_else(|_| Err(StorageError::Unavailable("the writer stopped".into()).into())))
    }

    fn send(&self, mut job: Job) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = queue.as_ref() {
            match running.send(job) {
                Ok(()) => return,
                // The thread is gone: it panicked, and its connection went with it.
                Err(mpsc::SendError(returned)) => job = returned,
            }
        }
        let (sender, receiver) = mpsc::channel();
        let (blueprint, usage) = (self.blueprint.clone(), self.usage.clone());
        let thread = std::thread::Builder::new().name("storage-writer".into());
        match thread.spawn(move || thread::run(&receiver, &blueprint, &usage)) {
            // Whoever waits learns from the dropped job that there is no writer.
            Err(error) => tracing::error!(%error, "the system gives no thread to the writer"),
            Ok(_) => {
                let _ = sender.send(job);
                *queue = Some(sender);
            }
        }
    }
}

impl Claim {
    /// Whether the job is the caller's to decide. True once.
    fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }
}

impl QueueSlot {
    fn take(taken: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        // Counted before it is compared, so that two callers cannot share the last place.
        let slot = Self(taken.clone());
        (taken.fetch_add(1, Ordering::Relaxed) < limit).then_some(slot)
    }
}

impl Drop for QueueSlot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
