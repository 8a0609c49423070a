//! Who is calling, and whether they may. Knows no wasm and no HTTP status.
//!
//! The gate is the only place that makes an `Admitted`, and a revision answers nothing else: a request whose access was not
//! checked cannot reach a guest, because that does not compile. The gate also removes every header by which a client
//! could claim what only the host may say, and sets the host's own. Of a route that says which headers it reads it removes
//! all others too, with the authority of its address: what is left of the head is all that an answer can depend on.
//!
//! It tells the audit log whom it refuses in spite of a token, and what only an administrator may ask.

mod admin_token;

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
};
use hyper::http::request::Parts;
use hyper::{Method, Uri};

use crate::audit::{Audit, Event, Note, Refused, Source};
use crate::route::{Access, Route};
use crate::tokens::{Claims, Session, Tokens};

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
/// The trace that the request belongs to, where its client named one (W3C Trace Context).
pub const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// A request whose route is known and whose access was checked.
#[derive(Debug)]
pub struct Admitted {
    route: Arc<Route>,
    head: Parts,
    source: Source,
    unless: Option<HeaderValue>,
    session: Option<Session>,
    secure: bool,
}

impl Admitted {
    /// The route that it asks for.
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    /// The id of the request.
    pub fn request_id(&self) -> Option<&Arc<str>> {
        self.source.request_id.as_ref()
    }

    /// Where the request came from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// What the client has already, as it says in `If-None-Match`.
    pub fn unless(&self) -> Option<&HeaderValue> {
        self.unless.as_ref()
    }

    /// The session of its caller, if it has a caller.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Whether the client speaks TLS with the host.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The same once its body is there, which may have taken a while: as if it had come with its body at once.
    ///
    /// # Errors
    /// `Refusal::InvalidToken` where a token is needed and its session ended meanwhile, or its key was disabled.
    pub fn confirm(mut self) -> Result<Self, Refusal> {
        match &self.session {
            Some(session) if session.has_ended() && self.route.access == Access::Public => {
                self.session = None;
                for name in [USER_ID, USER_ROLE, SESSION_ID] {
                    self.head.headers.remove(name);
                }
                Ok(self)
            }
            Some(session) if session.has_ended() => Err(Refusal::InvalidToken),
            _ => Ok(self),
        }
    }

    /// Method, path and headers as the guest may see them.
    pub fn head(&self) -> &Parts {
        &self.head
    }

    /// What the audit log says of it where the service refuses it.
    pub fn asked(&self) -> Asked {
        let head = &self.head;
        Asked {
            route: self.route.clone(),
            target: (head.method.clone(), head.uri.clone()),
            caller: head.headers.get(USER_ID).cloned(),
            source: self.source.clone(),
        }
    }

    /// The same, for the guest.
    pub fn into_head(self) -> Parts {
        self.head
    }

    /// Takes from a request what its guest may not see, and says where it comes from to a guest that wants to know.
    fn new(route: &Arc<Route>, mut head: Parts, origin: Option<Origin<'_>>) -> Self {
        let unless = head.headers.get(IF_NONE_MATCH).cloned();
        match &route.headers {
            None => strip(&mut head.headers),
            Some(wanted) => narrow(&mut head, wanted),
        }
        if let Some(origin) = origin {
            describe_origin(&mut head.headers, route, origin);
        }
        let source = origin.map(Origin::source).unwrap_or_default();
        let secure = origin.is_some_and(|origin| origin.secure);
        Self { route: route.clone(), head, source, unless, session: None, secure }
    }
}

/// Who asks for what.
#[derive(Debug)]
pub struct Asked {
    route: Arc<Route>,
    target: (Method, Uri),
    caller: Option<HeaderValue>,
    source: Source,
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
    pub request_id: &'a Arc<str>,
    /// The `traceparent` that came with it, if that was valid.
    pub trace_parent: Option<&'a HeaderValue>,
    /// Whether the service may see which session the caller's token belongs to.
    pub shows_session: bool,
    /// Whether the client speaks TLS with the host.
    pub secure: bool,
}

impl Origin<'_> {
    fn source(self) -> Source {
        Source { request_id: Some(self.request_id.clone()), client: self.client }
    }
}

/// Checks tokens against routes.
#[derive(Debug, Clone)]
pub struct Gate {
    tokens: Arc<Tokens>,
    admin_token: Arc<AdminToken>,
    audit: Arc<Audit>,
}

impl Gate {
    /// A gate that believes the tokens of one issuer, and one operator.
    pub fn new(tokens: Arc<Tokens>, admin_token: Arc<AdminToken>, audit: Arc<Audit>) -> Self {
        Self { tokens, admin_token, audit }
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
    pub fn admit(&self, route: &Arc<Route>, head: Parts, origin: Origin<'_>) -> Result<Admitted, Refusal> {
        let claims = self.claims(route.access, &head.headers);
        let claims = claims.inspect_err(|refusal| self.tell_refusal(*refusal, route, &head, origin))?;
        if let Some(claims) = claims.as_ref().filter(|_| route.access == Access::Admin) {
            let (source, asked) = (origin.source(), asked(&head.method, &head.uri));
            let note = Note::new(Event::Administered, &route.service, &source);
            self.audit.tell(&Note { subject: Some(&claims.subject), asked: Some(&asked), ..note });
        }
        let mut admitted = Admitted::new(route, head, Some(origin));
        if let Some(claims) = &claims {
            identify(&mut admitted.head.headers, claims, origin.shows_session)?;
            admitted.session = Some(Session::of(claims, &self.tokens));
        }
        Ok(admitted)
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
        head: Parts,
        origin: Origin<'_>,
    ) -> Result<Admitted, Refusal> {
        if route.access != Access::Internal {
            return Err(Refusal::Forbidden);
        }
        let mut admitted = Admitted::new(route, head, Some(origin));
        let caller = HeaderValue::from_str(caller).map_err(|_| Refusal::Forbidden)?;
        admitted.head.headers.insert(CALLER, caller);
        Ok(admitted)
    }

    /// Lets a probe of the host pass, as a user of that name or as nobody. A probe is made to a rehearsal, which can neither
    /// write nor call, so it is nobody's request.
    pub fn admit_probe(route: &Arc<Route>, head: Parts, caller: Option<&str>) -> Admitted {
        let mut admitted = Admitted::new(route, head, None);
        if let Some(name) = caller.and_then(|name| HeaderValue::from_bytes(name.as_bytes()).ok()) {
            admitted.head.headers.insert(USER_ID, name);
            admitted.head.headers.insert(USER_ROLE, HeaderValue::from_static("user"));
        }
        admitted
    }

    /// Tells whom a service refused itself what the gate had let pass.
    pub fn tell_refusal_of_service(&self, of: &Asked) {
        let asked = asked(&of.target.0, &of.target.1);
        let caller = of.caller.as_ref().map(|caller| String::from_utf8_lossy(caller.as_bytes()));
        let note = Note::new(Event::Refused, &of.route.service, &of.source);
        let note = Note { subject: caller.as_deref(), asked: Some(&asked), ..note };
        self.audit.refuse(Refused::ByService, &Note { result: Some("forbidden by the service"), ..note });
    }

    /// Tells whom a token did not help. To have none is no offence.
    fn tell_refusal(&self, refusal: Refusal, route: &Route, head: &Parts, origin: Origin<'_>) {
        let (why, result) = match refusal {
            Refusal::MissingToken => return,
            Refusal::InvalidToken => (Refused::InvalidToken, "invalid token"),
            Refusal::Forbidden => (Refused::Forbidden, "forbidden"),
        };
        let (source, asked, caller) = (origin.source(), asked(&head.method, &head.uri), self.caller(&head.headers));
        let note = Note::new(Event::Refused, &route.service, &source);
        self.audit.refuse(why, &Note { subject: caller.as_deref(), asked: Some(&asked), result: Some(result), ..note });
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

/// Method and path, without the query.
fn asked(method: &Method, target: &Uri) -> String {
    format!("{method} {}", target.path())
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

/// What the host says of a request's origin, to routes that read it.
const OF_ORIGIN: [HeaderName; 3] = [CLIENT_ADDRESS, REQUEST_ID, TRACE_PARENT];

/// Removes what only the host may say, and the credential itself: a guest has no use for it.
fn strip(headers: &mut HeaderMap) {
    let forged: Vec<HeaderName> = headers.keys().filter(|name| is_reserved(name)).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
    for name in OF_ORIGIN {
        headers.remove(name);
    }
}

/// Whether a header is one that no client can send to a guest, and no route can ask for.
pub fn is_reserved(name: &HeaderName) -> bool {
    let text = name.as_str();
    text.starts_with("x-user-") || text.starts_with("x-comptoir-") || name == SESSION_ID || name == AUTHORIZATION
}

/// Leaves of a head its method, its path and query, and the headers that its route reads; what a body is, too, where the
/// method is one that has bodies.
fn narrow(head: &mut Parts, wanted: &[HeaderName]) {
    let sent = std::mem::take(&mut head.headers);
    let of_body = match head.method {
        Method::GET | Method::HEAD => &[][..],
        _ => &[CONTENT_TYPE, CONTENT_LENGTH],
    };
    for name in of_body.iter().filter(|name| !wanted.contains(name)).chain(wanted) {
        for value in sent.get_all(name).iter().filter(|_| !OF_ORIGIN.contains(name)) {
            head.headers.append(name, value.clone());
        }
    }
    if let Some(authority) = head.uri.authority() {
        // How HTTP/2 says `Host`.
        if wanted.contains(&HOST)
            && !head.headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            head.headers.insert(HOST, host);
        }
        head.uri = head.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
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

/// The client's address, the request's id and its trace, for a route that reads them.
fn describe_origin(headers: &mut HeaderMap, route: &Route, origin: Origin<'_>) {
    let reads = |name| route.headers.as_ref().is_none_or(|wanted| wanted.contains(&name));
    if reads(CLIENT_ADDRESS)
        && let Some(client) = origin.client
        && let Ok(value) = HeaderValue::from_str(&client.to_canonical().to_string())
    {
        headers.insert(CLIENT_ADDRESS, value);
    }
    if reads(REQUEST_ID)
        && let Ok(value) = HeaderValue::from_str(origin.request_id)
    {
        headers.insert(REQUEST_ID, value);
    }
    if reads(TRACE_PARENT)
        && let Some(value) = origin.trace_parent
    {
        headers.insert(TRACE_PARENT, value.clone());
    }
}

#[cfg(test)]
mod tests;
