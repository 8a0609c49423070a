//! What a new password must have, and what it costs to check one.

use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer};

use super::limits::{duration, size};
use crate::passwords::{self, MINIMUM_CHARACTERS, WorkFactor};

/// As short as ASVS allows at its first level, and as long as NIST SP 800-63B asks to be accepted at the least.
const MINIMA: std::ops::RangeInclusive<u32> = MINIMUM_CHARACTERS..=64;

/// The operator's word on new passwords. Those that are there stay good.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordRules {
    /// Characters at the least: 8 unless it is given. NIST SP 800-63B-4 asks for 15 where nothing else is asked at a login.
    #[serde(deserialize_with = "minimum")]
    pub minimum: u32,
    /// What each check computes in: 19 MiB unless it is given, at most 256 MiB. As many are computed at once as there are cores, up
    /// to four.
    #[serde(deserialize_with = "memory")]
    pub memory: ByteSize,
    /// How many times a check goes through its memory: 2 unless it is given, at most 10.
    #[serde(deserialize_with = "passes")]
    pub passes: u32,
    /// How long a check waits for those before it, until its caller is turned away: 5 s unless it is given.
    #[serde(deserialize_with = "duration")]
    pub queue_time: Duration,
}

impl PasswordRules {
    /// What a new hash costs.
    pub fn work(self) -> WorkFactor {
        WorkFactor { memory_kib: (self.memory.as_u64() >> 10).try_into().unwrap_or(u32::MAX), passes: self.passes }
    }

    /// How many are computed at once, and how many wait for how long.
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
