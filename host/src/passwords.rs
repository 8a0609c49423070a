//! Password hashing: Argon2id (RFC 9106), and werkzeug's older formats.
//!
//! New passwords are hashed with Argon2id. The original shop hashed passwords with werkzeug.
//!
//! This module knows no wasm, HTTP or users.
//!
//! # Invariants
//!
//! - **The work is bounded.** At most [`Limits::at_once`] computations run, on threads of low priority. So many logins at once
//!   do not slow down other requests. [`Limits::waiting`] more callers wait for at most [`Limits::queue_time`]. All others get
//!   [`PasswordError::Busy`] at once.
//! - **A hash from the database is hostile.** `stored` refuses to compute a hash whose cost exceeds a cap.
//! - **A failure does not tell its reason.** An unknown name, a wrong password, an old format and an unreadable hash all take the
//!   same work. The answer takes a multiple of the same time (`floor`). Otherwise an attacker could measure which accounts exist
//!   if the database has hashes of several kinds (CVE-2016-2513). A success is not delayed, because it tells this anyway.
//! - Passwords are cleared from memory after use. No log and no `Debug` output contains one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

mod error;
mod floor;
mod queue;
mod stored;
mod work;

#[cfg(test)]
mod tests;

pub use error::{PASSWORD_LIMIT_BYTES, PasswordError};
use queue::Queue;
pub use queue::{Limits, Meter};
use stored::Stored;
pub use stored::Verdict;
pub use work::WorkFactor;

/// The minimum length of new passwords, unless the operator sets another.
pub const MINIMUM_CHARACTERS: u32 = 8;

/// Hashes and verifies passwords. Share it behind an `Arc`.
#[derive(Debug)]
pub struct Passwords {
    queue: Queue,
    work: WorkFactor,
    minimum_characters: u32,
    /// Whether the host has seen a hash that costs more or less than a new one.
    /// Once it has, every failure takes the same work.
    costs_differ: Arc<AtomicBool>,
}

impl Passwords {
    /// Starts no threads: they start with the first computations.
    /// An `at_once` of zero counts as one.
    pub fn new(limits: Limits) -> Passwords {
        Passwords {
            queue: Queue::new(limits),
            work: WorkFactor::default(),
            minimum_characters: MINIMUM_CHARACTERS,
            costs_differ: Arc::default(),
        }
    }

    /// Sets the cost of new hashes.
    #[must_use]
    pub fn with_work_factor(self, work: WorkFactor) -> Passwords {
        Passwords { work, ..self }
    }

    /// Sets the minimum length of new passwords.
    #[must_use]
    pub fn with_minimum_characters(self, minimum_characters: u32) -> Passwords {
        Passwords { minimum_characters, ..self }
    }

    /// How many characters a new password must have.
    /// Callers must check this; [`Passwords::hash`] does not.
    pub fn minimum_characters(&self) -> u32 {
        self.minimum_characters
    }

    /// The queue's state and counters, for metrics.
    pub fn meter(&self) -> &Arc<Meter> {
        self.queue.meter()
    }

    /// Hashes a password with Argon2id and a fresh salt of 16 bytes.
    /// Returns a PHC string.
    ///
    /// Call this within a Tokio runtime that has a timer.
    ///
    /// # Errors
    ///
    /// [`PasswordError::TooLong`] before any other error, [`PasswordError::Busy`] if the queue is full.
    pub async fn hash(&self, password: String) -> Result<String, PasswordError> {
        let password = Password::new(password)?;
        let work = self.work;
        self.queue.run(move || stored::hash(password.bytes(), work)).await?.output.map_err(PasswordError::Failed)
    }

    /// Verifies a password against an Argon2id PHC string or a hash of werkzeug.
    ///
    /// Pass no hash for an unknown name. Then, and for an unreadable hash, the password does not match, after the work of a
    /// current hash. Every mismatch takes a multiple of the same time, 150 to 300 ms by default, counted from the start of the
    /// computation. It waits for the end of that time without a slot. Call this within a Tokio runtime that has a timer.
    ///
    /// # Errors
    ///
    /// As [`Passwords::hash`]. The errors do not depend on the hash.
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

/// A password within its length limit.
/// It cannot be printed, and its memory is cleared when it is dropped.
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
        // The black box might read the bytes, so the compiler cannot remove the clearing.
        std::hint::black_box(&self.0);
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Password")
    }
}
