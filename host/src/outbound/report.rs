//! How one request ended, for the circuit breaker, the metrics and the log.
//!
//! A request ends at the end of its response's body. Until then the remote host has not yet succeeded, except if the request is the
//! breaker's trial: then the head of the response is enough, because others wait for it.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;

use super::breaker::Pass;
use super::error::OutboundError;
use super::remote::{Ending, SharedRemote};

/// The report of one request. Dropped after the response's head without a failure, it reports a success. Dropped before, it reports
/// nothing, because the guest gave the request up.
pub(super) struct Report {
    service: Arc<str>,
    remote: SharedRemote,
    /// None once the breaker has been told.
    pass: Option<Pass<SharedRemote>>,
    has_head: bool,
}

impl Report {
    pub(super) fn new(service: Arc<str>, remote: SharedRemote, pass: Pass<SharedRemote>) -> Self {
        Self { service, remote, pass: Some(pass), has_head: false }
    }

    /// The head of the response has come after this time.
    pub(super) fn head(&mut self, status: StatusCode, after: Duration) {
        self.remote.0.answer(status, after);
        self.has_head = true;
        // 500 is no sign that the remote host is down: one kind of request may cause it.
        if matches!(status.as_u16(), 502..=504) {
            self.remote_failed(&format_args!("it answered {status}"));
        } else if self.pass.as_ref().is_some_and(Pass::is_trial) {
            self.succeeded();
        }
    }

    /// The request failed, before or after the head of its response.
    pub(super) fn fail(&mut self, error: &OutboundError) {
        if let Some(ending) = Ending::of_error(error) {
            self.remote.0.end(ending);
        }
        if error.is_failure_of_the_remote() {
            self.remote_failed(error);
        } else {
            self.pass = None;
        }
    }

    fn succeeded(&mut self) {
        if self.pass.take().is_some_and(Pass::succeeded) {
            let (service, host) = (&*self.service, self.remote.0.name());
            tracing::info!(service, host, "{service}: {host} answers again");
        }
    }

    fn remote_failed(&mut self, why: &dyn Display) {
        if let Some(pause) = self.pass.take().and_then(|pass| pass.failed(Instant::now())) {
            let (service, host) = (&*self.service, self.remote.0.name());
            tracing::warn!(
                service,
                host,
                "{service}: nothing is sent to {host} for {pause:?}, because it keeps failing: {why}"
            );
        }
    }
}

impl Drop for Report {
    fn drop(&mut self) {
        if self.has_head {
            self.succeeded();
        }
    }
}
