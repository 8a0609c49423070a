//! The `[deploy]` table of the manifest.

use std::time::Duration;

use bytesize::ByteSize;
use serde::Deserialize;

use super::limits;
use crate::signature::PublicKey;

/// How a new revision is checked, activated and watched.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeployRules {
    /// The largest component file.
    #[serde(deserialize_with = "limits::size")]
    pub component: ByteSize,
    /// CPU time that compiling a component may take. The elapsed time may be ten times as long.
    #[serde(deserialize_with = "limits::duration")]
    pub compile_time: Duration,
    /// How much memory compiling a component may take.
    #[serde(deserialize_with = "limits::size")]
    pub compile_memory: ByteSize,
    /// How long the health check and all probes of a revision may take together.
    #[serde(deserialize_with = "limits::duration")]
    pub probe_time: Duration,
    /// The watch window: how long a new revision is compared with the previous one.
    #[serde(deserialize_with = "limits::duration")]
    pub watch: Duration,
    /// How many previous revisions of each service stay compiled.
    pub keep: usize,
    /// The public keys whose signatures are accepted.
    /// If there are none, components need no signature.
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
