//! The cost of a password hash.

/// The cost of a new hash.
/// Argon2id's memory and passes (RFC 9106, section 3.1), on one lane.
///
/// A higher cost makes guessing slower, and each login too. A hash of lower cost is replaced at the account's next login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkFactor {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// How many times Argon2id fills the memory.
    pub passes: u32,
}

impl WorkFactor {
    /// OWASP's minimum for Argon2id.
    pub const LEAST: WorkFactor = WorkFactor { memory_kib: 19 << 10, passes: 2 };

    /// The host does not compute a stored hash of higher cost.
    /// Otherwise, an attacker who can write a hash could make it compute for hours.
    pub const MOST: WorkFactor = WorkFactor { memory_kib: 256 << 10, passes: 10 };
}

impl Default for WorkFactor {
    fn default() -> Self {
        Self::LEAST
    }
}
