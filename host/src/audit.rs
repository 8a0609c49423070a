//! What an auditor should find later: an append-only log of logins, tokens, refusals, and what administrators and the operator do.
//!
//! It is `audit.jsonl` in the data folder, mode 0600: a JSON object on each line, its event in OWASP's logging vocabulary. It holds
//! names, addresses and session ids, and no token and no password. A name that nobody has stands there as it was typed. What is
//! neither ASCII nor a letter or digit is escaped, so that a line stays one and tells a terminal nothing.
//!
//! # The chain
//!
//! The last member of a line is `hash`: the SHA-256 of the line before it, with its line feed, and of its own text up to that
//! member. Whoever changes, removes or adds a line in between changes each hash that follows, and [`verify()`] names the first
//! line that does not fit. The chain has no key, so whoever may write the file may write all of it anew, or leave out its end. Against
//! that helps a hash that lies elsewhere: the host logs that of the last line when it starts, and `verify` gives it.
//!
//! # The files
//!
//! A file that is full is put aside as `audit.1.jsonl`, `audit.2.jsonl` and so on, and `audit.jsonl` begins anew. Its first line
//! carries the number that it will have, as `file`, and the last hash of the file before it, as `after`, and the hashes of a file
//! begin with that line: so each file can be verified alone, `verify` goes through all of them and misses one that is gone, and no
//! number comes twice, wherever the files before are. A crash at any moment of the change leaves files that hold together. Nothing
//! is ever deleted or overwritten here: whoever keeps the oldest files elsewhere gives the last hash of theirs as the anchor.
//!
//! # What is durable when
//!
//! No client waits for this log. An event is queued before the answer to its request leaves, and one thread writes all that is
//! queued and syncs it at once, so a crash may take what happened in the last moments. What the operator orders is synced before
//! the operator is answered, and an orderly shutdown waits for everything. A line that a crash tore is cut off at the next start,
//! which says so in the host's own log.
//!
//! # What is not written
//!
//! Where the queue is full or the disk takes nothing, of refusals beyond ten of a kind a second, and of what a service tells or does
//! with tokens beyond six hundred of a kind a minute, the event is counted, and the next line says in `unwritten` how many are
//! missing before it. If there is none until an orderly shutdown, a last line says so. Nobody's request fails for it. All that
//! an administrator or the operator does is written. A request without a token is no offence, and no event.
//!
//! A host that goes back to a backup keeps its log: it is in none.

mod allowance;
mod chain;
mod files;
mod line;
mod verify;

use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use storage::priority;
use tokio::sync::{mpsc, oneshot};

use crate::clock::Clock;

use allowance::Allowance;
use chain::Chain;
use line::Entry;
pub use verify::{Verified, verify};

/// The file that is written.
pub const FILE: &str = "audit.jsonl";

/// Events that may wait to be written.
const QUEUE: usize = 4096;

/// Events that are written and synced at once.
const BATCH: usize = 256;

/// Of each kind, how many refusals are written in one second: whoever is refused can ask again for nothing.
const REFUSALS_A_SECOND: u32 = 10;

/// Of each kind, how many events of a service are written in one minute: whoever is logged in can refresh without end. It is a minute
/// because logins come in bursts.
const TOLD_A_MINUTE: u32 = 600;

/// What happened, by its name in OWASP's logging vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Event {
    /// Somebody logged in.
    #[serde(rename = "authn_login_success")]
    LoginSuccess,
    /// A name and a password were not good.
    #[serde(rename = "authn_login_fail")]
    LoginFail,
    /// An account is refused for a while, or, where no name is told, the network of the client.
    #[serde(rename = "authn_login_lock")]
    LoginLock,
    /// An access token was issued.
    #[serde(rename = "authn_token_created")]
    TokenCreated,
    /// A session was ended, and all of its tokens with it.
    #[serde(rename = "authn_token_revoked")]
    TokenRevoked,
    /// A used token came back.
    #[serde(rename = "authn_token_reuse")]
    TokenReuse,
    /// Somebody has another password.
    #[serde(rename = "authn_password_change")]
    PasswordChange,
    /// Somebody was refused what they asked for.
    #[serde(rename = "authz_fail")]
    Refused,
    /// An administrator or the operator did what nobody else may.
    #[serde(rename = "authz_admin")]
    Administered,
    /// The host stopped.
    #[serde(rename = "sys_shutdown")]
    Stopped,
}

/// Kinds of events.
const EVENTS: usize = Event::Stopped as usize + 1;

/// The request that an event belongs to.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// As in the host's own log.
    pub request_id: Option<Arc<str>>,
    /// The client's address; none within the host.
    pub client: Option<IpAddr>,
}

/// One event, as far as it is known. Texts are cut where they are longer than a line may have them.
#[derive(Debug, Clone, Copy)]
pub struct Note<'a> {
    /// What happened.
    pub event: Event,
    /// Which service said so, or the host.
    pub by: &'a str,
    /// The request.
    pub source: &'a Source,
    /// Who did it or whom it was done to.
    pub subject: Option<&'a str>,
    /// The session.
    pub session: Option<&'a str>,
    /// Method and path.
    pub asked: Option<&'a str>,
    /// What came of it.
    pub result: Option<&'a str>,
}

impl<'a> Note<'a> {
    /// An event of which nothing more is known.
    pub fn new(event: Event, by: &'a str, source: &'a Source) -> Self {
        Self { event, by, source, subject: None, session: None, asked: None, result: None }
    }
}

/// How much was written since the host started, and how much was not.
#[derive(Debug, Default)]
pub struct Counts {
    /// Events that were written and synced.
    pub written: AtomicU64,
    /// Events that were not.
    pub unwritten: AtomicU64,
    /// Those of them that no line speaks of yet.
    owed: AtomicU64,
}

impl Counts {
    fn miss(&self, events: u64) {
        self.unwritten.fetch_add(events, Ordering::Relaxed);
        self.owed.fetch_add(events, Ordering::Relaxed);
    }
}

/// Why somebody was not let pass. Each kind has a bound of its own, so that none hides the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The token was not good.
    InvalidToken,
    /// It was, but not for this.
    Forbidden,
    /// The operator's token was not good.
    NotOperator,
    /// The service itself said so.
    ByService,
}

/// Kinds of refusals.
const REFUSALS: usize = Refused::ByService as usize + 1;

#[derive(Debug)]
enum Message {
    Entry(Box<Entry>),
    /// Answered when all that was queued before is synced, or lost.
    Flush(oneshot::Sender<()>),
}

/// The log. Dropping it ends its thread once all that is queued is written.
#[derive(Debug)]
pub struct Audit {
    queue: mpsc::Sender<Message>,
    clock: Clock,
    counts: Arc<Counts>,
    refusals: [Allowance; REFUSALS],
}

impl Audit {
    /// Opens the log in a data folder, making it where it is missing, and mends what a crash tore. A file that has so many bytes is
    /// full. Blocks on the disk.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(folder: &Path, clock: Clock, file_bytes: u64) -> io::Result<Arc<Self>> {
        let (chain, torn_bytes) = Chain::open(folder, file_bytes)?;
        let (audit, inbox) = Self::with_queue(QUEUE, clock);
        if torn_bytes > 0 {
            tracing::warn!(torn_bytes, "the end of the audit log was torn by a crash and is cut off");
            audit.counts.miss(1);
        }
        tracing::info!(hash = chain.last_hash(), "the audit log goes on after the line with this hash");
        let counts = audit.counts.clone();
        let writing = move || {
            // Nobody waits for a line.
            let _ = priority::lower(0);
            write_all(chain, inbox, &counts);
        };
        std::thread::Builder::new().name("audit".to_owned()).spawn(writing)?;
        Ok(Arc::new(audit))
    }

    fn with_queue(length: usize, clock: Clock) -> (Self, mpsc::Receiver<Message>) {
        let (queue, inbox) = mpsc::channel(length);
        let refusals = std::array::from_fn(|_| Allowance::new(REFUSALS_A_SECOND, 1));
        (Self { queue, clock, counts: Arc::default(), refusals }, inbox)
    }

    /// Queues an event, to be written soon. Never waits.
    pub fn tell(&self, note: &Note<'_>) {
        let entry = Entry::new(note, self.clock.since_epoch());
        if self.queue.try_send(Message::Entry(Box::new(entry))).is_err() {
            self.counts.miss(1);
        }
    }

    /// Queues that somebody was refused, unless too many were just now.
    pub fn refuse(&self, why: Refused, note: &Note<'_>) {
        self.tell_within(&self.refusals[why as usize], note);
    }

    fn tell_within(&self, allowance: &Allowance, note: &Note<'_>) {
        if allowance.take(self.clock.unix_seconds()) {
            self.tell(note);
        } else {
            self.counts.miss(1);
        }
    }

    /// Waits until all that was told before is on the disk, or is known to be lost.
    pub async fn flush(&self) {
        let (done, told) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            let _ = told.await;
        }
    }

    /// As [`Self::flush`], and if no line speaks of what is missing before, a last one does.
    pub async fn close(&self) {
        self.flush().await;
        if self.counts.owed.load(Ordering::Relaxed) > 0 {
            self.tell(&Note::new(Event::Stopped, "host", &Source::default()));
            self.flush().await;
        }
    }

    /// How much was written since the start, and how much was not.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }
}

/// A service that tells, for one request.
#[derive(Debug, Clone)]
pub struct Teller {
    audit: Arc<Audit>,
    service: Arc<str>,
    source: Source,
    /// Of each kind of event. The service's own, so that none hides what another tells.
    allowances: Arc<[Allowance; EVENTS]>,
}

impl Teller {
    /// A service, for no request.
    pub fn new(audit: Arc<Audit>, service: Arc<str>) -> Self {
        let allowances = std::array::from_fn(|_| Allowance::new(TOLD_A_MINUTE, 60));
        Self { audit, service, source: Source::default(), allowances: Arc::new(allowances) }
    }

    /// The same, for a request.
    #[must_use]
    pub fn about(&self, source: &Source) -> Self {
        Self { source: source.clone(), ..self.clone() }
    }

    /// Queues an event, unless there were too many of its kind just now. Never waits.
    pub fn tell(&self, event: Event, subject: Option<&str>, session: Option<&str>) {
        let note = Note { subject, session, ..Note::new(event, &self.service, &self.source) };
        self.audit.tell_within(&self.allowances[event as usize], &note);
    }

    /// Counts an event that is not to be written.
    pub fn miss(&self) {
        self.audit.counts.miss(1);
    }
}

/// The log's thread: writes until nobody can tell anything any more.
fn write_all(mut chain: Chain, mut inbox: mpsc::Receiver<Message>, counts: &Counts) {
    let (mut batch, mut failing) = (Vec::with_capacity(BATCH), false);
    while inbox.blocking_recv_many(&mut batch, BATCH) > 0 {
        failing = still_failing(failing, &write(&mut chain, &mut batch, counts));
    }
}

/// Whether the disk takes nothing, after this batch. A batch without an event does not show it. Says so when it changes.
fn still_failing(failing: bool, written: &io::Result<u64>) -> bool {
    match written {
        Err(error) if !failing => {
            tracing::error!(%error, "the audit log takes nothing: make room on the disk of the data folder");
            true
        }
        Ok(1..) if failing => {
            tracing::info!("the audit log takes lines again, the first of which says how many are missing");
            false
        }
        _ => failing,
    }
}

/// Writes and syncs a batch, or counts it as lost, and answers those who wait for that. Gives how many events were written.
fn write(chain: &mut Chain, batch: &mut Vec<Message>, counts: &Counts) -> io::Result<u64> {
    let (mut entries, mut waiting) = (Vec::with_capacity(batch.len()), Vec::new());
    for message in batch.drain(..) {
        match message {
            Message::Entry(entry) => entries.push(entry),
            Message::Flush(done) => waiting.push(done),
        }
    }
    let events = entries.len() as u64;
    let owed = if events > 0 { counts.owed.swap(0, Ordering::Relaxed) } else { 0 };
    if let Some(first) = entries.first_mut() {
        first.unwritten = owed;
    }
    let written = chain.append(entries.iter().map(|entry| entry.to_text()));
    match &written {
        Ok(()) => {
            counts.written.fetch_add(events, Ordering::Relaxed);
        }
        Err(_) => {
            counts.owed.fetch_add(owed, Ordering::Relaxed);
            counts.miss(events);
        }
    }
    for done in waiting {
        let _ = done.send(());
    }
    written.map(|()| events)
}

#[cfg(test)]
mod tests;
