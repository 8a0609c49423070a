//! The admin listener: health, readiness, metrics, what is deployed, and the operator's orders.
//!
//! It listens on loopback only. It answers only to loopback names and to the hosts that the manifest lists. Health, readiness, metrics
//! and the proof need no token. Everything else needs the admin token: the host writes it to `admin.token` in the data folder at
//! the first start, readable by its owner alone. Before `comptoir`'s commands send it, they ask for a proof that the host knows it.
//! No user's token opens this listener, and no guest can reach it.
//!
//! The operator's console is at `/`. It shows the token once, and then has a session (`sessions`). Requests that pages of other
//! origins make in the operator's browser are refused (`origin`).
//!
//! `openapi.json` describes each of these paths:
//!
//! | Method and path | |
//! |---|---|
//! | `GET /`, `/console/{file}` | the console's files, without data |
//! | `GET /openapi.json` | a description of this API |
//! | `POST /session`, `DELETE /session` | signs in to the console with the admin token; signs out |
//! | `GET /overview`, `/events` | all services, warnings, deploys and watches in few words; the same as server-sent events |
//! | `GET /traffic` | the traffic of each service in the last 15 minutes |
//! | `GET /history` | the newest changes of all services; in the query `before` (an id) and `limit` |
//! | `GET /requests` | the latest requests and calls; in the query `service`, `status`, `revision`, `user`, `id`, `calls`, `limit` |
//! | `GET /health`, `/livez` | the host runs |
//! | `GET /readyz` | the disk and every database accept writes, and every service is healthy; `notes` name services with an earlier revision or without one |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /proof` | proves that the host knows the admin token; in the query `nonce`, 64 random hexadecimal digits |
//! | `GET /version` | versions of the host and its parts; name, version and digest of every active revision and canary |
//! | `GET /services`, `/services/{name}` | the active revision, its routes, grants and traffic |
//! | `PUT /services/{name}` | deploys the component in the body; `If-Match` (one or more digests of the active revision), `x-comptoir-signature`, and in the query `digest`, `force`, `reason`, `canary`, `set` |
//! | `POST /services/{name}/rollback` | rolls back; in the query `to`, `reason` |
//! | `GET /services/{name}/history` | the newest 100 lines |
//! | `GET /services/{name}/tables`, `/services/{name}/tables/{table}` | the tables of its database; their rows, without secrets: in the query `limit`, `offset` |
//! | `GET /canary` | the canary's revisions, share and traffic |
//! | `POST /canary` | changes its share: in the query `share` |
//! | `POST /canary/promote`, `/canary/abort` | ends it, for all of its services: in the query `reason`, `set` |
//! | `POST /reload` | reads the manifest again and applies what changed; in the query `check` to change nothing |
//! | `GET /keys` | the keys of access tokens: first the one that signs, then those that only verify |
//! | `POST /keys/rotate` | adds a key that signs from now on |
//! | `DELETE /keys/{id}` | disables a key: every token that it signed is refused at once |
//! | `GET /sessions` | the sessions of users that have a valid access token; in the query `user` |
//! | `DELETE /sessions/{id}` | ends a session: its tokens are refused at once |
//! | `GET /backups`, `POST /backups` | the backups in the data folder; creates one |
//! | `GET /audit` | the newest 200 events of the audit log |
//! | `POST /audit/verify` | checks its hash chain; in the query `anchor` |
//! | `POST /tokens` | an access token for development; in the query `user`, `role` |

mod audit;
mod backups;
mod canary;
mod data;
mod deploys;
mod describe;
mod envelope;
mod events;
mod history;
mod keys;
mod masking;
mod metrics;
mod openapi;
mod origin;
mod overview;
mod pages;
mod proof;
mod readiness;
mod reload;
mod requests;
mod samples;
mod sessions;
mod tokens;
mod user_sessions;
mod warnings;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue, SET_COOKIE};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;

use crate::audit::{Event, Note, Refused, Source};
use crate::body::{Arriving, Body, full};
use crate::deploy::{Deployer, Platform};
use crate::error::{AdminError, Error};
use crate::gate::Gate;
use crate::gateway::{Gateway, Hosts, RequestIds};
use crate::head::{REQUEST_ID, normalise};
use crate::shares::Arrival;
use crate::telemetry::Metrics;

use envelope::{AuditedResult, allow, json_response, success};
use events::Events;
use samples::Samples;
use sessions::{SESSION_TIME, SessionId, Sessions};
use warnings::Checks;

pub use deploys::SIGNATURE;
pub use reload::{ReloadOrder, Reloads};
pub use warnings::{LOW_BYTES, NEARLY_FULL_BYTES, free_bytes};

/// The actor in the audit log.
pub(crate) const OPERATOR: &str = "operator";

/// The first segments of the paths that need the admin token.
const PRIVATE: [&str; 15] = [
    "session", "overview", "traffic", "events", "history", "requests", "version", "services", "canary", "reload",
    "keys", "sessions", "backups", "audit", "tokens",
];

/// Answers the operator's requests.
pub struct Admin {
    gate: Gate,
    deployer: Arc<Deployer>,
    gateway: Arc<Gateway>,
    platform: Arc<Platform>,
    metrics: Arc<Metrics>,
    ids: RequestIds,
    listening: ArcSwap<Listening>,
    reloads: Reloads,
    sessions: Sessions,
    samples: Samples,
    checks: Checks,
    events: Events,
    /// When the host began to serve, in seconds since 1970-01-01 UTC.
    started: u64,
}

/// Where the admin listener is, and the hosts that it answers to.
#[derive(Debug)]
pub struct Listening {
    /// Its address. A client checks that the proof of the host names it.
    pub address: SocketAddr,
    /// The hosts of `[listeners]`.
    pub hosts: Hosts,
}

/// Who sent a request that the operator may send.
#[derive(Clone, Copy)]
enum Operator {
    /// A program that shows the admin token.
    Program,
    /// The console.
    Console(SessionId),
}

impl Admin {
    /// An admin interface that opens to the gate's admin token.
    pub fn new(
        listening: Listening,
        gate: Gate,
        deployer: Arc<Deployer>,
        gateway: Arc<Gateway>,
        platform: Arc<Platform>,
        metrics: Arc<Metrics>,
        reloads: Reloads,
    ) -> Self {
        let listening = ArcSwap::from_pointee(listening);
        let (ids, started) = (RequestIds::default(), platform.clock.unix_seconds());
        let (sessions, samples, checks, events) = Default::default();
        Self {
            gate,
            deployer,
            gateway,
            platform,
            metrics,
            ids,
            listening,
            reloads,
            sessions,
            samples,
            checks,
            events,
            started,
        }
    }

    /// Takes the listener's new place and hosts.
    pub fn set_listening(&self, listening: Listening) {
        self.listening.store(Arc::new(listening));
    }

    /// Answers one request. If the operator's connection breaks, an order still runs to its end and is audited.
    pub async fn handle(self: Arc<Self>, arrival: Arrival, request: Request<Arriving>) -> Response<Body> {
        let id = self.ids.of(request.headers());
        if !arrival.has_room {
            return Error::Overloaded.to_response(&id);
        }
        let (mut head, body) = request.into_parts();
        let checked = normalise(&mut head).map_err(Error::from).and_then(|()| self.listening.load().hosts.check(&head));
        let is_foreign = |head: &Parts| if origin::is_foreign(head) { Err(AdminError::ForeignOrigin) } else { Ok(()) };
        let checked = checked.map_err(AdminError::from).and_then(|()| is_foreign(&head));
        let request = Request::from_parts(head, body);
        let is_order = checked.is_ok() && !request.method().is_safe() && self.operator(request.headers()).is_ok();
        let answered = self.answer_and_audit(request, checked, arrival.client.address(), id.clone(), is_order);
        if !is_order {
            return answered.await;
        }
        tokio::spawn(answered).await.unwrap_or_else(|_| Error::Internal.to_response(&id))
    }

    async fn answer_and_audit(
        self: Arc<Self>,
        request: Request<Arriving>,
        checked: Result<(), AdminError>,
        client: IpAddr,
        id: Arc<str>,
        is_order: bool,
    ) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let target = format!("{method} {}", request.uri());
        let answered = match checked {
            Ok(()) => self.answer(request, &id).await,
            Err(error) => Err(error),
        };
        let has_wrong_token = matches!(answered, Err(AdminError::Common(Error::InvalidToken)));
        let mut response = answered.unwrap_or_else(|error| error.to_response(&id));
        let status = response.status().as_u16();
        tracing::info!(request_id = &*id, client = %client.to_canonical(), %method, path, status, "admin request");
        if has_wrong_token {
            self.audit_refusal(&target, &id);
        } else if is_order {
            let result = response.extensions().get::<AuditedResult>().map_or("", |AuditedResult(text)| text);
            let result = format!("{status} {result}");
            self.audit_order(&target, &id, result.trim_end()).await;
        }
        let headers = response.headers_mut();
        pages::protect(headers);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, id);
        }
        response
    }

    fn audit_refusal(&self, target: &str, id: &Arc<str>) {
        let source = Source { request_id: Some(id.clone()), client: None };
        let note = Note::new(Event::Refused, OPERATOR, &source);
        let note = Note { asked: Some(target), result: Some("invalid token"), ..note };
        self.platform.audit.refuse(Refused::NotOperator, &note);
    }

    /// Audits an order and its result, and waits for the disk. The operator gets the response only after that.
    async fn audit_order(&self, target: &str, id: &Arc<str>, result: &str) {
        let source = Source { request_id: Some(id.clone()), client: None };
        let note = Note::new(Event::Administered, OPERATOR, &source);
        let (subject, asked, result) = (Some(OPERATOR), Some(target), Some(result));
        self.platform.audit.tell(&Note { subject, asked, result, ..note });
        self.platform.audit.flush().await;
    }

    async fn answer(self: &Arc<Self>, request: Request<Arriving>, id: &Arc<str>) -> Result<Response<Body>, AdminError> {
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match segments[..] {
            [""] => pages::page(&request, "index.html"),
            ["console", file] => pages::page(&request, file),
            ["openapi.json"] => openapi::document(&request),
            ["health" | "livez"] => {
                allow(&request, &[Method::GET])?;
                Ok(json_response(StatusCode::OK, &json!({ "status": "healthy", "service": "comptoir" })))
            }
            ["readyz"] => {
                allow(&request, &[Method::GET])?;
                Ok(self.readiness(self.deployer.current().load().stable(), id).await)
            }
            ["metrics"] => {
                allow(&request, &[Method::GET])?;
                let serving = self.deployer.current().load_full();
                Ok(open_metrics(metrics::encode(&self.metrics, &serving, &self.deployer, &self.platform)))
            }
            ["proof"] => Ok(self.proof(&request)?),
            ref path => self.answer_operator(request, path, id).await,
        }
    }

    /// Answers the paths that need the admin token or a session of the console.
    async fn answer_operator(
        self: &Arc<Self>,
        request: Request<Arriving>,
        path: &[&str],
        id: &Arc<str>,
    ) -> Result<Response<Body>, AdminError> {
        if !PRIVATE.contains(&path[0]) {
            return Err(Error::NotFound.into());
        }
        let operator = self.operator(request.headers())?;
        let serving = self.deployer.current().load_full();
        match *path {
            ["session"] => self.session(&request, operator),
            ["overview"] => {
                allow(&request, &[Method::GET])?;
                Ok(success(&json!({ "data": self.overview().await })))
            }
            ["traffic"] => {
                allow(&request, &[Method::GET])?;
                Ok(self.traffic())
            }
            ["events"] => {
                allow(&request, &[Method::GET])?;
                self.subscribe(operator)
            }
            ["history"] => self.history(&request),
            ["requests"] => self.requests(&request),
            ["audit", ref rest @ ..] => self.audit(&request, rest).await,
            ["version"] => {
                allow(&request, &[Method::GET])?;
                Ok(success(&json!({ "data": describe::versions(&serving) })))
            }
            ["services", name, "tables", ref rest @ ..] => self.tables(&request, name, rest, id).await,
            ["services", ref rest @ ..] => self.services(request, rest, &serving).await,
            ["canary", ref rest @ ..] => self.canary(&request, rest, &serving).await,
            ["reload"] => self.reload(&request).await,
            ["keys", ref rest @ ..] => self.keys(&request, rest, id).await,
            ["sessions", ref rest @ ..] => self.user_sessions(&request, rest).await,
            ["backups"] => self.backups(&request).await,
            ["tokens"] => self.token(&request, id),
            _ => Err(Error::NotFound.into()),
        }
    }

    /// Who sent a request. A session of the console counts only if the request has no `Authorization`.
    fn operator(&self, headers: &HeaderMap) -> Result<Operator, AdminError> {
        if let Some(sent) = headers.get(AUTHORIZATION) {
            let sent = sent.as_bytes().strip_prefix(b"Bearer ").ok_or(Error::MissingToken)?;
            return if self.gate.is_operator(sent) { Ok(Operator::Program) } else { Err(Error::InvalidToken.into()) };
        }
        if !headers.contains_key(sessions::CONSOLE_KEY) {
            return Err(Error::MissingToken.into());
        }
        self.sessions.find(headers, Instant::now()).map(Operator::Console).ok_or(AdminError::SessionEnded)
    }

    /// Whether the sender of an earlier request may still read. A session may have ended.
    fn is_still(&self, operator: Operator) -> bool {
        match operator {
            Operator::Program => true,
            Operator::Console(id) => self.sessions.is_open(id, Instant::now()),
        }
    }

    /// `POST` with the admin token opens a session of the console, `DELETE` ends it.
    fn session(&self, request: &Request<Arriving>, operator: Operator) -> Result<Response<Body>, AdminError> {
        allow(request, &[Method::POST, Method::DELETE])?;
        let (mut response, cookie) = match (operator, request.method() == Method::POST) {
            (Operator::Program, true) => {
                let session = self.sessions.open(Instant::now()).map_err(|_| Error::Internal)?;
                let data = json!({ "key": session.key, "seconds": SESSION_TIME.as_secs() });
                (success(&json!({ "data": data })), session.cookie)
            }
            (Operator::Console(id), false) => (success(&json!({ "data": null })), self.sessions.end(id)),
            // The token opens a session, and only the session's own console ends it.
            (Operator::Console(_), true) => return Err(Error::MissingToken.into()),
            (Operator::Program, false) => return Err(AdminError::SessionEnded),
        };
        response.headers_mut().insert(SET_COOKIE, cookie);
        Ok(response)
    }
}

fn open_metrics(page: String) -> Response<Body> {
    let mut response = Response::new(full(page));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
