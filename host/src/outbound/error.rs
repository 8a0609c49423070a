//! Why a request to a remote host failed.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bytesize::ByteSize;
use tokio_rustls::rustls;

use super::lookup::AddressError;

/// Why a request to a remote host has no response, or its body ended early.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The manifest does not allow the remote host.
    #[error("the manifest does not allow this host")]
    Denied,
    /// `CONNECT` and `TRACE` are never sent: the one makes a tunnel, the other returns the credentials of the request.
    #[error("the host never sends requests of this method")]
    Method,
    /// The remote host's address is not public and `private` does not allow it.
    #[error("its address {0} is not public, and `private` does not allow it")]
    Prohibited(IpAddr),
    /// The circuit breaker is open after earlier failures.
    #[error("it failed several times in a row, so nothing is sent to it for a while")]
    Open,
    /// Too many requests of the service run and wait.
    #[error("too many requests of this service run: `concurrency` of its `outbound` table is the limit")]
    Crowded,
    /// No response, or no further part of its body, within this time.
    #[error("no answer within {0:?}: `timeout` of the service's `outbound` table is the limit")]
    TimedOut(Duration),
    /// The same, within a shorter time that the guest chose.
    #[error("no answer within {0:?}, the time that the component chose")]
    GaveUp(Duration),
    /// Its name cannot be looked up.
    #[error("{0}")]
    Lookup(String),
    /// No TCP connection.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// The TLS handshake failed.
    #[error("no TLS connection: {0}")]
    Tls(String),
    /// Its certificate is not valid for this host, or no trusted authority signed it.
    #[error("its certificate is not accepted: {0}")]
    Certificate(String),
    /// The response's body is larger than this many bytes.
    #[error("the response is larger than {}: `response` of the service's `outbound` table is the limit", ByteSize::b(*.0))]
    TooLarge(u64),
    /// The body has a coding in which a secret could not be found.
    #[error("the response is compressed, although the host asked for one that is not, to find a secret in it")]
    Coded,
    /// The connection broke, or the response was not valid HTTP.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// The guest gave up its own request's body.
    #[error("the request's body ended early: {0}")]
    Request(String),
}

impl OutboundError {
    /// Whether the circuit breaker counts it as a failure of the remote host.
    pub(super) fn is_failure_of_the_remote(&self) -> bool {
        match self {
            Self::TimedOut(_)
            | Self::Lookup(_)
            | Self::Connect(_)
            | Self::Tls(_)
            | Self::Certificate(_)
            | Self::Broken(_) => true,
            Self::Denied
            | Self::Method
            | Self::Prohibited(_)
            | Self::Open
            | Self::Crowded
            | Self::GaveUp(_)
            | Self::TooLarge(_)
            | Self::Coded
            | Self::Request(_) => false,
        }
    }

    /// Whether the remote host is the cause. All else counts against the revision: it chose the host, the number of requests, the time
    /// and what it asked for.
    pub fn is_dependency_failure(&self) -> bool {
        self.is_failure_of_the_remote() || matches!(self, Self::Open | Self::Coded)
    }

    /// Whether the revision asked for something that it may not do.
    pub fn is_denial(&self) -> bool {
        matches!(self, Self::Denied | Self::Method)
    }

    /// Reads an error of the HTTP client, by its causes.
    pub(super) fn of(error: &(dyn Error + 'static)) -> Self {
        let causes: Vec<_> = std::iter::successors(Some(error), |error| cause(*error)).collect();
        if let Some(known) = causes.iter().find_map(|cause| Self::known(*cause)) {
            return known;
        }
        let last = causes.last().map_or_else(|| error.to_string(), ToString::to_string);
        match causes.iter().find_map(|cause| cause.downcast_ref::<io::Error>()) {
            Some(error) if causes.iter().any(|cause| is_connect(*cause)) => {
                Self::Connect(io::Error::new(error.kind(), error.to_string()))
            }
            _ => Self::Broken(last),
        }
    }

    fn known(error: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(error) = error.downcast_ref::<AddressError>() {
            return Some(match error {
                AddressError::Prohibited(address) => Self::Prohibited(*address),
                AddressError::Crowded => Self::Crowded,
                AddressError::Lookup(_) | AddressError::NoAddress => Self::Lookup(error.to_string()),
            });
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(match error {
                rustls::Error::InvalidCertificate(_) => Self::Certificate(error.to_string()),
                _ => Self::Tls(error.to_string()),
            });
        }
        let hyper = error.downcast_ref::<hyper::Error>()?;
        hyper.is_user().then(|| Self::Request(hyper.to_string()))
    }
}

fn is_connect(error: &(dyn Error + 'static)) -> bool {
    error.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(hyper_util::client::legacy::Error::is_connect)
}

/// The cause of an error. `io::Error` skips the error that it wraps, so that one is read here.
fn cause<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failures_of_the_remote_host_are_dependency_failures() {
        let time = Duration::from_secs(1);
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let of_the_remote = [
            OutboundError::TimedOut(time),
            OutboundError::Lookup(String::new()),
            OutboundError::Connect(refused()),
            OutboundError::Tls(String::new()),
            OutboundError::Certificate(String::new()),
            OutboundError::Broken(String::new()),
        ];
        assert!(of_the_remote.iter().all(|error| error.is_failure_of_the_remote() && error.is_dependency_failure()));
        // The breaker has counted the failures that opened it, and a coding says nothing about other answers.
        let of_the_remote_in_general = [OutboundError::Open, OutboundError::Coded];
        assert!(of_the_remote_in_general.iter().all(OutboundError::is_dependency_failure));
        assert!(!of_the_remote_in_general.iter().any(OutboundError::is_failure_of_the_remote));
        let of_the_revision = [
            OutboundError::Denied,
            OutboundError::Method,
            OutboundError::Prohibited([127, 0, 0, 1].into()),
            OutboundError::Crowded,
            OutboundError::GaveUp(time),
            OutboundError::TooLarge(1),
            OutboundError::Request(String::new()),
        ];
        assert!(!of_the_revision.iter().any(OutboundError::is_dependency_failure));
    }
}
