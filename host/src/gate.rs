//! Who is calling, and whether they may. Knows no wasm and no HTTP status.
//!
//! [`Gate::admit`] checks a request's token against its route and returns [`Pending`]. [`Pending::with_body`] checks the session
//! again and returns [`Admitted`]. While a body streams, each of its pieces is checked too (`streamed`). A revision answers nothing else, so a request without these checks cannot reach a guest: that
//! does not compile. The host's own probes are a [`ProbeRequest`], which a revision can only rehearse.
//!
//! The audit log gets each refusal of a request that showed a token, and each request to a route for administrators.

mod admin_token;
mod admitted;
mod credential;
mod streamed;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Uri};

use crate::audit::{Audit, Event, Note, Refused};
use crate::head::{set_caller, set_credential, set_user};
use crate::route::{Access, Route};
use crate::tokens::{Claims, Session, Tokens};

pub use crate::head::Origin;
pub use admin_token::{AdminToken, proof};
pub use admitted::{Admitted, GuestRequest, Pending, ProbeRequest, RequestSummary};

/// Why a request may not pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no token: no `Authorization`, an empty one or another scheme than `Bearer`.
    MissingToken,
    /// The token is invalid, expired or revoked.
    InvalidToken,
    /// The token is valid, but its role is not enough.
    Forbidden,
}

/// Checks tokens against routes.
#[derive(Debug, Clone)]
pub struct Gate {
    tokens: Arc<Tokens>,
    admin_token: Arc<AdminToken>,
    audit: Arc<Audit>,
}

impl Gate {
    /// A gate that accepts the tokens of one issuer, and one admin token.
    pub fn new(tokens: Arc<Tokens>, admin_token: Arc<AdminToken>, audit: Arc<Audit>) -> Self {
        Self { tokens, admin_token, audit }
    }

    /// Whether a credential is the admin token.
    pub fn is_operator(&self, credential: &[u8]) -> bool {
        self.admin_token.matches(credential)
    }

    /// Proves that this host knows the admin token: see [`proof`].
    pub fn prove(&self, nonce: &str, address: SocketAddr) -> String {
        self.admin_token.proof(nonce, address)
    }

    /// The username of the caller, if the request carries a valid token.
    pub fn caller(&self, headers: &HeaderMap) -> Option<String> {
        bearer(headers).ok().and_then(|token| self.tokens.verify(token)).map(|claims| claims.subject)
    }

    /// Checks whether a client's request may pass to its route, and prepares its head for the guest.
    ///
    /// # Errors
    /// `Refusal` if the route asks for more than the request shows.
    pub fn admit(&self, route: &Arc<Route>, head: Parts, origin: Origin<'_>) -> Result<Pending, Refusal> {
        let claims = self.claims(route.access, &head.headers);
        let claims = claims.inspect_err(|refusal| self.audit_refusal(*refusal, route, &head, origin))?;
        if let Some(claims) = claims.as_ref().filter(|_| route.access == Access::Admin) {
            let (source, target) = (origin.source(), target(&head.method, &head.uri));
            let note = Note::new(Event::Administered, &route.service, &source);
            self.audit.tell(&Note { subject: Some(&claims.subject), asked: Some(&target), ..note });
        }
        let credential = self.guests_credential(route, &head.headers);
        let mut pending = Pending::new(route, head, origin);
        if let Some(credential) = credential {
            set_credential(pending.headers(), credential);
        }
        if let Some(claims) = &claims {
            set_user(pending.headers(), claims, origin.shows_session).map_err(|_| Refusal::InvalidToken)?;
            pending.set_session(Session::of(claims, &self.tokens));
        }
        Ok(pending)
    }

    /// Lets a call pass to an internal route. The caller is another service or the host itself.
    ///
    /// It needs no token, because the host sets the caller's name.
    ///
    /// # Errors
    /// `Refusal::Forbidden` if the route is not internal.
    pub fn admit_call(
        &self,
        route: &Arc<Route>,
        caller: &str,
        head: Parts,
        origin: Origin<'_>,
    ) -> Result<Pending, Refusal> {
        if route.access != Access::Internal {
            return Err(Refusal::Forbidden);
        }
        let mut pending = Pending::new(route, head, origin);
        set_caller(pending.headers(), caller).map_err(|_| Refusal::Forbidden)?;
        Ok(pending)
    }

    /// Audits that the service itself answered 403 to a request that the gate had admitted.
    pub fn audit_refusal_by_service(&self, request: &RequestSummary) {
        let target = target(&request.method, &request.uri);
        let caller = request.caller.as_ref().map(|caller| String::from_utf8_lossy(caller.as_bytes()));
        let note = Note::new(Event::Refused, &request.route.service, &request.source);
        let note = Note { subject: caller.as_deref(), asked: Some(&target), ..note };
        self.audit.refuse(Refused::ByService, &Note { result: Some("forbidden by the service"), ..note });
    }

    /// The credential for a guest that guards itself.
    ///
    /// None if it holds the admin token or a valid access token, because with one a guest could act as its owner. None for two
    /// credentials: the host and the guest might each look at another one.
    fn guests_credential(&self, route: &Route, headers: &HeaderMap) -> Option<HeaderValue> {
        let mut sent = headers.get_all(AUTHORIZATION).iter().filter(|_| route.passes_credentials);
        let credential = sent.next()?;
        let is_own = |text: &[u8]| {
            self.is_operator(text) || std::str::from_utf8(text).is_ok_and(|token| self.tokens.verify(token).is_some())
        };
        (sent.next().is_none() && !credential::holds(credential.as_bytes(), is_own)).then(|| credential.clone())
    }

    /// Audits a refusal. A request without a token is not suspicious, so it is not audited.
    fn audit_refusal(&self, refusal: Refusal, route: &Route, head: &Parts, origin: Origin<'_>) {
        let (why, result) = match refusal {
            Refusal::MissingToken => return,
            Refusal::InvalidToken => (Refused::InvalidToken, "invalid token"),
            Refusal::Forbidden => (Refused::Forbidden, "forbidden"),
        };
        let (source, target, caller) = (origin.source(), target(&head.method, &head.uri), self.caller(&head.headers));
        let note = Note::new(Event::Refused, &route.service, &source);
        let note = Note { subject: caller.as_deref(), asked: Some(&target), result: Some(result), ..note };
        self.audit.refuse(why, &note);
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

/// Method and path for the audit log, without the query, which may hold a secret.
fn target(method: &Method, uri: &Uri) -> String {
    format!("{method} {}", uri.path())
}

/// The token of `Authorization: Bearer …` (RFC 6750, section 2.1). Two such fields are ambiguous, so they are refused.
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

#[cfg(test)]
mod tests;
