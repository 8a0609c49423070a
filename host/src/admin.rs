//! The admin listener: health, readiness, metrics, what is deployed, and the operator's orders.
//!
//! It listens on loopback only. It answers only to loopback names and to the hosts that the manifest lists. Health, readiness and
//! metrics need no token. Everything else needs the admin token: the host writes it to `admin.token` in the data folder at the
//! first start, readable by its owner alone. No user's token opens this listener, and no guest can reach it.
//!
//! | Method and path | |
//! |---|---|
//! | `GET /health`, `/livez` | the host runs |
//! | `GET /readyz` | the disk and every database accept writes, and every service is healthy; `notes` name services with an earlier revision or without one |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /version` | versions of the host and its parts; name, version and digest of every active revision and canary |
//! | `GET /services`, `/services/{name}` | the active revision, its routes, grants and traffic |
//! | `PUT /services/{name}` | deploys the component in the body; `If-Match` (one or more digests of the active revision), `x-comptoir-signature`, and in the query `digest`, `force`, `reason`, `canary`, `set` |
//! | `POST /services/{name}/rollback` | rolls back; in the query `to`, `reason` |
//! | `GET /services/{name}/history` | the newest 100 lines |
//! | `GET /canary` | the canary's revisions, share and traffic |
//! | `POST /canary` | changes its share: in the query `share` |
//! | `POST /canary/promote`, `/canary/abort` | ends it, for all of its services: in the query `reason`, `set` |
//! | `POST /reload` | reads the manifest again and applies what changed; in the query `check` to change nothing |
//! | `GET /keys` | the keys of access tokens: first the one that signs, then those that only verify |
//! | `POST /keys/rotate` | adds a key that signs from now on |
//! | `DELETE /keys/{id}` | disables a key: every token that it signed is refused at once |

mod canary;
mod deploys;
mod describe;
mod envelope;
mod keys;
mod metrics;
mod readiness;
mod reload;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
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

pub use deploys::SIGNATURE;
pub use reload::{ReloadOrder, Reloads};

/// The actor in the audit log.
pub(crate) const OPERATOR: &str = "operator";

/// Answers the operator's requests.
pub struct Admin {
    gate: Gate,
    deployer: Arc<Deployer>,
    gateway: Arc<Gateway>,
    platform: Arc<Platform>,
    metrics: Arc<Metrics>,
    ids: RequestIds,
    hosts: ArcSwap<Hosts>,
    reloads: Reloads,
}

impl Admin {
    /// An admin interface that opens to the gate's admin token.
    pub fn new(
        gate: Gate,
        deployer: Arc<Deployer>,
        gateway: Arc<Gateway>,
        platform: Arc<Platform>,
        metrics: Arc<Metrics>,
        hosts: Hosts,
        reloads: Reloads,
    ) -> Self {
        let hosts = ArcSwap::from_pointee(hosts);
        Self { gate, deployer, gateway, platform, metrics, ids: RequestIds::default(), hosts, reloads }
    }

    /// Answers to these hosts from now on.
    pub fn set_hosts(&self, hosts: Hosts) {
        self.hosts.store(Arc::new(hosts));
    }

    /// Answers one request. If the operator's connection breaks, an order still runs to its end and is audited.
    pub async fn handle(self: Arc<Self>, arrival: Arrival, request: Request<Arriving>) -> Response<Body> {
        let id = self.ids.of(request.headers());
        if !arrival.has_room {
            return Error::Overloaded.to_response(&id);
        }
        let (mut head, body) = request.into_parts();
        let checked = normalise(&mut head).map_err(Error::from).and_then(|()| self.hosts.load().check(&head));
        let request = Request::from_parts(head, body);
        let is_order = checked.is_ok() && !request.method().is_safe() && self.check_token(request.headers()).is_ok();
        let answered = self.answer_and_audit(request, checked, arrival.client.address(), id.clone(), is_order);
        if !is_order {
            return answered.await;
        }
        tokio::spawn(answered).await.unwrap_or_else(|_| Error::Internal.to_response(&id))
    }

    async fn answer_and_audit(
        self: Arc<Self>,
        request: Request<Arriving>,
        checked: Result<(), Error>,
        client: IpAddr,
        id: Arc<str>,
        is_order: bool,
    ) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let target = format!("{method} {}", request.uri());
        let answered = match checked {
            Ok(()) => self.answer(request, &id).await,
            Err(error) => Err(error.into()),
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

    async fn answer(&self, request: Request<Arriving>, id: &Arc<str>) -> Result<Response<Body>, AdminError> {
        let serving = self.deployer.current().load_full();
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match segments[..] {
            ["health" | "livez"] => {
                allow(&request, &[Method::GET])?;
                Ok(json_response(StatusCode::OK, &json!({ "status": "healthy", "service": "comptoir" })))
            }
            ["readyz"] => {
                allow(&request, &[Method::GET])?;
                Ok(self.readiness(serving.stable(), id).await)
            }
            ["metrics"] => {
                allow(&request, &[Method::GET])?;
                Ok(open_metrics(metrics::encode(&self.metrics, &serving, &self.deployer, &self.platform)))
            }
            ["version"] => {
                allow(&request, &[Method::GET])?;
                self.check_token(request.headers())?;
                Ok(success(&json!({ "data": describe::versions(&serving) })))
            }
            ["services", ref rest @ ..] => {
                self.check_token(request.headers())?;
                self.services(request, rest, &serving).await
            }
            ["canary", ref rest @ ..] => {
                self.check_token(request.headers())?;
                self.canary(&request, rest, &serving).await
            }
            ["reload"] => {
                self.check_token(request.headers())?;
                self.reload(&request).await
            }
            ["keys", ref rest @ ..] => {
                self.check_token(request.headers())?;
                self.keys(&request, rest, id).await
            }
            _ => Err(Error::NotFound.into()),
        }
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Error> {
        let sent = headers.get(AUTHORIZATION).ok_or(Error::MissingToken)?;
        let sent = sent.as_bytes().strip_prefix(b"Bearer ").ok_or(Error::MissingToken)?;
        if self.gate.is_operator(sent) { Ok(()) } else { Err(Error::InvalidToken) }
    }
}

fn open_metrics(page: String) -> Response<Body> {
    let mut response = Response::new(full(page));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
