//! A request that the gate let pass: first without its body, then with it, then as its guest gets it.

use std::sync::Arc;

use hyper::header::{HeaderMap, HeaderValue, IF_NONE_MATCH};
use hyper::http::request::Parts;
use hyper::{Method, Uri};

use super::Refusal;
use super::streamed::guard;
use crate::audit::Source;
use crate::body::RequestBody;
use crate::head::{Origin, USER_ID, keep_for_route, remove_user, set_origin, set_probe_user, strip_mount};
use crate::route::{Access, Route};
use crate::telemetry::Parent;
use crate::tokens::Session;

/// A request that may pass once its body has arrived. Only the gate makes one.
#[derive(Debug)]
pub struct Pending {
    route: Arc<Route>,
    head: Parts,
    /// The URI before the mount was removed. None if nothing was removed.
    whole_uri: Option<Uri>,
    source: Source,
    if_none_match: Option<HeaderValue>,
    session: Option<Session>,
    trace_parent: Option<HeaderValue>,
    secure: bool,
}

impl Pending {
    pub(super) fn new(route: &Arc<Route>, mut head: Parts, origin: Origin<'_>) -> Self {
        let if_none_match = head.headers.get(IF_NONE_MATCH).cloned();
        keep_for_route(&mut head, route);
        let whole_uri = route.strip.is_some().then(|| head.uri.clone());
        strip_mount(&mut head, route);
        set_origin(&mut head.headers, route, origin);
        let (route, source) = (route.clone(), origin.source());
        let trace_parent = origin.trace_parent.cloned();
        Self { route, head, whole_uri, source, if_none_match, session: None, trace_parent, secure: origin.secure }
    }

    pub(super) fn headers(&mut self) -> &mut HeaderMap {
        &mut self.head.headers
    }

    pub(super) fn set_session(&mut self, session: Session) {
        self.session = Some(session);
    }

    /// Adds the body and checks the session again, because the body may have taken a while.
    ///
    /// The only way to make an [`Admitted`]. If the session has ended, a public route sees an anonymous caller. A body that streams has
    /// not arrived yet, so the session is checked again for each piece of it (`streamed`).
    ///
    /// # Errors
    /// `Refusal::InvalidToken` if the route needs a token and the session has ended, or its key was disabled.
    pub fn with_body(mut self, body: RequestBody) -> Result<Admitted, Refusal> {
        if self.session.as_ref().is_some_and(Session::has_ended) {
            if self.route.access != Access::Public {
                return Err(Refusal::InvalidToken);
            }
            self.session = None;
            remove_user(&mut self.head.headers);
        }
        let body = guard(body, &self.route, self.session.as_ref());
        Ok(Admitted { request: self, body, trace: Parent::default() })
    }
}

/// A request whose route is known, whose access was checked, and whose body has arrived or streams.
#[derive(Debug)]
pub struct Admitted {
    request: Pending,
    body: RequestBody,
    trace: Parent,
}

impl Admitted {
    /// The same request as a part of this trace.
    #[must_use]
    pub fn traced(self, trace: Parent) -> Self {
        Self { trace, ..self }
    }

    /// The span of the request, if it is sampled.
    pub fn trace(&self) -> &Parent {
        &self.trace
    }

    /// The route that the request asks for.
    pub fn route(&self) -> &Arc<Route> {
        &self.request.route
    }

    /// Method, path and headers as the guest sees them.
    pub fn head(&self) -> &Parts {
        &self.request.head
    }

    /// The body.
    pub fn body(&self) -> &RequestBody {
        &self.body
    }

    /// The session of the caller. None for an anonymous caller and for a call of another service.
    pub fn session(&self) -> Option<&Session> {
        self.request.session.as_ref()
    }

    /// The request's id and the client's address, for the audit log.
    pub fn source(&self) -> &Source {
        &self.request.source
    }

    /// The client's `traceparent`, if it is valid. The guest sees it only if its route reads it.
    pub fn trace_parent(&self) -> Option<&HeaderValue> {
        self.request.trace_parent.as_ref()
    }

    /// The client's `If-None-Match`. The guest sees it only if its route reads it.
    pub fn if_none_match(&self) -> Option<&HeaderValue> {
        self.request.if_none_match.as_ref()
    }

    /// Whether the client's connection uses TLS.
    pub fn is_secure(&self) -> bool {
        self.request.secure
    }

    /// What the audit log says about the request if its service refuses it.
    pub fn summary(&self) -> RequestSummary {
        let Pending { route, head, whole_uri, source, .. } = &self.request;
        RequestSummary {
            route: route.clone(),
            method: head.method.clone(),
            uri: whole_uri.as_ref().unwrap_or(&head.uri).clone(),
            caller: head.headers.get(USER_ID).cloned(),
            source: source.clone(),
        }
    }
}

/// A request as its audit log entry describes it.
#[derive(Debug)]
pub struct RequestSummary {
    pub(super) route: Arc<Route>,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) caller: Option<HeaderValue>,
    pub(super) source: Source,
}

impl RequestSummary {
    /// The name of the user whose token was accepted. None for an anonymous caller.
    pub fn caller(&self) -> Option<&HeaderValue> {
        self.caller.as_ref()
    }
}

/// A request that the host itself makes to test a revision.
///
/// A revision can only rehearse it. A rehearsal can neither write nor call, so the probe may name any user without a token.
#[derive(Debug)]
pub struct ProbeRequest {
    head: Parts,
    body: RequestBody,
}

impl ProbeRequest {
    /// A probe of a route. `caller` is the username that the guest sees, None for an anonymous caller.
    pub fn new(route: &Route, mut head: Parts, body: RequestBody, caller: Option<&str>) -> Self {
        keep_for_route(&mut head, route);
        if let Some(name) = caller {
            set_probe_user(&mut head.headers, name);
        }
        Self { head, body }
    }
}

/// A request in the form that a guest answers. Made only from an [`Admitted`] or a [`ProbeRequest`].
#[derive(Debug)]
pub struct GuestRequest {
    head: Parts,
    body: RequestBody,
    request_id: Option<Arc<str>>,
    secure: bool,
}

impl GuestRequest {
    /// Method, path and headers.
    pub fn head(&self) -> &Parts {
        &self.head
    }

    /// The body.
    pub fn body(&self) -> &RequestBody {
        &self.body
    }

    /// The id of the request. None for a probe.
    pub fn request_id(&self) -> Option<&Arc<str>> {
        self.request_id.as_ref()
    }

    /// Whether the client's connection uses TLS. False for a probe.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Head and body.
    pub fn into_parts(self) -> (Parts, RequestBody) {
        (self.head, self.body)
    }
}

impl From<Admitted> for GuestRequest {
    fn from(Admitted { request, body, .. }: Admitted) -> Self {
        Self { head: request.head, body, request_id: request.source.request_id, secure: request.secure }
    }
}

impl From<ProbeRequest> for GuestRequest {
    fn from(ProbeRequest { head, body }: ProbeRequest) -> Self {
        Self { head, body, request_id: None, secure: false }
    }
}
