//! What can fail when passwords are hashed and verified.

/// The longest password in bytes. Longer ones are refused, never cut.
pub const PASSWORD_LIMIT_BYTES: usize = 4096;

/// The host did not hash or verify a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// The queue is full, or the caller waited too long.
    #[error("the host is hashing too many passwords: try again in {retry_after_seconds} s")]
    Busy {
        /// Seconds until a retry makes sense, at least 1.
        retry_after_seconds: u32,
    },
    /// The password is longer than [`PASSWORD_LIMIT_BYTES`].
    #[error("the password is longer than {PASSWORD_LIMIT_BYTES} bytes")]
    TooLong,
    /// The host has no thread, memory or random bytes for it.
    /// Log the cause; do not show it to the caller.
    #[error("the host cannot hash passwords: {0}")]
    Failed(String),
}
