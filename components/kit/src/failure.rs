//! Why a request was not done, as its client is told.

use std::borrow::Cow;

use crate::JsonValue;
use crate::storage;

/// An answer that says no. It becomes `{"success":false,"error":{"code":…,"message":…}}`.
///
/// All of it is read by the client. What only the operator may know is written to stderr where the failure is made.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// What a program branches on, like `ORDER_NOT_FOUND`.
    pub code: &'static str,
    /// What a person reads.
    pub message: Cow<'static, str>,
    /// After how many seconds trying again makes sense. Sent as `Retry-After`.
    pub retry_after_seconds: Option<u32>,
    /// More for a program to read, as the member `details`.
    pub details: Option<JsonValue>,
    /// Further headers, their names in lower case.
    pub headers: Vec<(&'static str, String)>,
}

impl Failure {
    /// A failure of any status.
    pub fn new(status: u16, code: &'static str, message: impl Into<Cow<'static, str>>) -> Failure {
        let message = message.into();
        Failure { status, code, message, retry_after_seconds: None, details: None, headers: Vec::new() }
    }

    /// 400: the request says something that cannot be done.
    pub fn bad_request(code: &'static str, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(400, code, message)
    }

    /// 401: the credentials in the request are wrong or missing. The answer asks for a bearer token, as RFC 9110 wants.
    pub fn unauthorized(code: &'static str, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(401, code, message)
    }

    /// 403 `FORBIDDEN`: the caller is known, and may not.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(403, "FORBIDDEN", message)
    }

    /// 404: no such thing, or none that the caller may know of.
    pub fn not_found(code: &'static str, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(404, code, message)
    }

    /// 409: the thing is in a state that does not allow it.
    pub fn conflict(code: &'static str, message: impl Into<Cow<'static, str>>) -> Failure {
        Failure::new(409, code, message)
    }

    /// 503: it cannot be done now, and trying again is right.
    pub fn unavailable(code: &'static str, message: impl Into<Cow<'static, str>>, retry_after_seconds: u32) -> Failure {
        Failure::new(503, code, message).retry_after(retry_after_seconds)
    }

    /// 500 `INTERNAL_ERROR`: a fault of the service. The cause goes to the log and to nobody else.
    pub fn internal(cause: impl std::fmt::Display) -> Failure {
        eprintln!("internal error: {cause}");
        Failure::new(500, "INTERNAL_ERROR", "The service could not do this. The fault is not yours.")
    }

    /// The same, with `Retry-After`.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Failure {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// The same, with a header more. The name is lower case.
    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: String) -> Failure {
        self.headers.push((name, value));
        self
    }

    /// The same, with the member `details`.
    #[must_use]
    pub fn with_details(mut self, details: JsonValue) -> Failure {
        self.details = Some(details);
        self
    }
}

/// What a client is told of a statement that had no effect. A rule of the schema that was broken is a fault of the service
/// here: a handler that expects one matches on it before.
impl From<storage::Error> for Failure {
    fn from(error: storage::Error) -> Failure {
        match error {
            storage::Error::Busy => Failure::unavailable("STORAGE_BUSY", "Too much is being written just now.", 1),
            storage::Error::TimedOut => Failure::unavailable("STORAGE_TIMED_OUT", "The database took too long.", 1),
            storage::Error::Unavailable => {
                Failure::unavailable("STORAGE_UNAVAILABLE", "The database cannot do this now.", 5)
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
    fn storage_errors_keep_their_texts_to_themselves() {
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
