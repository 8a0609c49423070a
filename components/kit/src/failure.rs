//! Error responses.

use std::borrow::Cow;

use crate::JsonValue;
use crate::storage;

/// An error response. Its body is `{"success":false,"error":{"code":…,"message":…}}`.
///
/// The client sees all of its fields. Write internal causes to stderr, as [`Failure::internal`] does.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// The code for programs, such as `ORDER_NOT_FOUND`.
    pub code: &'static str,
    /// The text for people.
    pub message: Cow<'static, str>,
    /// Value of `Retry-After`: seconds after which a retry makes sense.
    pub retry_after_seconds: Option<u32>,
    /// The member `details`: more data for programs.
    pub details: Option<JsonValue>,
    /// Further headers, with names in lower case.
    pub headers: Vec<(&'static str, String)>,
}

impl Failure {
    /// A failure with any status.
    pub fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Failure {
        let message = message.into();
        Failure { status, code, message, retry_after_seconds: None, details: None, headers: Vec::new() }
    }

    /// 400: the request is invalid.
    pub fn bad_request(code: &'static str, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(400, code, message)
    }

    /// 401: the credentials are wrong or missing. The response has `WWW-Authenticate: Bearer` (RFC 9110, section 15.5.2).
    pub fn unauthorized(code: &'static str, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(401, code, message)
    }

    /// 403 `FORBIDDEN`: the caller is known but not allowed to do this.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(403, "FORBIDDEN", message)
    }

    /// 404: the resource does not exist, or the caller must not know that it exists.
    pub fn not_found(code: &'static str, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(404, code, message)
    }

    /// 409: the resource's state does not allow this.
    pub fn conflict(code: &'static str, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(409, code, message)
    }

    /// 503: the request cannot succeed now, but a retry can.
    pub fn unavailable(code: &'static str, message: impl Into<Cow<'static, str>>, retry_after_seconds: u32) -> Failure {
        Failure::new(503, code, message).retry_after(retry_after_seconds)
    }

    /// 500 `INTERNAL_ERROR`: a fault of the service. The cause goes only to the log.
    pub fn internal(cause: impl std::fmt::Display) -> Failure {
        eprintln!("internal error: {cause}");
        Failure::new(500, "INTERNAL_ERROR", "The service failed. Your request is not the cause.")
    }

    /// Adds `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Failure {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Adds a header. The name must be in lower case.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: String) -> Failure {
        self.headers.push((name, value));
        self
    }

    /// Adds the member `details`.
    #[must_use]
    pub fn with_details(mut self, details: JsonValue) -> Failure {
        self.details = Some(details);
        self
    }
}

/// Maps a storage error to a response.
///
/// A constraint violation becomes 500. A handler that expects a violation matches on it before it converts the error.
impl From<storage::Error> for Failure {
    fn from(error: storage::Error) -> Failure {
        match error {
            storage::Error::Busy => Failure::unavailable("STORAGE_BUSY", "Too many writes are waiting. Try again.", 1),
            storage::Error::TimedOut => Failure::unavailable("STORAGE_TIMED_OUT", "The database took too long.", 1),
            storage::Error::Unavailable => {
                Failure::unavailable("STORAGE_UNAVAILABLE", "The database is not available now.", 5)
            }
            other => Failure::internal(format_args!("storage: {other:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Constraint, Error};

    #[test]
    fn responses_do_not_reveal_texts_of_storage_errors() {
        let table = [
            (Error::Busy, 503, "STORAGE_BUSY", Some(1)),
            (Error::TimedOut, 503, "STORAGE_TIMED_OUT", Some(1)),
            (Error::Unavailable, 503, "STORAGE_UNAVAILABLE", Some(5)),
            (Error::Constraint(Constraint::Unique), 500, "INTERNAL_ERROR", None),
            (Error::Denied("secret".into()), 500, "INTERNAL_ERROR", None),
            (Error::TooLarge("secret".into()), 500, "INTERNAL_ERROR", None),
            (Error::Invalid("secret".into()), 500, "INTERNAL_ERROR", None),
        ];
        for (error, status, code, retry_after_seconds) in table {
            let failure = Failure::from(error);
            assert_eq!((failure.status, failure.code), (status, code));
            assert_eq!(failure.retry_after_seconds, retry_after_seconds);
            assert!(!failure.message.contains("secret"));
        }
    }
}
