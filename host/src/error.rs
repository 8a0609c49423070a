//! Every cause for which the host itself answers, and the one table from cause to answer.
//!
//! The layers below say what went wrong in their own words and know no HTTP status; here each of them gets its status, its
//! code, what a client may read and which headers go with it. The cause that an operator needs travels beside it to the log.

use bytes::Bytes;
use hyper::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::json;

use crate::body::{Body, BodyRefusal, full};
use crate::gate::Refusal;
use crate::head::HeadError;
use crate::revision::{Failure, FailureKind};
use crate::route::NoRoute;

/// Why the host answers a request itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The route does not exist on this listener.
    NotFound,
    /// The path exists for other methods.
    MethodNotAllowed {
        /// For the header `Allow`.
        allow: String,
    },
    /// The request cannot be read: its host, its framing or a broken connection.
    BadRequest(&'static str),
    /// The target is longer than the host reads.
    UriTooLong,
    /// The headers are more than the host reads.
    HeadersTooLarge,
    /// A listener on loopback was asked for a host that the manifest does not list.
    ForeignHost,
    /// The body is in a coding that is not undone here.
    UnsupportedCoding,
    /// No bearer token.
    MissingToken,
    /// A token that is not good.
    InvalidToken,
    /// A good token whose role is not enough.
    Forbidden,
    /// A revision was asked for by somebody who is not the operator.
    VersionForbidden,
    /// A revision was asked for that does not serve.
    VersionUnknown,
    /// The body is over the limit, in bytes.
    BodyTooLarge(usize),
    /// The body did not come in time.
    BodyTooSlow,
    /// No room for the request now.
    Overloaded,
    /// No revision serves the service.
    Vacant,
    /// The guest failed.
    GuestFailed,
    /// The guest wanted more memory than it may have.
    GuestOutOfMemory,
    /// The guest computed or took longer than it may.
    GuestTooSlow,
    /// The host itself failed.
    Internal,
}

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The HTTP status.
    pub status: StatusCode,
    /// `error.code` in the envelope.
    pub code: &'static str,
    /// `error.message` in the envelope.
    pub message: String,
    /// A header that the status asks for.
    pub header: Option<(HeaderName, HeaderValue)>,
}

impl Error {
    /// One of every cause, for those who list what the host answers.
    pub fn each() -> [Self; 20] {
        [
            Self::NotFound,
            Self::MethodNotAllowed { allow: "GET".to_owned() },
            Self::BadRequest("The request cannot be read"),
            Self::UriTooLong,
            Self::HeadersTooLarge,
            Self::ForeignHost,
            Self::UnsupportedCoding,
            Self::MissingToken,
            Self::InvalidToken,
            Self::Forbidden,
            Self::VersionForbidden,
            Self::VersionUnknown,
            Self::BodyTooLarge(1),
            Self::BodyTooSlow,
            Self::Overloaded,
            Self::Vacant,
            Self::GuestFailed,
            Self::GuestOutOfMemory,
            Self::GuestTooSlow,
            Self::Internal,
        ]
    }

    /// The line of the table for this cause.
    pub fn row(&self) -> Row {
        let row = |status, code, message: &str| Row { status, code, message: message.to_owned(), header: None };
        let bearer = Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
        let retry = Some((RETRY_AFTER, HeaderValue::from_static("1")));
        match self {
            Self::NotFound => row(StatusCode::NOT_FOUND, "NOT_FOUND", "Nothing is served at this path"),
            Self::MethodNotAllowed { allow } => Row {
                header: HeaderValue::from_str(allow).ok().map(|allow| (ALLOW, allow)),
                ..row(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", &format!("This path answers {allow}"))
            },
            Self::BadRequest(what) => row(StatusCode::BAD_REQUEST, "BAD_REQUEST", what),
            Self::UriTooLong => row(StatusCode::URI_TOO_LONG, "URI_TOO_LONG", "The URL is longer than 8 KiB"),
            Self::HeadersTooLarge => row(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "HEADERS_TOO_LARGE",
                "The headers are larger than 32 KiB or more than 100",
            ),
            Self::ForeignHost => row(
                StatusCode::MISDIRECTED_REQUEST,
                "FOREIGN_HOST",
                "This listener is on loopback and does not answer to this host: ask for localhost, or list the host under \
                 `hosts` in [listeners] of the manifest",
            ),
            Self::UnsupportedCoding => Row {
                header: Some((ACCEPT_ENCODING, HeaderValue::from_static("identity"))),
                ..row(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "UNSUPPORTED_CONTENT_ENCODING",
                    "Send the body as it is, without Content-Encoding",
                )
            },
            Self::MissingToken => Row {
                header: bearer,
                ..row(StatusCode::UNAUTHORIZED, "MISSING_TOKEN", "Send an access token: Authorization: Bearer <token>")
            },
            Self::InvalidToken => Row {
                header: bearer,
                ..row(StatusCode::UNAUTHORIZED, "INVALID_TOKEN", "The token is invalid or has expired")
            },
            Self::Forbidden => row(StatusCode::FORBIDDEN, "FORBIDDEN", "Your role does not allow this"),
            Self::VersionForbidden => row(
                StatusCode::FORBIDDEN,
                "VERSION_FORBIDDEN",
                "To ask for a revision, send the admin token in x-comptoir-admin-token",
            ),
            Self::VersionUnknown => row(
                StatusCode::NOT_FOUND,
                "VERSION_NOT_FOUND",
                "No such revision serves or is on trial; it is named like orders@0123456789ab",
            ),
            Self::BodyTooLarge(limit) => row(
                StatusCode::PAYLOAD_TOO_LARGE,
                "BODY_TOO_LARGE",
                &format!("The body is larger than the limit of {limit} bytes"),
            ),
            Self::BodyTooSlow => row(StatusCode::REQUEST_TIMEOUT, "BODY_TOO_SLOW", "The body was not complete in time"),
            Self::Overloaded => Row {
                header: retry,
                ..row(StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED", "The service is at its limit, try again shortly")
            },
            Self::Vacant => Row {
                header: retry,
                ..row(StatusCode::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", "The service has no active revision")
            },
            Self::GuestFailed => {
                row(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "The service failed to answer")
            }
            Self::GuestOutOfMemory => {
                row(StatusCode::INTERNAL_SERVER_ERROR, "OUT_OF_MEMORY", "The service ran out of its memory limit")
            }
            Self::GuestTooSlow => {
                row(StatusCode::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED", "The service did not answer in time")
            }
            Self::Internal => row(StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "The host failed to answer"),
        }
    }

    /// The answer in the envelope, with the id by which the log knows the request.
    pub fn to_response(&self, request_id: &str) -> Response<Body> {
        let row = self.row();
        let envelope = json!({
            "success": false,
            "error": { "code": row.code, "message": row.message, "request_id": request_id },
        });
        let mut response = Response::new(full(Bytes::from(envelope.to_string())));
        *response.status_mut() = row.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, value)) = row.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::MissingToken => Self::MissingToken,
            Refusal::InvalidToken => Self::InvalidToken,
            Refusal::Forbidden => Self::Forbidden,
        }
    }
}

impl From<HeadError> for Error {
    fn from(error: HeadError) -> Self {
        match error {
            HeadError::UriTooLong => Self::UriTooLong,
            HeadError::HeadersTooLarge => Self::HeadersTooLarge,
            HeadError::Ambiguous(what_to_send) => Self::BadRequest(what_to_send),
        }
    }
}

impl From<BodyRefusal> for Error {
    fn from(refusal: BodyRefusal) -> Self {
        match refusal {
            BodyRefusal::TooLarge(limit) => Self::BodyTooLarge(limit),
            BodyRefusal::TooSlow => Self::BodyTooSlow,
            BodyRefusal::Broken => Self::BadRequest("The body is broken or incomplete"),
            BodyRefusal::Overloaded => Self::Overloaded,
        }
    }
}

impl From<&Failure> for Error {
    fn from(failure: &Failure) -> Self {
        match failure.kind {
            FailureKind::Busy => Self::Overloaded,
            FailureKind::Trapped | FailureKind::BadAnswer => Self::GuestFailed,
            FailureKind::OutOfMemory => Self::GuestOutOfMemory,
            FailureKind::ComputedTooLong | FailureKind::TookTooLong => Self::GuestTooSlow,
        }
    }
}

impl From<NoRoute> for Error {
    /// `OPTIONS` on a path that exists is no error: the gateway answers it before it comes here.
    fn from(none: NoRoute) -> Self {
        match none {
            NoRoute::Path => Self::NotFound,
            NoRoute::Method(allow) | NoRoute::Options(allow) => Self::MethodNotAllowed { allow },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_from_cause_to_status_and_code() {
        let table: Vec<String> = Error::each()
            .iter()
            .map(|cause| {
                let Row { status, code, header, .. } = cause.row();
                let header = header.map(|(name, value)| format!(" {name}: {}", value.to_str().unwrap_or_default()));
                format!("{} {code}{}", status.as_u16(), header.unwrap_or_default())
            })
            .collect();
        assert_eq!(
            table,
            [
                "404 NOT_FOUND",
                "405 METHOD_NOT_ALLOWED allow: GET",
                "400 BAD_REQUEST",
                "414 URI_TOO_LONG",
                "431 HEADERS_TOO_LARGE",
                "421 FOREIGN_HOST",
                "415 UNSUPPORTED_CONTENT_ENCODING accept-encoding: identity",
                "401 MISSING_TOKEN www-authenticate: Bearer",
                "401 INVALID_TOKEN www-authenticate: Bearer",
                "403 FORBIDDEN",
                "403 VERSION_FORBIDDEN",
                "404 VERSION_NOT_FOUND",
                "413 BODY_TOO_LARGE",
                "408 BODY_TOO_SLOW",
                "503 OVERLOADED retry-after: 1",
                "503 SERVICE_UNAVAILABLE retry-after: 1",
                "500 INTERNAL_ERROR",
                "500 OUT_OF_MEMORY",
                "504 DEADLINE_EXCEEDED",
                "500 INTERNAL_ERROR",
            ]
        );
    }
}
