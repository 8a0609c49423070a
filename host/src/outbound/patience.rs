//! How long the host waits for a remote host, and who chose that time.

use std::time::Duration;

use super::error::OutboundError;

/// The timeouts that a guest chose for one request. They can only be shorter than the manifest's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timeouts {
    /// Until the head of the response.
    pub head: Option<Duration>,
    /// Between two parts of its body.
    pub between_bytes: Option<Duration>,
}

/// How long the host waits for a remote host.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) time: Duration,
    /// Whether the guest chose this time. Then its end says nothing about the remote host.
    is_chosen: bool,
}

impl Patience {
    /// The time that the guest chose, if it is shorter than the manifest's limit.
    pub(super) fn new(chosen: Option<Duration>, limit: Duration) -> Self {
        let shorter = chosen.filter(|chosen| *chosen < limit);
        Self { time: shorter.unwrap_or(limit), is_chosen: shorter.is_some() }
    }

    /// The error after this time without an answer.
    pub(super) fn error(self) -> OutboundError {
        if self.is_chosen { OutboundError::GaveUp(self.time) } else { OutboundError::TimedOut(self.time) }
    }
}
