//! The `[passwords]` table of the manifest.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer};

use super::limits::{duration, size};
use crate::passwords::{self, MINIMUM_CHARACTERS, WorkFactor};

/// The range of `minimum`.
///
/// ASVS allows 8 characters at its first level. NIST SP 800-63B requires that at least 64 are accepted.
const MINIMA: std::ops::RangeInclusive<u32> = MINIMUM_CHARACTERS..=64;

/// The rules for new passwords. Existing passwords stay valid.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordRules {
    /// The minimum length in characters. Default: 8.
    /// NIST SP 800-63B-4 requires 15 if the password is the only factor of a login.
    #[serde(deserialize_with = "minimum")]
    pub minimum: u32,
    /// The memory of one check. Default: 19 MiB. At most 256 MiB.
    /// The host computes one check per core at the same time, but at most four.
    #[serde(deserialize_with = "memory")]
    pub memory: ByteSize,
    /// How many times a check fills its memory. Default: 2. At most 10.
    #[serde(deserialize_with = "passes")]
    pub passes: u32,
    /// How long a check may wait for others before its caller is refused. Default: 5 s.
    #[serde(deserialize_with = "duration")]
    pub queue_time: Duration,
}

impl PasswordRules {
    /// The cost of a new hash.
    pub fn work(self) -> WorkFactor {
        WorkFactor { memory_kib: (self.memory.as_u64() >> 10).try_into().unwrap_or(u32::MAX), passes: self.passes }
    }

    /// The limits of the password queue.
    pub fn limits(self) -> passwords::Limits {
        passwords::Limits { queue_time: self.queue_time, ..passwords::Limits::default() }
    }
}

impl Default for PasswordRules {
    fn default() -> Self {
        let WorkFactor { memory_kib, passes } = WorkFactor::default();
        let passwords::Limits { queue_time, .. } = passwords::Limits::default();
        Self { minimum: MINIMUM_CHARACTERS, memory: ByteSize::kib(memory_kib.into()), passes, queue_time }
    }
}

fn minimum<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    match u32::deserialize(deserializer)? {
        minimum if MINIMA.contains(&minimum) => Ok(minimum),
        minimum => {
            let (least, most) = MINIMA.into_inner();
            Err(serde::de::Error::custom(format!(
                "minimum is {minimum}: write a number from {least} to {most}, such as 15"
            )))
        }
    }
}

fn memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    let size = size(deserializer)?;
    let [least, most] = [WorkFactor::LEAST, WorkFactor::MOST].map(|work| ByteSize::kib(work.memory_kib.into()));
    if (least..=most).contains(&size) {
        return Ok(size);
    }
    Err(serde::de::Error::custom(format!("memory is {size}: write a size from \"{least}\" to \"{most}\"")))
}

fn passes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let (least, most) = (WorkFactor::LEAST.passes, WorkFactor::MOST.passes);
    match u32::deserialize(deserializer)? {
        passes if (least..=most).contains(&passes) => Ok(passes),
        passes => Err(serde::de::Error::custom(format!(
            "passes is {passes}: write a number from {least} to {most}, such as 3"
        ))),
    }
}
