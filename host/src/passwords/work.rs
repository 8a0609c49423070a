//! What a hash costs.

/// What a new hash costs: Argon2id's memory and passes (RFC 9106 section 3.1), on one lane. More makes guessing dearer, and each
/// login too. A hash that costs less is replaced at its next login.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkFactor {
    /// KiB.
    pub memory_kib: u32,
    /// How many times the memory is gone through.
    pub passes: u32,
}

impl WorkFactor {
    /// OWASP's minimum for Argon2id.
    pub const LEAST: WorkFactor = WorkFactor { memory_kib: 19 << 10, passes: 2 };

    /// A stored hash that costs more is not computed, because whoever wrote it could make the host compute for hours.
    pub const MOST: WorkFactor = WorkFactor { memory_kib: 256 << 10, passes: 10 };
}

impl Default for WorkFactor {
    fn default() -> Self {
        Self::LEAST
    }
}
