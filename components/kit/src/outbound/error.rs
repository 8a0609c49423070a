//! Why a request to a remote host failed.

use std::fmt::{self, Display};

#[cfg(not(feature = "native"))]
use crate::bindings::wasi::http::types::{ErrorCode, http_error_code};
#[cfg(not(feature = "native"))]
use crate::wire::WireError;

use crate::Failure;

/// A request to a remote host failed.
///
/// `?` makes it a response: 503 `REMOTE_UNAVAILABLE` if the remote host did not answer, 502 `REMOTE_FAILED` if its answer is wrong, and
/// 500 `INTERNAL_ERROR` if the host may not send the request. The cause goes only to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    reason: Reason,
    target: String,
    cause: String,
}

/// The kind of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request cannot be sent: its URL, a header or the body is invalid.
    Invalid,
    /// The manifest does not allow the remote host, or its address is not public.
    Denied,
    /// No response, or no further part of it, in time.
    TimedOut,
    /// No connection, or it broke. Also if the host sends nothing for a while, after the remote host has failed several times.
    Connection,
    /// The response is larger than the limit.
    TooLarge,
    /// The response has this status, see [`success`](super::Response::success).
    Status(u16),
    /// The body is not JSON, or does not fit its type, see [`json`](super::Response::json).
    Json,
}

impl Error {
    pub(super) fn new(reason: Reason, target: String, cause: String) -> Error {
        Error { reason, target, cause }
    }

    /// The kind.
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

impl Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} failed: {}", self.target, self.cause)?;
        match self.reason {
            Reason::Denied => out.write_str(" (`outbound` of this service in the manifest must allow it)"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error.reason {
            Reason::Invalid | Reason::Denied => return Failure::internal(error),
            _ => eprintln!("{error}"),
        }
        match error.reason {
            Reason::TooLarge | Reason::Status(_) | Reason::Json => {
                Failure::new(502, "REMOTE_FAILED", "A remote host that this request needs gave a wrong answer.")
            }
            _ => {
                let message = "A remote host that this request needs is not available. Try again.";
                Failure::unavailable("REMOTE_UNAVAILABLE", message, 1)
            }
        }
    }
}

#[cfg(not(feature = "native"))]
pub(super) fn read(error: WireError) -> (Reason, String) {
    match error {
        WireError::Invalid(why) => (Reason::Invalid, why.to_owned()),
        WireError::TooLong => (Reason::TooLarge, "its body is longer than the limit of the service".to_owned()),
        WireError::Failed(code) => (reason(&code), format!("{code:?}")),
        WireError::Incomplete(error) => match error.as_ref().and_then(http_error_code) {
            Some(code) => (reason(&code), format!("its body ended early: {code:?}")),
            None => (Reason::Connection, "its body ended early".to_owned()),
        },
    }
}

#[cfg(not(feature = "native"))]
fn reason(code: &ErrorCode) -> Reason {
    match code {
        ErrorCode::HttpRequestDenied | ErrorCode::HttpRequestMethodInvalid | ErrorCode::DestinationIpProhibited => {
            Reason::Denied
        }
        ErrorCode::HttpRequestUriInvalid => Reason::Invalid,
        ErrorCode::ConnectionTimeout
        | ErrorCode::DnsTimeout
        | ErrorCode::HttpResponseTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout => Reason::TimedOut,
        ErrorCode::HttpResponseBodySize(_) => Reason::TooLarge,
        _ => Reason::Connection,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_does_not_reveal_the_cause() {
        let table = [
            (Reason::Invalid, 500, "INTERNAL_ERROR"),
            (Reason::Denied, 500, "INTERNAL_ERROR"),
            (Reason::TimedOut, 503, "REMOTE_UNAVAILABLE"),
            (Reason::Connection, 503, "REMOTE_UNAVAILABLE"),
            (Reason::TooLarge, 502, "REMOTE_FAILED"),
            (Reason::Status(404), 502, "REMOTE_FAILED"),
            (Reason::Json, 502, "REMOTE_FAILED"),
        ];
        for (reason, status, code) in table {
            let error = Error::new(reason, "GET https://secret.example".to_owned(), "secret".to_owned());
            assert_eq!(error.to_string().contains("in the manifest"), reason == Reason::Denied);
            let failure = Failure::from(error);
            assert_eq!((failure.status, failure.code), (status, code));
            assert!(!failure.message.contains("secret"));
        }
    }
}
