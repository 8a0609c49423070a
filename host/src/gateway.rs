//! The way of a request: route, gate, revision, answer.
//!
//! Each request takes one deployment, everybody's or the canary's, and keeps it to the end, through the calls that its guest makes
//! to other services, so that it never meets two versions of a service.

mod choose;
mod compression;
mod cors;
mod envelope;
mod head;
mod health;
mod hosts;
mod openapi;
mod own;
mod peers;
mod request_id;
mod trace;
mod trace_parent;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use hyper::body::Body as _;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use crate::body::{self, Arriving, Body, RequestBody, full};
use crate::deploy::{Deployment, Served, Serving};
use crate::error::Error;
use crate::gate::{Gate, Origin, REQUEST_ID};
use crate::manifest::{Grant, Manifest};
use crate::revision::Answer;
use crate::route::{NoRoute, Route, RouteTable};
use crate::shares::Arrival;
use crate::telemetry::Metrics;

use compression::Wish;
use cors::Cors;
pub use head::normalise;
pub use hosts::Hosts;
use hosts::LoopbackDoors;
use own::Own;
use peers::PeerCalls;
pub use request_id::RequestIds;
use trace::Trace;
use trace_parent::TraceParent;

/// Names the revision that answered.
pub const REVISION: HeaderName = HeaderName::from_static("x-comptoir-revision");

/// What a page may send to a component that takes every method, and what the server as a whole answers.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Which listener a request came in by.
#[derive(Debug, Clone)]
pub enum Door {
    /// The routes of all services.
    Gateway,
    /// One service's own listener.
    Service(Arc<str>),
}

/// Answers requests.
pub struct Gateway {
    serving: Arc<ArcSwap<Serving>>,
    gate: Gate,
    ids: RequestIds,
    metrics: Arc<Metrics>,
    cors: Cors,
    doors: LoopbackDoors,
    /// Whether its listeners speak TLS.
    secure: bool,
}

/// Why a request ended early, with what the log should say beside the answer.
struct Stop {
    error: Error,
    cause: Option<String>,
    output: Option<String>,
}

impl<E: Into<Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self { error: error.into(), cause: None, output: None }
    }
}

impl Gateway {
    /// A gateway onto whatever the pointer names at the time of each request, on the listeners of this manifest.
    pub fn new(serving: Arc<ArcSwap<Serving>>, gate: Gate, metrics: Arc<Metrics>, manifest: &Manifest) -> Self {
        let ids = RequestIds::default();
        let listeners = &manifest.listeners;
        let (cors, doors) = (Cors::new(&listeners.cors, &listeners.cors_headers), LoopbackDoors::new(manifest));
        Self { serving, gate, ids, metrics, cors, doors, secure: listeners.tls.is_some() }
    }

    /// Answers one request, whatever happens on the way. Every answer names the request and, if one answered, the revision.
    pub async fn handle(self: &Arc<Self>, door: &Door, arrival: Arrival, request: Request<Arriving>) -> Response<Body> {
        let id = self.ids.of(request.headers());
        let (mut head, body) = request.into_parts();
        let readable = normalise(&mut head);
        let (is_head, page) = (head.method == Method::HEAD, self.cors.page(&head.method, &head.headers));
        let mut trace = Trace::new(&self.metrics, &id, &head, arrival.client.address());
        trace.parent = TraceParent::of(&head.headers);
        let answered = async {
            readable?;
            self.answer(door, &arrival, &id, head, body, &mut trace).await
        };
        let answered = AssertUnwindSafe(answered).catch_unwind().await;
        let answered = answered.unwrap_or_else(|_| {
            trace.cause = Some("the host panicked: the message is on its stderr".to_owned());
            Err(Error::Internal.into())
        });
        let mut response = answered.unwrap_or_else(|stop: Stop| {
            trace.cause = stop.cause.or(trace.cause.take());
            trace.output = stop.output.or(trace.output.take());
            stop.error.to_response(&id)
        });
        finish(&mut response, &id, trace.revision.as_ref());
        self.cors.tell(page, &mut response);
        trace.status = Some(response.status());
        if is_head { without_body(response) } else { response }
    }

    async fn answer(
        self: &Arc<Self>,
        door: &Door,
        arrival: &Arrival,
        id: &Arc<str>,
        mut head: Parts,
        body: Arriving,
        trace: &mut Trace,
    ) -> Result<Response<Body>, Stop> {
        let client = arrival.client.address();
        if !arrival.has_room {
            return Err(Error::Overloaded.into());
        }
        self.doors.check(door, &head)?;
        if head::is_about_server(&head) {
            return Ok(options(METHODS));
        }
        let deployment = self.choose(&head.headers, client)?;
        if let (Door::Gateway, Some(own)) = (door, Own::at(head.uri.path())) {
            return Ok(self.answer_own(own, &deployment, id, &head).await?);
        }
        let table = match door {
            Door::Gateway => Some(deployment.gateway()),
            Door::Service(service) => deployment.door(service),
        };
        let route = match find(table, &head) {
            Err(NoRoute::Options(allow)) => return Ok(cors::reading(options(&allow), table, &head)),
            // A guest that takes every method is not asked either: a browser sends no token yet.
            Ok(_) if self.cors.page(&head.method, &head.headers).is_preflight => return Ok(options(METHODS)),
            found => found?,
        };
        trace.route = Some(route.clone());
        let served = deployment.services().get(&route.service).ok_or(Error::Vacant)?;
        trace.revision = Some(served.revision.label().clone());
        let parent = trace.parent.as_ref();
        let origin = Origin {
            client: Some(client),
            request_id: id,
            trace_parent: parent.map(TraceParent::header),
            shows_session: served.grants.contains(&Grant::Tokens),
            secure: self.secure,
        };
        let wish = (!served.grants.contains(&Grant::Tokens)).then(|| Wish::of(&mut head.headers));
        let readable = check_coding(&route, &head.headers, &body);
        let admitted = self.gate.admit(&route, head, origin)?;
        readable?;
        let limits = served.revision.limits();
        let body = body::read(body, limits.body_bytes, limits.time).await.map_err(|refusal| Stop {
            cause: Some(format!("the request's body: {refusal:?}")),
            ..Stop::from(refusal)
        })?;
        let peers = self.peers(&deployment, served, id, parent, 0);
        let admitted = admitted.confirm()?;
        let asked = admitted.asked();
        let answer = served.revision.answer(admitted, body, peers).await;
        let Answer { response, output, excuse } = answer.map_err(|failure| Stop {
            error: Error::from(&failure),
            cause: Some(failure.cause),
            output: failure.output,
        })?;
        (trace.output, trace.cause) = (output, excuse);
        if response.status() == StatusCode::FORBIDDEN {
            self.gate.tell_refusal_of_service(&asked);
        }
        let response = envelope::name_request(response, id).await.map_err(|error| Stop {
            cause: Some(format!("the answer's body: {error}")),
            ..Stop::from(Error::Internal)
        })?;
        match wish {
            Some(wish) => wish.grant(response).await.map_err(|error| Stop {
                cause: Some(format!("the answer was not compressed: {error}")),
                ..Stop::from(Error::Internal)
            }),
            None => Ok(response),
        }
    }

    /// The way to other services, for a guest whose service may call any.
    fn peers(
        self: &Arc<Self>,
        deployment: &Arc<Deployment>,
        served: &Served,
        id: &Arc<str>,
        parent: Option<&TraceParent>,
        depth: u8,
    ) -> Option<Box<dyn crate::guest::Peers>> {
        if served.calls.is_empty() {
            return None;
        }
        Some(Box::new(PeerCalls {
            gateway: self.clone(),
            deployment: deployment.clone(),
            caller: served.revision.service().into(),
            request_id: id.clone(),
            trace_parent: parent.cloned(),
            depth,
        }))
    }
}

fn find(table: Option<&RouteTable>, head: &Parts) -> Result<Arc<Route>, NoRoute> {
    table.ok_or(NoRoute::Path)?.find(&head.method, head.uri.path()).cloned()
}

/// Refuses a body in a coding that the component would not undo (RFC 9110, section 8.4; RFC 7694): a component whose route describes
/// its headers, and not this one, takes every body as it is.
fn check_coding(route: &Route, headers: &HeaderMap, body: &Arriving) -> Result<(), Error> {
    let reads_coding = route.headers.as_ref().is_none_or(|read| read.contains(&CONTENT_ENCODING));
    if reads_coding || body.is_end_stream() { Ok(()) } else { refuse_codings(headers) }
}

/// Refuses every coding of a body but `identity`.
///
/// # Errors
/// `Error::UnsupportedCoding`.
pub fn refuse_codings(headers: &HeaderMap) -> Result<(), Error> {
    let values =
        headers.get_all(CONTENT_ENCODING).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let is_plain = |coding: &[u8]| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity");
    if values.map(<[u8]>::trim_ascii).all(is_plain) { Ok(()) } else { Err(Error::UnsupportedCoding) }
}

fn options(allow: &str) -> Response<Body> {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let Ok(allow) = HeaderValue::from_str(allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// What every answer carries. Nothing is stored by a cache unless the guest says that it may.
fn finish(response: &mut Response<Body>, id: &str, revision: Option<&HeaderValue>) {
    let headers = response.headers_mut();
    headers.remove(REVISION);
    if let Some(revision) = revision {
        headers.insert(REVISION, revision.clone());
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// The answer to `HEAD`: the headers of `GET`, with the length that its body would have (RFC 9110, section 9.3.2).
fn without_body(mut response: Response<Body>) -> Response<Body> {
    // An answer 304 has no body for GET either.
    if response.status() != StatusCode::NOT_MODIFIED
        && let Some(length) = response.body().size_hint().exact()
    {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.map(|_| full(""))
}

/// A body that the host makes for a request of its own.
fn own_body(bytes: impl Into<bytes::Bytes>) -> RequestBody {
    RequestBody::from(bytes.into())
}
