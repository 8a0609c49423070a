//! Password hashing: Argon2id (RFC 9106) for new passwords, and werkzeug's formats for those taken over.
//!
//! Knows nothing of wasm, HTTP or users. What holds:
//!
//! - **Bounded.** At most [`Limits::at_once`] computations run, each on a thread at low priority, so that a
//!   storm of logins takes processor time and memory from no other request. [`Limits::waiting`] more wait for at most
//!   [`Limits::queue_time`]; the rest hear [`PasswordError::Busy`] at once.
//! - **A hash from the database is hostile.** One that asks for more than the caps in `stored` is not computed.
//! - **A failure does not say why.** Unknown name, wrong password, old format, unreadable hash: all do the same work,
//!   and the answer leaves at a multiple of the same `floor`. Without that, a database with hashes of several kinds
//!   tells by time who has an account (CVE-2016-2513). A success is not held up: it says enough by itself.
//! - Passwords are cleared from memory after use and appear in no log and no `Debug` output.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

mod floor;
mod queue;
mod stored;
mod work;

#[cfg(test)]
mod tests;

pub use queue::Meter;
use queue::Queue;
use stored::Stored;
pub use work::WorkFactor;

/// The longest password in bytes. Longer ones are refused, never cut.
pub const PASSWORD_LIMIT_BYTES: usize = 4096;

/// How many characters a new password must have unless the operator wants more.
pub const MINIMUM_CHARACTERS: u32 = 8;

/// Hashes and checks passwords. Share it behind an `Arc`.
#[derive(Debug)]
pub struct Passwords {
    queue: Queue,
    work: WorkFactor,
    minimum_characters: u32,
    /// Whether a hash was ever met that does not cost what a new one does, so that failures must be levelled.
    costs_differ: Arc<AtomicBool>,
}

/// How much may be computed at once, and how long the rest waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Computations at once, each with the memory of a new hash, which is kept for the next one (an old scrypt hash: 32 MiB).
    /// Default: one a core, at most 4.
    pub at_once: usize,
    /// How many may wait for one of those to end. Default 64.
    pub waiting: usize,
    /// How long each may wait. Default 5 s.
    pub queue_time: Duration,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The password is the one that was hashed.
    pub matches: bool,
    /// It matches, but the hash is of an older kind or weaker cost: replace it now that the password is known.
    pub outdated: bool,
}

/// Why nothing was computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too many wait already, or the wait was over.
    #[error("too many passwords are being checked, try again in {retry_after_seconds} s")]
    Busy {
        /// Seconds after which trying again makes sense, at least 1.
        retry_after_seconds: u32,
    },
    /// The password is longer than [`PASSWORD_LIMIT_BYTES`].
    #[error("the password is longer than {PASSWORD_LIMIT_BYTES} bytes")]
    TooLong,
    /// The host cannot compute: no thread, memory or randomness. The cause is for the log.
    #[error("cannot hash passwords: {0}")]
    Failed(String),
}

impl Default for Limits {
    fn default() -> Limits {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Limits { at_once: cores.min(4), waiting: 64, queue_time: Duration::from_secs(5) }
    }
}

impl Passwords {
    /// Starts nothing: threads come with the work. An `at_once` of zero counts as one.
    pub fn new(limits: Limits) -> Passwords {
        Passwords {
            queue: Queue::new(limits),
            work: WorkFactor::default(),
            minimum_characters: MINIMUM_CHARACTERS,
            costs_differ: Arc::default(),
        }
    }

    /// The same, with new hashes of another cost.
    #[must_use]
    pub fn costing(self, work: WorkFactor) -> Passwords {
        Passwords { work, ..self }
    }

    /// The same, asking for so many characters.
    #[must_use]
    pub fn asking(self, minimum_characters: u32) -> Passwords {
        Passwords { minimum_characters, ..self }
    }

    /// How many characters a new password must have: for those who make logins, as a hash is computed of any.
    pub fn minimum_characters(&self) -> u32 {
        self.minimum_characters
    }

    /// Queue depth and counters, for metrics.
    pub fn meter(&self) -> &Arc<Meter> {
        self.queue.meter()
    }

    /// Argon2id as a PHC string, with a fresh 16-byte salt, of the cost that new hashes have.
    ///
    /// Must be called within a Tokio runtime with its timer on.
    ///
    /// # Errors
    ///
    /// [`PasswordError::TooLong`] before anything else, [`PasswordError::Busy`] when the queue is full.
    pub async fn hash(&self, password: String) -> Result<String, PasswordError> {
        let password = Password::new(password)?;
        let work = self.work;
        self.queue.run(move || stored::hash(password.bytes(), work)).await?.output.map_err(PasswordError::Failed)
    }

    /// Checks a password against an Argon2id PHC string or one of werkzeug's.
    ///
    /// Without a hash (an unknown name), and with an unreadable one, it does the work of a current hash and does not
    /// match. Every answer that does not match takes a multiple of the same time, some 150 to 300 ms as shipped, from the moment
    /// its computation may start; it waits without a slot. Must be called within a Tokio runtime with its timer on.
    ///
    /// # Errors
    ///
    /// As [`Passwords::hash`]; they do not depend on the hash.
    pub async fn verify(&self, password: String, hash: Option<String>) -> Result<Verdict, PasswordError> {
        let password = Password::new(password)?;
        let cost = floor::measured(self.work);
        let check = {
            let (cost, costs_differ, work) = (cost.clone(), Arc::clone(&self.costs_differ), self.work);
            move || {
                let stored = Stored::read(hash.as_deref());
                costs_differ.fetch_or(!stored.costs_as_new(work), Ordering::Relaxed);
                let began = floor::processor_time();
                let verdict = stored.check(password.bytes(), work);
                if !verdict.matches && costs_differ.load(Ordering::Relaxed) {
                    floor::level(&cost, began);
                }
                verdict
            }
        };
        let done = self.queue.run(check).await?;
        if !done.output.matches {
            floor::pad(cost, done.started).await;
        }
        Ok(done.output)
    }
}

/// A password on its way to a hash: within its limit, cleared on drop, never shown.
struct Password(Vec<u8>);

impl Password {
    fn new(password: String) -> Result<Password, PasswordError> {
        let password = Password(password.into_bytes());
        if password.0.len() > PASSWORD_LIMIT_BYTES { Err(PasswordError::TooLong) } else { Ok(password) }
    }

    fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        self.0.fill(0);
        // Whoever might look at the bytes keeps the compiler from leaving the clearing out.
        std::hint::black_box(&self.0);
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password")
    }
}
