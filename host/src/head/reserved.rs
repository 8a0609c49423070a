//! The fields that a guest sees: those that its route reads, and those that only the host may set.

use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue,
};
use hyper::http::request::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Method, Uri};

use crate::audit::Source;
use crate::route::Route;
use crate::tokens::Claims;

/// The username of the caller.
pub const USER_ID: HeaderName = HeaderName::from_static("x-user-id");
/// The role of the caller.
pub const USER_ROLE: HeaderName = HeaderName::from_static("x-user-role");
/// The session of the caller. Only services with the grant `tokens` see it.
pub const SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");
/// The IP address of the client.
pub const CLIENT_ADDRESS: HeaderName = HeaderName::from_static("x-client-address");
/// The service that makes a call to an internal route.
pub const CALLER: HeaderName = HeaderName::from_static("x-comptoir-caller");
/// The id of the request, the same in the log and in the response.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The distributed trace that the client's request belongs to (W3C Trace Context).
pub const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// The mount that the host removed from the path. Only services with `strip` see it.
pub const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// The fields that describe a request's origin. Only routes that read them get them, and only from the host.
const ORIGIN_FIELDS: [HeaderName; 4] = [CLIENT_ADDRESS, REQUEST_ID, TRACE_PARENT, FORWARDED_PREFIX];

/// What the host knows about a request besides its head.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// The client's address. None if the host itself makes the request.
    pub client: Option<IpAddr>,
    /// The id that the host gave to the request.
    pub request_id: &'a Arc<str>,
    /// The client's `traceparent`, if it is valid.
    pub trace_parent: Option<&'a HeaderValue>,
    /// Whether the service may see the session of the caller's token.
    pub shows_session: bool,
    /// Whether the client's connection uses TLS.
    pub secure: bool,
}

impl Origin<'_> {
    /// The request's id and the client's address, for the audit log.
    pub fn source(self) -> Source {
        Source { request_id: Some(self.request_id.clone()), client: self.client }
    }
}

/// Whether only the host may set a field. No client can send it to a guest, and no route can ask for it.
pub fn is_reserved(name: &HeaderName) -> bool {
    let text = name.as_str();
    text.starts_with("x-user-") || text.starts_with("x-comptoir-") || name == SESSION_ID || name == AUTHORIZATION
}

/// Removes all fields that the guest must not see.
///
/// A route that lists the fields it reads gets only those. Any other route gets all but the reserved ones. The credential is
/// removed too, because most guests have no use for it. [`set_credential`] gives it back to a guest that has.
pub fn keep_for_route(head: &mut Parts, route: &Route) {
    match &route.headers {
        None => remove_reserved(&mut head.headers),
        Some(wanted) => narrow(head, wanted),
    }
}

/// Removes all trailers that the guest must not see, as [`keep_for_route`] does for the head.
pub fn keep_trailers_for_route(trailers: &mut HeaderMap, route: &Route) {
    let is_wanted = |name: &HeaderName| route.headers.as_ref().is_none_or(|wanted| wanted.contains(name));
    let hidden = |name: &HeaderName| is_reserved(name) || ORIGIN_FIELDS.contains(name) || !is_wanted(name);
    let hidden: Vec<HeaderName> = trailers.keys().filter(|name| hidden(name)).cloned().collect();
    for name in hidden {
        trailers.remove(name);
    }
}

fn remove_reserved(headers: &mut HeaderMap) {
    let forged: Vec<HeaderName> = headers.keys().filter(|name| is_reserved(name)).cloned().collect();
    for name in forged.into_iter().chain(ORIGIN_FIELDS) {
        headers.remove(name);
    }
}

/// Keeps the method, path and query, and the fields that the route reads. A method with a body also keeps what describes the
/// body.
///
/// The authority of the URI goes too. What is left is everything that a response can depend on.
fn narrow(head: &mut Parts, wanted: &[HeaderName]) {
    let sent = std::mem::take(&mut head.headers);
    let of_body = match head.method {
        Method::GET | Method::HEAD => &[][..],
        _ => &[CONTENT_TYPE, CONTENT_LENGTH],
    };
    for name in of_body.iter().filter(|name| !wanted.contains(name)).chain(wanted) {
        for value in sent.get_all(name).iter().filter(|_| !ORIGIN_FIELDS.contains(name) && name != AUTHORIZATION) {
            head.headers.append(name, value.clone());
        }
    }
    if let Some(authority) = head.uri.authority() {
        // HTTP/2 names the host in `:authority` instead of `Host`.
        if wanted.contains(&HOST)
            && !head.headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(authority.as_str())
        {
            head.headers.insert(HOST, host);
        }
        head.uri = head.uri.path_and_query().cloned().map(Uri::from).unwrap_or_default();
    }
}

/// Sets the client's address, the request's id and its trace, each only if the route reads it.
pub fn set_origin(headers: &mut HeaderMap, route: &Route, origin: Origin<'_>) {
    let reads = |name| reads(route, &name);
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

fn reads(route: &Route, name: &HeaderName) -> bool {
    route.headers.as_ref().is_none_or(|wanted| wanted.contains(name))
}

/// Removes the mount from the path if the route says so, and names it in `x-forwarded-prefix` if the route reads that.
///
/// The rest of the path never begins with two slashes, because `RouteTable::find` finds no route for such a path.
pub fn strip_mount(head: &mut Parts, route: &Route) {
    let Some(mount) = &route.strip else { return };
    let Some(below) = head.uri.path().strip_prefix(&**mount) else { return };
    let path = if below.is_empty() { "/" } else { below };
    let target = head.uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = head.uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).expect("a part of a valid target is valid"));
    head.uri = Uri::from_parts(parts).expect("only the path has changed");
    if reads(route, &FORWARDED_PREFIX)
        && let Ok(mount) = HeaderValue::from_str(mount)
    {
        head.headers.insert(FORWARDED_PREFIX, mount);
    }
}

/// Gives the guest the client's credential, which never appears in debug output.
pub fn set_credential(headers: &mut HeaderMap, mut credential: HeaderValue) {
    credential.set_sensitive(true);
    headers.insert(AUTHORIZATION, credential);
}

/// Sets who calls. A username is any text, so the field carries its UTF-8 bytes (obs-text, RFC 9110, section 5.5).
///
/// # Errors
/// If a claim contains a control character, which no field can carry.
pub fn set_user(headers: &mut HeaderMap, claims: &Claims, shows_session: bool) -> Result<(), InvalidHeaderValue> {
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes());
    headers.insert(USER_ID, value(&claims.subject)?);
    headers.insert(USER_ROLE, value(&claims.role)?);
    if shows_session {
        headers.insert(SESSION_ID, value(&claims.session)?);
    }
    Ok(())
}

/// Sets who calls in a probe: a username with the role `user`. A name that no field can carry is left out.
pub fn set_probe_user(headers: &mut HeaderMap, name: &str) {
    if let Ok(name) = HeaderValue::from_bytes(name.as_bytes()) {
        headers.insert(USER_ID, name);
        headers.insert(USER_ROLE, HeaderValue::from_static("user"));
    }
}

/// Removes who calls: the request becomes an anonymous caller's.
pub fn remove_user(headers: &mut HeaderMap) {
    for name in [USER_ID, USER_ROLE, SESSION_ID] {
        headers.remove(name);
    }
}

/// Sets the service that makes a call.
///
/// # Errors
/// If the name contains a control character, which no field can carry.
pub fn set_caller(headers: &mut HeaderMap, service: &str) -> Result<(), InvalidHeaderValue> {
    headers.insert(CALLER, HeaderValue::from_str(service)?);
    Ok(())
}
