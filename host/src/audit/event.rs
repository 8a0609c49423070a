//! The events of the audit log, their requests, and the reasons for refusals.

use std::net::IpAddr;
use std::sync::Arc;

use serde::Serialize;

/// A kind of event. The serialized names come from OWASP's logging vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Event {
    /// A user logged in.
    #[serde(rename = "authn_login_success")]
    LoginSuccess,
    /// A login failed: the name or the password was wrong.
    #[serde(rename = "authn_login_fail")]
    LoginFail,
    /// Logins to an account are locked for a while.
    /// Without a subject, logins from the client's network are locked.
    #[serde(rename = "authn_login_lock")]
    LoginLock,
    /// The host issued an access token.
    #[serde(rename = "authn_token_created")]
    TokenCreated,
    /// A session ended, and with it all of its tokens.
    #[serde(rename = "authn_token_revoked")]
    TokenRevoked,
    /// A client sent a refresh token that was used before.
    #[serde(rename = "authn_token_reuse")]
    TokenReuse,
    /// A user's password changed.
    #[serde(rename = "authn_password_change")]
    PasswordChange,
    /// The gate or a service refused a request.
    #[serde(rename = "authz_fail")]
    Refused,
    /// An administrator or the operator used a privilege.
    #[serde(rename = "authz_admin")]
    Administered,
    /// The host stopped.
    #[serde(rename = "sys_shutdown")]
    Stopped,
}

/// How many kinds of events exist.
pub(super) const EVENTS: usize = Event::Stopped as usize + 1;

/// Why a request was refused.
/// Each reason has a rate limit of its own, so no reason hides another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The access token was invalid.
    InvalidToken,
    /// The access token was valid, but its role may not use the route.
    Forbidden,
    /// The operator's token was wrong.
    NotOperator,
    /// The service refused the request itself.
    ByService,
}

/// How many reasons for a refusal exist.
pub(super) const REFUSALS: usize = Refused::ByService as usize + 1;

/// The request of an event.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// The request id, as in the access log.
    pub request_id: Option<Arc<str>>,
    /// The client's address. `None` if the request came from within the host.
    pub client: Option<IpAddr>,
}

/// An event with its details. The log cuts texts that are too long.
#[derive(Debug, Clone, Copy)]
pub struct Note<'a> {
    /// The kind of event.
    pub event: Event,
    /// The service, `host` or `operator`.
    pub by: &'a str,
    /// The request.
    pub source: &'a Source,
    /// The user who acted, or to whom it happened.
    pub subject: Option<&'a str>,
    /// The session's id.
    pub session: Option<&'a str>,
    /// Method and path of the request.
    pub asked: Option<&'a str>,
    /// The result of the action.
    pub result: Option<&'a str>,
}

impl<'a> Note<'a> {
    /// An event without details.
    pub fn new(event: Event, by: &'a str, source: &'a Source) -> Self {
        Self { event, by, source, subject: None, session: None, asked: None, result: None }
    }
}
