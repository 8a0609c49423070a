//! What the operator decides about the audit log.

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer};

use super::limits;

/// A smaller file would hold a few lines.
const SMALLEST: ByteSize = ByteSize::kib(64);

/// How the audit log is kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditRules {
    /// Bytes with which a file of it is full, and another is begun. Nothing limits the number of files.
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
