//! Who is calling, and whether they may. Knows no wasm and no HTTP status.
//!
//! The gate is the only place that makes an `Admitted`, and a revision answers nothing else: a request whose access was not
//! checked cannot reach a guest, because that does not compile. The gate also removes every header by which a client
//! could claim what only the host may say, and sets the host's own.

mod admin_token;

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;

use crate::route::{Access, Route};
use crate::tokens::{Claims, Tokens};

pub use admin_token::AdminToken;

/// The username of the caller.
pub const USER_ID: HeaderName = HeaderName::from_static("x-user-id");
/// The role of the caller.
pub const USER_ROLE: HeaderName = HeaderName::from_static("x-user-role");
/// The session of the caller, for services that were granted `tokens`.
pub const SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");
/// The address of the client.
pub const CLIENT_ADDRESS: HeaderName = HeaderName::from_static("x-client-address");
/// The service that calls, on internal routes.
pub const CALLER: HeaderName = HeaderName::from_static("x-comptoir-caller");
/// The id of the request, as in the log and in the answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A request whose route is known and whose access was checked.
#[derive(Debug)]
pub struct Admitted {
    route: Arc<Route>,
    head: Parts,
}

impl Admitted {
    /// The route that it asks for.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The id of the request.
    pub fn request_id(&self) -> Option<HeaderValue> {
        self.head.headers.get(REQUEST_ID).cloned()
    }

    /// Method, path and headers as the guest may see them.
    pub fn into_head(self) -> Parts {
        self.head
    }
}

/// Why a request may not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No token, an empty one or another scheme.
    MissingToken,
    /// The token is not good, for whatever reason.
    InvalidToken,
    /// The token is good, but its role is not enough.
    Forbidden,
}

/// What the host knows of a request beside its head.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The client's address; none for the host itself.
    pub client: Option<IpAddr>,
    /// The id that the host gave to the request.
    pub request_id: &'a str,
    /// Whether the service may see which session the caller's token belongs to.
    pub shows_session: bool,
}

/// Checks tokens against routes.
#[derive(Debug, Clone)]
pub struct Gate {
    tokens: Arc<Tokens>,
    admin_token: Arc<AdminToken>,
}

impl Gate {
    /// A gate that believes the tokens of one issuer, and one operator.
    pub fn new(tokens: Arc<Tokens>, admin_token: Arc<AdminToken>) -> Self {
        Self { tokens, admin_token }
    }

    /// Whether what somebody shows is the admin token.
    pub fn is_operator(&self, shown: &[u8]) -> bool {
        self.admin_token.matches(shown)
    }

    /// The user whose good token a request shows, if it shows one.
    pub fn caller(&self, headers: &HeaderMap) -> Option<String> {
        bearer(headers).ok().and_then(|token| self.tokens.verify(token)).map(|claims| claims.subject)
    }

    /// Lets a client's request pass to its route.
    ///
    /// # Errors
    /// `Refusal` when the route asks for more than the request shows.
    pub fn admit(&self, route: &Arc<Route>, mut head: Parts, origin: Origin<'_>) -> Result<Admitted, Refusal> {
        let claims = self.claims(route.access, &head.headers)?;
        strip(&mut head.headers);
        if let Some(claims) = &claims {
            identify(&mut head.headers, claims, origin.shows_session)?;
        }
        describe_origin(&mut head.headers, origin);
        Ok(Admitted { route: route.clone(), head })
    }

    /// Lets a call of another service, or of the host itself, pass to an internal route. The caller's name is set by the
    /// host, so it needs no token.
    ///
    /// # Errors
    /// `Refusal::Forbidden` for a route that is not internal.
    pub fn admit_call(
        &self,
        route: &Arc<Route>,
        caller: &str,
        mut head: Parts,
        origin: Origin<'_>,
    ) -> Result<Admitted, Refusal> {
        if route.access != Access::Internal {
            return Err(Refusal::Forbidden);
        }
        strip(&mut head.headers);
        head.headers.insert(CALLER, HeaderValue::from_str(caller).map_err(|_| Refusal::Forbidden)?);
        describe_origin(&mut head.headers, origin);
        Ok(Admitted { route: route.clone(), head })
    }

    /// Lets a probe of the host pass, as a user of that name or as nobody. A probe is made to a rehearsal, which can neither
    /// write nor call, so it is nobody's request.
    pub fn admit_probe(route: &Arc<Route>, mut head: Parts, caller: Option<&str>) -> Admitted {
        strip(&mut head.headers);
        if let Some(name) = caller.and_then(|name| HeaderValue::from_bytes(name.as_bytes()).ok()) {
            head.headers.insert(USER_ID, name);
            head.headers.insert(USER_ROLE, HeaderValue::from_static("user"));
        }
        Admitted { route: route.clone(), head }
    }

    fn claims(&self, access: Access, headers: &HeaderMap) -> Result<Option<Claims>, Refusal> {
        let token = bearer(headers);
        if access == Access::Public {
            return Ok(token.ok().and_then(|token| self.tokens.verify(token)));
        }
        let claims = self.tokens.verify(token?).ok_or(Refusal::InvalidToken)?;
        match access {
            Access::User => Ok(Some(claims)),
            Access::Admin if claims.role == "admin" => Ok(Some(claims)),
            _ => Err(Refusal::Forbidden),
        }
    }
}

/// The token of `Authorization: Bearer …` (RFC 6750, section 2.1). Two such headers are ambiguous, so they are no token.
fn bearer(headers: &HeaderMap) -> Result<&str, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or(Refusal::MissingToken)?;
    if values.next().is_some() {
        return Err(Refusal::InvalidToken);
    }
    let bytes = value.as_bytes();
    let scheme_ends = bytes.iter().position(|byte| *byte == b' ').ok_or(Refusal::MissingToken)?;
    let (scheme, token) = bytes.split_at(scheme_ends);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Refusal::MissingToken);
    }
    match token.trim_ascii() {
        [] => Err(Refusal::MissingToken),
        token => std::str::from_utf8(token).map_err(|_| Refusal::InvalidToken),
    }
}

/// Removes what only the host may say, and the credential itself: a guest has no use for it.
fn strip(headers: &mut HeaderMap) {
    let forgeable = |name: &HeaderName| {
        let name = name.as_str();
        name.starts_with("x-user-") || name.starts_with("x-comptoir-")
    };
    let forged: Vec<HeaderName> = headers.keys().filter(|name| forgeable(name)).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
    for name in [SESSION_ID, CLIENT_ADDRESS, REQUEST_ID, AUTHORIZATION] {
        headers.remove(name);
    }
}

/// A username is any text, so the header carries its UTF-8 bytes (obs-text, RFC 9110, section 5.5).
fn identify(headers: &mut HeaderMap, claims: &Claims, shows_session: bool) -> Result<(), Refusal> {
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).map_err(|_| Refusal::InvalidToken);
    headers.insert(USER_ID, value(&claims.subject)?);
    headers.insert(USER_ROLE, value(&claims.role)?);
    if shows_session {
        headers.insert(SESSION_ID, value(&claims.session)?);
    }
    Ok(())
}

fn describe_origin(headers: &mut HeaderMap, origin: Origin<'_>) {
    if let Some(client) = origin.client
        && let Ok(value) = HeaderValue::from_str(&client.to_canonical().to_string())
    {
        headers.insert(CLIENT_ADDRESS, value);
    }
    if let Ok(value) = HeaderValue::from_str(origin.request_id) {
        headers.insert(REQUEST_ID, value);
    }
}

#[cfg(test)]
mod tests;
