//! The way of a client's request: route, gate, body, revision, response.
//!
//! Each request uses one deployment, the stable one or the canary's, from its route to the last byte of its response. The calls
//! that its guest makes to other services use it too. So a request never meets two revisions of one service.

mod access_log;
mod coding;
mod cors;
mod encoding;
mod envelope;
mod explorer;
mod health;
mod hosts;
mod openapi;
mod own;
mod peers;
mod request_id;
mod respond;
mod stop;
mod trace_parent;
mod version;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::FutureExt as _;
use hyper::body::Body as _;
use hyper::header::AUTHORIZATION;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use storage::observed::Observer;

use crate::body::{self, Arriving, Body, BodyRefusal, RequestBody};
use crate::deploy::{Deployment, EarlierAsset, Served, Serving};
use crate::engine::HandlerKind;
use crate::error::Error;
use crate::gate::{Gate, Origin};
use crate::head::{is_about_server, normalise};
use crate::manifest::{Grant, Manifest};
use crate::revision::Revision;
use crate::route::{NoRoute, Route, RouteTable};
use crate::shares::{Arrival, Client};
use crate::telemetry::{Kind, Metrics, Parent, Span, Statements};

use access_log::AccessLogEntry;
use coding::check_coding;
pub use coding::refuse_codings;
use cors::Cors;
use encoding::AcceptedEncodings;
pub use hosts::Hosts;
use hosts::LoopbackDoors;
use own::OwnPath;
use peers::PeerCalls;
pub use request_id::RequestIds;
pub use respond::REVISION;
use respond::{METHODS, options};
use stop::Stop;
use trace_parent::TraceParent;

/// The listener that a request arrived on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// The gateway's listener, with the routes of all services.
    Gateway,
    /// The listener of one service.
    Service(Arc<str>),
}

/// Answers the requests of clients.
pub struct Gateway {
    serving: Arc<ArcSwap<Serving>>,
    gate: Gate,
    ids: RequestIds,
    metrics: Arc<Metrics>,
    rules: ArcSwap<Rules>,
}

/// What the manifest says about requests of clients, whichever service they are for.
struct Rules {
    cors: Cors,
    doors: LoopbackDoors,
    has_explorer: bool,
}

/// One request, with what the host found out about it before it is routed.
struct Incoming {
    id: Arc<str>,
    /// In its normal form.
    head: Parts,
    body: Arriving,
    arrival: Arrival,
    trace_parent: Option<TraceParent>,
    /// Its span, if it is sampled.
    trace: Parent,
    is_preflight: bool,
    /// The rules when the request began.
    rules: Arc<Rules>,
}

/// From where the calls of a guest come.
#[derive(Default)]
struct CallOrigin {
    trace_parent: Option<TraceParent>,
    /// The client for which streams count. None if the host itself makes the request.
    client: Option<Client>,
    /// How many nested calls led here. 0 for the guest of a client's request.
    depth: u8,
}

/// The response of a guest or of the host, or an early end.
type Answered = Result<Response<Body>, Stop>;

/// What a request's method and path lead to.
enum Found<'d> {
    Route(Arc<Route>),
    /// No active revision has the path, but another one has.
    Earlier(&'d EarlierAsset),
    /// The path exists, and the host itself answers `OPTIONS`.
    Options(Response<Body>),
}

impl Gateway {
    /// A gateway that answers each request with the deployment that the pointer names at that moment.
    pub fn new(serving: Arc<ArcSwap<Serving>>, gate: Gate, metrics: Arc<Metrics>, manifest: &Manifest) -> Self {
        let rules = ArcSwap::from_pointee(Rules::new(manifest));
        Self { serving, gate, ids: RequestIds::default(), metrics, rules }
    }

    /// Takes the rules of another manifest. Requests that run keep the rules with which they began.
    pub fn set_rules(&self, manifest: &Manifest) {
        self.rules.store(Arc::new(Rules::new(manifest)));
    }

    /// Answers one request, even if the host panics. Every response names the request and the revision that answered.
    pub async fn handle(self: &Arc<Self>, door: &Door, arrival: Arrival, request: Request<Arriving>) -> Response<Body> {
        let id = self.ids.of(request.headers());
        let (mut head, body) = request.into_parts();
        let normalised = normalise(&mut head);
        let rules = self.rules.load_full();
        let (is_head, cross_origin) = (head.method == Method::HEAD, rules.cors.request(&head));
        let trace_parent = TraceParent::of(&head.headers);
        let span = Span::begin("request", Kind::Server, trace_parent.as_ref().and_then(TraceParent::text));
        let trace = span.parent();
        let trace_parent = TraceParent::of_span(&trace).or(trace_parent);
        let mut log =
            AccessLogEntry::new(&self.metrics, &id, &head, arrival.client.address(), trace_parent.clone(), span);
        let is_preflight = cross_origin.is_preflight;
        let incoming =
            Incoming { id: id.clone(), head, body, arrival, trace_parent, trace, is_preflight, rules: rules.clone() };
        let answered = async {
            normalised?;
            self.answer(door, incoming, &mut log).await
        };
        let answered = AssertUnwindSafe(answered).catch_unwind().await.unwrap_or_else(|_| Err(Stop::panic()));
        let mut response = answered.unwrap_or_else(|stop| {
            log.note(stop.cause, stop.output);
            stop.error.to_response(&id)
        });
        respond::name(&mut response, &id, log.revision.as_ref());
        rules.cors.finish(cross_origin, &mut response);
        log.status = Some(response.status());
        if is_head {
            return respond::without_body(response);
        }
        // The entry of a stream is written when it ends.
        if log.stream.is_some() { access_log::at_end(response, log) } else { response }
    }

    /// The way of one request. Each step leads to the next one, or ends the request.
    async fn answer(self: &Arc<Self>, door: &Door, incoming: Incoming, log: &mut AccessLogEntry) -> Answered {
        let Incoming { id, mut head, body, arrival, trace_parent, trace, is_preflight, rules } = incoming;
        let client = arrival.client.address();
        // A client with too many requests is refused first, so that a flood costs little.
        if !arrival.has_room {
            return Err(Error::Overloaded.into());
        }
        // A page that rebinds its name to loopback must reach nothing, not even the gateway's own paths.
        rules.doors.check(door, &head)?;
        // `OPTIONS *` asks about the server, so it has no route.
        if is_about_server(&head) {
            return Ok(options(METHODS));
        }
        // From here on the request uses one deployment, whatever is deployed meanwhile.
        let deployment = self.choose(&head.headers, client)?;
        // No service can have the gateway's own paths, so the route table does not know them.
        if let Some(own) = OwnPath::at(door, head.uri.path(), rules.has_explorer) {
            return Ok(self.answer_own(own, &deployment, &id, &head).await?);
        }
        // The route names the service, the access and the headers that the guest may see.
        let (route, earlier) = match find(&deployment, door, &head, is_preflight)? {
            Found::Route(route) => (log.route.insert(route).clone(), None),
            Found::Earlier(asset) => (log.route.insert(asset.route.clone()).clone(), Some(&asset.served)),
            Found::Options(response) => return Ok(response),
        };
        // A service without a revision still has its mounts, and answers 503.
        let served = earlier.or_else(|| deployment.services().get(&route.service)).ok_or(Error::Vacant)?;
        log.revision = Some(served.revision.label().clone());
        // Read before the gate removes headers. Never with secrets, because a compressed secret's length reveals it (BREACH).
        let shows_credential = route.passes_credentials && head.headers.contains_key(AUTHORIZATION);
        let has_secrets = uses_tokens(served) || shows_credential;
        let accepted = (!has_secrets).then(|| AcceptedEncodings::take(&mut head.headers));
        let coding = check_coding(&route, &head.headers, &body);
        // Access is checked before the body is read, so a caller without access cannot keep the host busy.
        let gate = trace.child("gate", Kind::Internal);
        let pending = self.gate.admit(&route, head, origin(&arrival, &id, trace_parent.as_ref(), served))?;
        drop(gate);
        // 401 and 403 come before 415, so a caller without access learns nothing about the route.
        coding?;
        // A body for plain records is read before an instance is made, so a slow client holds none. Other bodies stream.
        let body = read(body, &served.revision).await?;
        // The session may have ended while the body arrived, so it is checked again.
        let admitted = pending.with_body(body)?.traced(trace);
        let origin = CallOrigin { trace_parent, client: Some(arrival.client), depth: 0 };
        let (summary, client) = (admitted.summary(), origin.client.clone());
        let peers = self.peers(&deployment, served, &id, origin);
        log.user = summary.caller().cloned();
        let observer = self.observer(&mut log.statements);
        let answer = served.revision.answer(admitted, peers, client, observer).await?;
        // What may change is gone with its revision.
        if earlier.is_some() && !respond::is_immutable(&answer.response) {
            return Err(NoRoute::Path.into());
        }
        log.note(answer.dependency_failure, answer.output);
        log.stream = answer.stream;
        // The service refused a request that the gate had admitted. An auditor needs to see that too.
        if answer.response.status() == StatusCode::FORBIDDEN {
            self.gate.audit_refusal_by_service(&summary);
        }
        // Last, because both change the bytes: a cached response must not contain the id of another request.
        let response = envelope::add_request_id(answer.response, &id).await?;
        if let Some(accepted) = accepted { Ok(accepted.encode(response).await?) } else { Ok(response) }
    }

    /// Hears of the SQL statements of a request or a call that begins, if somebody looks at the latest requests.
    fn observer(&self, statements: &mut Option<Arc<Statements>>) -> Option<Arc<dyn Observer>> {
        if !self.metrics.recent.is_watched() {
            return None;
        }
        Some(statements.insert(Arc::new(Statements::begin())).clone())
    }

    /// How the guest calls other services. None if its service may call none.
    fn peers(
        self: &Arc<Self>,
        deployment: &Arc<Deployment>,
        served: &Served,
        id: &Arc<str>,
        origin: CallOrigin,
    ) -> Option<Box<dyn crate::guest::Peers>> {
        if served.calls.is_empty() {
            return None;
        }
        Some(Box::new(PeerCalls {
            gateway: self.clone(),
            deployment: deployment.clone(),
            caller: served.revision.service().into(),
            request_id: id.clone(),
            trace_parent: origin.trace_parent,
            trace: Parent::default(),
            client: origin.client,
            depth: origin.depth,
        }))
    }
}

impl Rules {
    fn new(manifest: &Manifest) -> Self {
        let listeners = &manifest.listeners;
        Self {
            cors: Cors::new(&listeners.cors, &listeners.cors_headers),
            doors: LoopbackDoors::new(manifest),
            has_explorer: listeners.docs,
        }
    }
}

/// What the guest may know about a client's request besides its head.
fn origin<'a>(
    arrival: &Arrival,
    request_id: &'a Arc<str>,
    trace_parent: Option<&'a TraceParent>,
    served: &Served,
) -> Origin<'a> {
    let (trace_parent, shows_session) = (trace_parent.map(TraceParent::header), uses_tokens(served));
    let client = Some(arrival.client.address());
    Origin { client, request_id, trace_parent, shows_session, secure: arrival.is_secure }
}

/// The routes that exist on a listener.
fn table<'d>(deployment: &'d Deployment, door: &Door) -> Option<&'d RouteTable> {
    match door {
        Door::Gateway => Some(deployment.gateway()),
        Door::Service(service) => deployment.door(service),
    }
}

fn find<'d>(deployment: &'d Deployment, door: &Door, head: &Parts, is_preflight: bool) -> Result<Found<'d>, NoRoute> {
    let table = table(deployment, door).ok_or(NoRoute::Path)?;
    match table.find(&head.method, head.uri.path()) {
        // A preflight carries no token, so the host answers it, even for a service that accepts every method.
        Ok(_) if is_preflight => Ok(Found::Options(options(METHODS))),
        Ok(route) => Ok(Found::Route(route.clone())),
        Err(NoRoute::Options(allow)) => Ok(Found::Options(cors::note_headers(options(&allow), table, head))),
        Err(NoRoute::Path) if *door == Door::Gateway => {
            deployment.earlier(&head.method, head.uri.path()).map(Found::Earlier).ok_or(NoRoute::Path)
        }
        Err(none) => Err(none),
    }
}

/// The body of a request, in the form that a revision takes: whole for plain records, otherwise as it arrives.
///
/// A short body is always read whole. So it needs no stream, and its client holds no instance while it sends.
async fn read(body: Arriving, revision: &Revision) -> Result<RequestBody, BodyRefusal> {
    let (limits, client) = (revision.limits(), body.client().clone());
    let is_short = body.size_hint().upper().is_some_and(|bytes| bytes <= body::SHORT_BYTES);
    if is_short || revision.handler_kind() == HandlerKind::Plain {
        return body::read(body, limits.body_bytes, limits.time).await;
    }
    body::begin(body, Some(client), limits.body_bytes).await
}

/// Whether a service may see access tokens and sessions.
fn uses_tokens(served: &Served) -> bool {
    served.grants.contains(&Grant::Tokens)
}
