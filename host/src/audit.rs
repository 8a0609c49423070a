//! The audit log: logins, tokens, refusals, and what administrators do.
//!
//! The log is `audit.jsonl` in the data folder, mode 0600. Each line is a JSON object, and its event has a name from OWASP's
//! logging vocabulary. The log contains names, addresses and session ids, but no tokens and no passwords. If somebody logs in
//! with an unknown name, the log contains that name as typed. Control characters, and all others that are neither ASCII nor
//! letters or digits, are escaped. So a name cannot start a new line or send control sequences to a terminal.
//!
//! # The chain
//!
//! The last member of a line is `hash`. It is the SHA-256 of the previous line with its line feed, and of this line's text
//! up to that member. If somebody changes, removes or inserts a line, every later hash is wrong, and [`verify()`] names the
//! first wrong line. The chain has no key. So an attacker who can write the file can also rewrite all of it, or cut off
//! its end. To detect that, compare with a hash that is kept elsewhere. The host logs the hash of the last line when it
//! starts, and `verify` prints it.
//!
//! # The files
//!
//! The host renames a full file to `audit.1.jsonl`, `audit.2.jsonl` and so on, and begins a new `audit.jsonl`. The first
//! line of that file has two more members. `file` is the number that the file will get, and `after` is the last hash of the
//! previous file. The chain of a file begins with its first line. So each file can be verified alone, and `verify` reads
//! all of them in order and reports a missing one. No number is used twice, even if older files were moved away. A crash
//! during the change leaves files that `verify` accepts. The host never deletes or overwrites a file. If the oldest files
//! are kept elsewhere, pass the last hash of theirs as the anchor.
//!
//! # Durability
//!
//! No client waits for this log. The host queues an event before it sends the response. One thread writes all queued events
//! and syncs them at once, so a crash can lose the last moments. Two things wait: the answer to an operator's request waits
//! until its event is synced, and an orderly shutdown waits for all events. After a crash the next start cuts off a torn
//! line and reports that in the host's own log.
//!
//! # Limits
//!
//! Some events are only counted, and the next line has their number as `unwritten`:
//!
//! - events that do not fit into the queue, or that the disk does not take;
//! - more than 10 refusals of one kind per second;
//! - more than 600 events of one kind per minute that a service reports or causes with tokens.
//!
//! If no line follows before an orderly shutdown, the host writes a last one. No request fails because of this. All
//! actions of administrators and of the operator are written. A request without a token is not an event.
//!
//! Backups do not contain this log. So a host that is restored from a backup keeps its log.

mod chain;
mod event;
mod files;
mod line;
mod rate_limit;
mod verify;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use storage::priority;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;

use chain::Chain;
use event::{EVENTS, REFUSALS};
pub use event::{Event, Note, Refused, Source};
pub use files::{FILE, latest};
use line::AuditEntry;
use rate_limit::RateLimit;
pub use verify::{Verified, verify};

/// How many events may wait to be written.
const QUEUE: usize = 4096;

/// How many events are written and synced together.
const BATCH: usize = 256;

/// How many refusals of each kind are written per second.
/// A refused client can repeat its request at no cost.
const REFUSALS_PER_SECOND: u32 = 10;

/// How many events of each kind are written per minute for a service.
///
/// Without a limit, a logged-in user could fill the log by refreshing. The window is a minute, because logins come in bursts.
const SERVICE_EVENTS_PER_MINUTE: u32 = 600;

/// How many events were written since the host started, and how many were not.
#[derive(Debug, Default)]
pub struct Counts {
    /// Events that were written and synced.
    pub written: AtomicU64,
    /// Events that were only counted.
    pub unwritten: AtomicU64,
    /// Unwritten events that no line reports yet.
    unreported: AtomicU64,
}

impl Counts {
    fn miss(&self, events: u64) {
        self.unwritten.fetch_add(events, Ordering::Relaxed);
        self.unreported.fetch_add(events, Ordering::Relaxed);
    }
}

#[derive(Debug)]
enum Message {
    Entry(Box<AuditEntry>),
    /// Answered when all earlier messages are synced or lost.
    Flush(oneshot::Sender<()>),
}

/// The audit log.
/// After it is dropped, its thread writes the queued events and ends.
#[derive(Debug)]
pub struct Audit {
    queue: mpsc::Sender<Message>,
    clock: Clock,
    counts: Arc<Counts>,
    refusal_limits: [RateLimit; REFUSALS],
}

impl Audit {
    /// Opens the log in a data folder.
    /// Creates a missing log, and cuts off a line that a crash tore.
    ///
    /// A file is full when it has `file_bytes` bytes. Blocks on the disk.
    ///
    /// # Errors
    /// The system's error.
    pub fn open(folder: &Path, clock: Clock, file_bytes: u64) -> io::Result<Arc<Self>> {
        let (chain, torn_bytes) = Chain::open(folder, file_bytes)?;
        let (audit, inbox) = Self::with_queue(QUEUE, clock);
        if torn_bytes > 0 {
            tracing::warn!(torn_bytes, "audit log: cut off the last line, which a crash left incomplete");
            audit.counts.miss(1);
        }
        tracing::info!(hash = chain.last_hash(), "audit log: opened; this is the hash of its last line");
        let counts = audit.counts.clone();
        let writing = move || {
            // No request waits for this thread.
            let _ = priority::lower(0);
            write_all(chain, inbox, &counts);
        };
        std::thread::Builder::new().name("audit".to_owned()).spawn(writing)?;
        Ok(Arc::new(audit))
    }

    fn with_queue(length: usize, clock: Clock) -> (Self, mpsc::Receiver<Message>) {
        let (queue, inbox) = mpsc::channel(length);
        let refusal_limits = std::array::from_fn(|_| RateLimit::new(REFUSALS_PER_SECOND, 1));
        (Self { queue, clock, counts: Arc::default(), refusal_limits }, inbox)
    }

    /// Queues an event.
    /// Never waits: if the queue is full, counts the event as unwritten.
    pub fn tell(&self, note: &Note<'_>) {
        let entry = AuditEntry::new(note, self.clock.since_epoch());
        if self.queue.try_send(Message::Entry(Box::new(entry))).is_err() {
            self.counts.miss(1);
        }
    }

    /// Queues a refusal, unless the rate limit of its kind is reached.
    pub fn refuse(&self, why: Refused, note: &Note<'_>) {
        self.tell_within(&self.refusal_limits[why as usize], note);
    }

    fn tell_within(&self, limit: &RateLimit, note: &Note<'_>) {
        if limit.take(self.clock.unix_seconds()) {
            self.tell(note);
        } else {
            self.counts.miss(1);
        }
    }

    /// Waits until all earlier events are on the disk or lost.
    pub async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }

    /// As [`Self::flush`].
    /// If unwritten events remain unreported, also writes a last line that reports them.
    pub async fn close(&self) {
        self.flush().await;
        if self.counts.unreported.load(Ordering::Relaxed) > 0 {
            self.tell(&Note::new(Event::Stopped, "host", &Source::default()));
            self.flush().await;
        }
    }

    /// How many events were written since the start, and how many were not.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// The audit log as one service uses it for one request.
#[derive(Debug, Clone)]
pub struct ServiceAudit {
    audit: Arc<Audit>,
    service: Arc<str>,
    source: Source,
    /// One limit for each kind of event.
    /// Each service has its own, so no service hides the events of another.
    limits: Arc<[RateLimit; EVENTS]>,
}

impl ServiceAudit {
    /// For a service, without a request.
    pub fn new(audit: Arc<Audit>, service: Arc<str>) -> Self {
        let limits = std::array::from_fn(|_| RateLimit::new(SERVICE_EVENTS_PER_MINUTE, 60));
        Self { audit, service, source: Source::default(), limits: Arc::new(limits) }
    }

    /// The same service, for a request.
    #[must_use]
    pub fn for_request(&self, source: &Source) -> Self {
        Self { source: source.clone(), ..self.clone() }
    }

    /// Queues an event, unless the rate limit of its kind is reached. Never waits.
    pub fn tell(&self, event: Event, subject: Option<&str>, session: Option<&str>) {
        let note = Note { subject, session, ..Note::new(event, &self.service, &self.source) };
        self.audit.tell_within(&self.limits[event as usize], &note);
    }

    /// Queues that the host refused something to the service, within the same limits.
    pub fn refuse(&self, asked: &str) {
        let event = Event::Refused;
        let note = Note { asked: Some(asked), ..Note::new(event, &self.service, &self.source) };
        self.audit.tell_within(&self.limits[event as usize], &note);
    }

    /// Counts an event as unwritten.
    pub fn miss(&self) {
        self.audit.counts.miss(1);
    }
}

/// The log's thread. Writes events until the log and all of its users are dropped.
fn write_all(mut chain: Chain, mut inbox: mpsc::Receiver<Message>, counts: &Counts) {
    let (mut batch, mut failing) = (Vec::with_capacity(BATCH), false);
    while inbox.blocking_recv_many(&mut batch, BATCH) > 0 {
        failing = still_failing(failing, &write(&mut chain, &mut batch, counts));
    }
}

/// Whether writing fails after this batch. Logs when that changes.
/// A batch without events changes nothing.
fn still_failing(failing: bool, written: &io::Result<u64>) -> bool {
    match written {
        Err(error) if !failing => {
            tracing::error!(%error, "audit log: cannot write events, and only counts them; check the disk of the data folder");
            true
        }
        Ok(1..) if failing => {
            tracing::info!("audit log: writes events again; the first new line tells how many are missing");
            false
        }
        _ => failing,
    }
}

/// Writes and syncs a batch, and returns the number of its events.
/// If that fails, counts them as unwritten.
///
/// Then answers the callers that wait for a flush.
fn write(chain: &mut Chain, batch: &mut Vec<Message>, counts: &Counts) -> io::Result<u64> {
    let (mut entries, mut flushes) = (Vec::with_capacity(batch.len()), Vec::new());
    for message in batch.drain(..) {
        match message {
            Message::Entry(entry) => entries.push(entry),
            Message::Flush(done) => flushes.push(done),
        }
    }
    let events = entries.len() as u64;
    let unreported = if events > 0 { counts.unreported.swap(0, Ordering::Relaxed) } else { 0 };
    if let Some(first) = entries.first_mut() {
        first.unwritten = unreported;
    }
    let written = chain.append(entries.iter().map(|entry| entry.to_text()));
    match &written {
        Ok(()) => {
            counts.written.fetch_add(events, Ordering::Relaxed);
        }
        Err(_) => {
            counts.unreported.fetch_add(unreported, Ordering::Relaxed);
            counts.miss(events);
        }
    }
    for done in flushes {
        let _ = done.send(());
    }
    written.map(|()| events)
}

#[cfg(test)]
mod tests;
