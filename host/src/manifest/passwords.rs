//! What a new password must have.

use serde::{Deserialize, Deserializer};

use crate::passwords::MINIMUM_CHARACTERS;

/// As short as ASVS allows at its first level, and as long as NIST SP 800-63B asks to be accepted at the least.
const MINIMA: std::ops::RangeInclusive<u32> = MINIMUM_CHARACTERS..=64;

/// The operator's word on new passwords. Those that are there stay good.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordRules {
    /// Characters at the least: 8 unless it is given. NIST SP 800-63B-4 asks for 15 where nothing else is asked at a login.
    #[serde(deserialize_with = "minimum")]
    pub minimum: u32,
}

impl Default for PasswordRules {
    fn default() -> Self {
        Self { minimum: MINIMUM_CHARACTERS }
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
