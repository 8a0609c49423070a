//! The table from cause to status, code, message and header, and the one function that builds the envelope.

use bytes::Bytes;
use hyper::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use storage::StorageError;

use super::{AdminError, Error};
use crate::body::{Body, full};
use crate::deploy::{DeployError, ReloadError, Step};
use crate::tokens::{IssueError, KeyChangeError, RevokeError};

/// One row of the table: the host's response to a cause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The HTTP status.
    pub status: StatusCode,
    /// `error.code` in the envelope. Programs branch on it, so it never changes.
    pub code: &'static str,
    /// `error.message` in the envelope, for people.
    pub message: String,
    /// The header that the status requires.
    pub header: Option<(HeaderName, HeaderValue)>,
    /// `error.details` in the envelope. None leaves the member out.
    pub details: Option<Value>,
}

impl Row {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), header: None, details: None }
    }

    fn header(self, name: HeaderName, value: &'static str) -> Self {
        Self { header: Some((name, HeaderValue::from_static(value))), ..self }
    }

    /// Builds the response in the envelope. The id is the one by which the log knows the request.
    fn into_response(self, request_id: &str) -> Response<Body> {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(details) = self.details {
            error["details"] = details;
        }
        error["request_id"] = request_id.into();
        let envelope = json!({ "success": false, "error": error });
        let mut response = Response::new(full(Bytes::from(envelope.to_string())));
        *response.status_mut() = self.status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some((name, value)) = self.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl Error {
    /// One of every cause, to list what the gateway can answer.
    pub fn each() -> [Self; 22] {
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
            Self::TooManyStreams,
            Self::Vacant,
            Self::GuestFailed,
            Self::OutcomeUnknown,
            Self::GuestOutOfMemory,
            Self::GuestTooSlow,
            Self::Internal,
        ]
    }

    /// The row of this cause.
    pub fn row(&self) -> Row {
        use StatusCode as S;
        match self {
            Self::NotFound => Row::new(S::NOT_FOUND, "NOT_FOUND", "Nothing is served at this path"),
            Self::MethodNotAllowed { allow } => Row {
                header: HeaderValue::from_str(allow).ok().map(|allow| (ALLOW, allow)),
                ..Row::new(S::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", format!("This path answers {allow}"))
            },
            Self::BadRequest(message) => Row::new(S::BAD_REQUEST, "BAD_REQUEST", *message),
            Self::UriTooLong => Row::new(S::URI_TOO_LONG, "URI_TOO_LONG", "The URL is longer than 8 KiB"),
            Self::HeadersTooLarge => Row::new(
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "HEADERS_TOO_LARGE",
                "The headers are larger than 32 KiB or more than 100",
            ),
            Self::ForeignHost => Row::new(
                S::MISDIRECTED_REQUEST,
                "FOREIGN_HOST",
                "This listener is on loopback and does not serve this host: use localhost, or list the host under \
                 `hosts` in [listeners] of the manifest",
            ),
            Self::UnsupportedCoding => Row::new(
                S::UNSUPPORTED_MEDIA_TYPE,
                "UNSUPPORTED_CONTENT_ENCODING",
                "Send the body as it is, without Content-Encoding",
            )
            .header(ACCEPT_ENCODING, "identity"),
            Self::MissingToken => {
                Row::new(S::UNAUTHORIZED, "MISSING_TOKEN", "Send an access token: Authorization: Bearer <token>")
                    .header(WWW_AUTHENTICATE, "Bearer")
            }
            Self::InvalidToken => Row::new(S::UNAUTHORIZED, "INVALID_TOKEN", "The token is invalid or has expired")
                .header(WWW_AUTHENTICATE, "Bearer"),
            Self::Forbidden => Row::new(S::FORBIDDEN, "FORBIDDEN", "Your role does not allow this"),
            Self::VersionForbidden => Row::new(
                S::FORBIDDEN,
                "VERSION_FORBIDDEN",
                "To ask for a revision, send the admin token in x-comptoir-admin-token",
            ),
            Self::VersionUnknown => Row::new(
                S::NOT_FOUND,
                "VERSION_NOT_FOUND",
                "No active revision and no canary has this name; a name looks like orders@0123456789ab",
            ),
            Self::BodyTooLarge(limit) => Row::new(
                S::PAYLOAD_TOO_LARGE,
                "BODY_TOO_LARGE",
                format!("The body is larger than the limit of {limit} bytes"),
            ),
            Self::BodyTooSlow => Row::new(S::REQUEST_TIMEOUT, "BODY_TOO_SLOW", "The body was not complete in time"),
            Self::Overloaded => {
                Row::new(S::SERVICE_UNAVAILABLE, "OVERLOADED", "The service is at its limit, try again shortly")
                    .header(RETRY_AFTER, "1")
            }
            Self::TooManyStreams => Row::new(
                S::SERVICE_UNAVAILABLE,
                "TOO_MANY_STREAMS",
                "Too many streams are open: close some, or try again shortly",
            )
            .header(RETRY_AFTER, "1"),
            Self::Vacant => {
                Row::new(S::SERVICE_UNAVAILABLE, "SERVICE_UNAVAILABLE", "The service has no active revision")
                    .header(RETRY_AFTER, "1")
            }
            Self::GuestFailed => Row::new(S::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "The service failed to answer"),
            Self::OutcomeUnknown => Row::new(
                S::SERVICE_UNAVAILABLE,
                "OUTCOME_UNKNOWN",
                "The database was lost while it made this change: look whether it was made before you repeat it",
            ),
            Self::GuestOutOfMemory => {
                Row::new(S::INTERNAL_SERVER_ERROR, "OUT_OF_MEMORY", "The service reached its memory limit")
            }
            Self::GuestTooSlow => {
                Row::new(S::GATEWAY_TIMEOUT, "DEADLINE_EXCEEDED", "The service did not answer in time")
            }
            Self::Internal => Row::new(S::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR", "The host failed to answer"),
        }
    }

    /// The response to this cause, in the envelope.
    pub fn to_response(&self, request_id: &str) -> Response<Body> {
        self.row().into_response(request_id)
    }
}

impl AdminError {
    /// The row of this cause.
    pub fn row(&self) -> Row {
        match self {
            Self::Common(error) => error.row(),
            Self::Deploy(error) => deploy_row(error),
            Self::Reload(error) => reload_row(error),
            Self::Keys(error) => keys_row(error),
            Self::KeyHasNoTag => Row::new(
                StatusCode::PRECONDITION_FAILED,
                "PRECONDITION_FAILED",
                "A key has no entity tag: send If-Match: * or leave it out",
            ),
            Self::ForeignOrigin => Row::new(
                StatusCode::FORBIDDEN,
                "FOREIGN_ORIGIN",
                "A page of another origin sent this request: only the console's own page may",
            ),
            Self::SessionEnded => {
                Row::new(StatusCode::UNAUTHORIZED, "SESSION_ENDED", "The console's session is over: sign in again")
            }
            Self::AuditBroken(why) => Row::new(StatusCode::CONFLICT, "AUDIT_BROKEN", why),
            Self::TooManyConsoles => Row::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "TOO_MANY_CONSOLES",
                "128 consoles listen to events already: close one",
            )
            .header(RETRY_AFTER, "5"),
            Self::NoTokens => Row::new(
                StatusCode::FORBIDDEN,
                "TOKENS_OFF",
                "This host issues no tokens to its operator. On a host for development, write `tokens = true` under \
                 [development] in the manifest, then run `comptoir reload`",
            ),
            Self::Token(error) => token_row(error),
            Self::Session(RevokeError::Invalid(which)) => {
                Row::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", format!("This is not the id of a session: {which}"))
            }
            Self::Session(RevokeError::Unavailable(cause)) => Row::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "SESSION_NOT_ENDED",
                format!("The end of the session is not on the disk, so a restart would forget it: {cause}. Try again"),
            ),
            Self::NoDatabase => Row::new(
                StatusCode::NOT_FOUND,
                "NO_DATABASE",
                "The service has no grant `storage`, so it has no database",
            ),
            Self::Database(StorageError::TimedOut) => Row::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "DATABASE_TOO_SLOW",
                "The page took longer than `statement_time`: ask for an earlier page",
            ),
            Self::Database(error) => {
                Row::new(StatusCode::SERVICE_UNAVAILABLE, "DATABASE_UNAVAILABLE", error.to_string())
            }
            Self::BackupRefused(why) => Row::new(StatusCode::CONFLICT, "BACKUP_REFUSED", why),
            Self::BackupFailed(why) => Row::new(StatusCode::SERVICE_UNAVAILABLE, "BACKUP_FAILED", why),
        }
    }

    /// The response to this cause, in the envelope.
    pub fn to_response(&self, request_id: &str) -> Response<Body> {
        self.row().into_response(request_id)
    }
}

fn deploy_row(error: &DeployError) -> Row {
    let (status, code) = match error {
        DeployError::UnknownService(_) => (StatusCode::NOT_FOUND, "UNKNOWN_SERVICE"),
        DeployError::Busy(_) => (StatusCode::CONFLICT, "DEPLOY_RUNNING"),
        DeployError::NothingBefore { .. } => (StatusCode::CONFLICT, "NOTHING_BEFORE"),
        DeployError::RolledBackFrom { .. } => (StatusCode::CONFLICT, "TARGET_NEEDED"),
        DeployError::Changed { .. } => (StatusCode::PRECONDITION_FAILED, "REVISION_CHANGED"),
        DeployError::Refused(refused) if refused.step == Step::Received => {
            (StatusCode::PAYLOAD_TOO_LARGE, "COMPONENT_TOO_LARGE")
        }
        DeployError::Refused(_) | DeployError::ChangedMigration(_) | DeployError::Crowded(_) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "DEPLOY_REFUSED")
        }
        DeployError::CanaryRunning(_) => (StatusCode::CONFLICT, "CANARY_RUNNING"),
        DeployError::SetRunning(_) => (StatusCode::CONFLICT, "SET_RUNNING"),
        DeployError::NoCanary => (StatusCode::CONFLICT, "NO_CANARY"),
        DeployError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "STOPPING"),
        DeployError::Record(_) => (StatusCode::SERVICE_UNAVAILABLE, "RECORD_UNAVAILABLE"),
    };
    let step = match error {
        DeployError::Refused(refused) | DeployError::ChangedMigration(refused) | DeployError::Crowded(refused) => {
            json!(refused.step)
        }
        _ => Value::Null,
    };
    Row { details: Some(json!({ "step": step })), ..Row::new(status, code, error.to_string()) }
}

fn reload_row(error: &ReloadError) -> Row {
    let code = match error {
        ReloadError::Manifest(_) => "MANIFEST_REFUSED",
        ReloadError::Unchangeable(_) => "RESTART_NEEDED",
        ReloadError::Unusable(_) => "RELOAD_REFUSED",
        // The component came from the manifest, not with the request.
        ReloadError::Deploy(error @ DeployError::Refused(_)) => {
            return Row { status: StatusCode::UNPROCESSABLE_ENTITY, code: "DEPLOY_REFUSED", ..deploy_row(error) };
        }
        ReloadError::Deploy(error) => return deploy_row(error),
    };
    Row::new(StatusCode::UNPROCESSABLE_ENTITY, code, error.to_string())
}

fn keys_row(error: &KeyChangeError) -> Row {
    let (status, code) = match error {
        KeyChangeError::Unknown(_) => (StatusCode::NOT_FOUND, "UNKNOWN_KEY"),
        KeyChangeError::TooMany { .. } => (StatusCode::CONFLICT, "TOO_MANY_KEYS"),
        KeyChangeError::NotMade(_)
        | KeyChangeError::NotKept(_)
        | KeyChangeError::NotShared(_)
        | KeyChangeError::NotRemoved { .. }
        | KeyChangeError::NotSynced { .. } => (StatusCode::SERVICE_UNAVAILABLE, "KEYS_UNAVAILABLE"),
    };
    Row::new(status, code, error.to_string())
}

fn token_row(error: &IssueError) -> Row {
    let (status, code) = match error {
        IssueError::Invalid(_) => (StatusCode::BAD_REQUEST, "BAD_REQUEST"),
        IssueError::SessionEnded | IssueError::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "KEYS_UNAVAILABLE"),
    };
    Row::new(status, code, error.to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::clock::Clock;
    use crate::deploy::{Record, Refused};
    use crate::manifest::ManifestError;

    fn shown(row: Row) -> String {
        let header = row.header.map(|(name, value)| format!(" {name}: {}", value.to_str().unwrap_or_default()));
        let details = row.details.map(|details| format!(" {details}"));
        format!("{} {}{}{}", row.status.as_u16(), row.code, header.unwrap_or_default(), details.unwrap_or_default())
    }

    #[test]
    fn each_cause_of_the_gateway_has_its_status_code_and_header() {
        let table: Vec<String> = Error::each().iter().map(|cause| shown(cause.row())).collect();
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
                "503 TOO_MANY_STREAMS retry-after: 1",
                "503 SERVICE_UNAVAILABLE retry-after: 1",
                "500 INTERNAL_ERROR",
                "503 OUTCOME_UNKNOWN",
                "500 OUT_OF_MEMORY",
                "504 DEADLINE_EXCEEDED",
                "500 INTERNAL_ERROR",
            ]
        );
    }

    #[test]
    fn each_cause_of_the_admin_listener_has_its_status_and_code() {
        let text = || "orders".to_owned();
        let refused = |step| Refused { service: text(), step, reason: text() };
        let record = Record::open(Path::new("/dev/null/no-folder"), Clock::default()).err().expect("it is no folder");
        let deploys = [
            (DeployError::UnknownService(text()), "404 UNKNOWN_SERVICE"),
            (DeployError::Busy(text()), "409 DEPLOY_RUNNING"),
            (DeployError::NothingBefore { service: text(), wanted: text() }, "409 NOTHING_BEFORE"),
            (DeployError::RolledBackFrom { service: text(), target: text() }, "409 TARGET_NEEDED"),
            (DeployError::Changed { service: text(), active: text() }, "412 REVISION_CHANGED"),
            (DeployError::CanaryRunning(text()), "409 CANARY_RUNNING"),
            (DeployError::SetRunning(text()), "409 SET_RUNNING"),
            (DeployError::NoCanary, "409 NO_CANARY"),
            (DeployError::Stopping, "503 STOPPING"),
            (DeployError::Record(record), "503 RECORD_UNAVAILABLE"),
        ];
        for (error, expected) in deploys {
            assert_eq!(shown(AdminError::from(error).row()), format!("{expected} {{\"step\":null}}"));
        }
        for (error, expected) in [
            (DeployError::Refused(refused(Step::Received)), r#"413 COMPONENT_TOO_LARGE {"step":"received"}"#),
            (DeployError::Refused(refused(Step::Probed)), r#"422 DEPLOY_REFUSED {"step":"probed"}"#),
            (DeployError::ChangedMigration(refused(Step::Migrated)), r#"422 DEPLOY_REFUSED {"step":"migrated"}"#),
            (DeployError::Crowded(refused(Step::Described)), r#"422 DEPLOY_REFUSED {"step":"described"}"#),
        ] {
            assert_eq!(shown(AdminError::from(error).row()), expected);
        }
        let manifest = || ManifestError { file: "shop.toml".into(), faults: Vec::new() };
        for (error, expected) in [
            (ReloadError::Manifest(manifest()), "422 MANIFEST_REFUSED"),
            (ReloadError::Unchangeable(manifest()), "422 RESTART_NEEDED"),
            (ReloadError::Unusable(text()), "422 RELOAD_REFUSED"),
            (DeployError::CanaryRunning(text()).into(), r#"409 CANARY_RUNNING {"step":null}"#),
            // The component came from the manifest, not with the request.
            (DeployError::from(refused(Step::Received)).into(), r#"422 DEPLOY_REFUSED {"step":"received"}"#),
        ] {
            assert_eq!(shown(AdminError::from(error).row()), expected);
        }
        let path = || "keys/1.pem".into();
        for (error, expected) in [
            (KeyChangeError::Unknown(text()), "404 UNKNOWN_KEY"),
            (KeyChangeError::TooMany { limit: 8 }, "409 TOO_MANY_KEYS"),
            (KeyChangeError::NotMade(text()), "503 KEYS_UNAVAILABLE"),
            (KeyChangeError::NotKept(text()), "503 KEYS_UNAVAILABLE"),
            (KeyChangeError::NotShared(text()), "503 KEYS_UNAVAILABLE"),
            (KeyChangeError::NotRemoved { path: path(), cause: text() }, "503 KEYS_UNAVAILABLE"),
            (KeyChangeError::NotSynced { path: path(), cause: text() }, "503 KEYS_UNAVAILABLE"),
        ] {
            assert_eq!(shown(AdminError::from(error).row()), expected);
        }
        for (error, expected) in [
            (IssueError::Invalid(text()), "400 BAD_REQUEST"),
            (IssueError::SessionEnded, "503 KEYS_UNAVAILABLE"),
            (IssueError::Unavailable(text()), "503 KEYS_UNAVAILABLE"),
        ] {
            assert_eq!(shown(AdminError::from(error).row()), expected);
        }
        assert_eq!(shown(AdminError::NoTokens.row()), "403 TOKENS_OFF");
        for (error, expected) in [
            (AdminError::Session(RevokeError::Invalid(text())), "400 BAD_REQUEST"),
            (AdminError::Session(RevokeError::Unavailable(text())), "503 SESSION_NOT_ENDED"),
            (AdminError::NoDatabase, "404 NO_DATABASE"),
            (AdminError::Database(StorageError::TimedOut), "503 DATABASE_TOO_SLOW"),
            (AdminError::Database(StorageError::Busy), "503 DATABASE_UNAVAILABLE"),
            (AdminError::BackupRefused(text()), "409 BACKUP_REFUSED"),
            (AdminError::BackupFailed(text()), "503 BACKUP_FAILED"),
        ] {
            assert_eq!(shown(error.row()), expected);
        }
        assert_eq!(shown(AdminError::KeyHasNoTag.row()), "412 PRECONDITION_FAILED");
        assert_eq!(shown(AdminError::ForeignOrigin.row()), "403 FOREIGN_ORIGIN");
        assert_eq!(shown(AdminError::SessionEnded.row()), "401 SESSION_ENDED");
        assert_eq!(shown(AdminError::AuditBroken(text()).row()), "409 AUDIT_BROKEN");
        assert_eq!(shown(AdminError::TooManyConsoles.row()), "503 TOO_MANY_CONSOLES retry-after: 5");
        assert_eq!(shown(AdminError::from(Error::NotFound).row()), "404 NOT_FOUND");
    }
}
