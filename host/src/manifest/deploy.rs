//! What the operator decides about deploys.

use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use super::limits;
use crate::signature::PublicKey;

/// How a new revision is put in charge, and how it is watched.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeployRules {
    /// Bytes of a component's file.
    #[serde(deserialize_with = "limits::size")]
    pub component: ByteSize,
    /// What compiling one may take.
    #[serde(deserialize_with = "limits::duration")]
    pub compile_time: Duration,
    /// Bytes of memory that compiling one may take.
    #[serde(deserialize_with = "limits::size")]
    pub compile_memory: ByteSize,
    /// What its health and all of its probes may take together.
    #[serde(deserialize_with = "limits::duration")]
    pub probe_time: Duration,
    /// How long a new revision is compared with the one before.
    #[serde(deserialize_with = "limits::duration")]
    pub watch: Duration,
    /// Revisions before the active one that stay compiled, for each service.
    pub keep: usize,
    /// Who may sign components. Where there is nobody, whatever the operator sends is taken.
    pub signers: Vec<PublicKey>,
}

impl Default for DeployRules {
    fn default() -> Self {
        Self {
            component: ByteSize::mib(32),
            compile_time: Duration::from_secs(60),
            compile_memory: ByteSize::gib(4),
            probe_time: Duration::from_secs(5),
            watch: Duration::from_secs(30),
            keep: 3,
            signers: Vec::new(),
        }
    }
}
