//! The `[audit]` table of the manifest.

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer};

use super::limits;

/// The smallest allowed file. A smaller one would hold only a few lines.
const SMALLEST: ByteSize = ByteSize::kib(64);

/// The settings of the audit log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditRules {
    /// The size at which a file is full and the host begins another.
    /// The number of files is not limited.
    #[serde(deserialize_with = "size")]
    pub file: ByteSize,
}

impl Default for AuditRules {
    fn default() -> Self {
        Self { file: ByteSize::mib(64) }
    }
}

fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteSize, D::Error> {
    let size = limits::size(deserializer)?;
    if size >= SMALLEST {
        return Ok(size);
    }
    Err(serde::de::Error::custom(format!("file is {size}: write a size such as \"64 MiB\", at least {SMALLEST}")))
}
