//! The operator's listener: health, readiness, metrics, what is deployed, and deploys.
//!
//! On loopback only, and only for hosts of loopback and those that the manifest lists. What tells nothing but that the host lives
//! needs no token; the rest needs the one in the data folder's `admin.token`, which is made at the first start and readable by its
//! owner alone. No user token opens it, and no guest reaches it, because a guest reaches nothing but services.
//!
//! | Method and path | |
//! |---|---|
//! | `GET /health`, `/livez` | the host lives |
//! | `GET /readyz` | the disk and every database take writes, and every service answers its health question; `notes` name services that serve with an earlier revision or with none |
//! | `GET /metrics` | OpenMetrics text |
//! | `GET /version` | versions of the host and its parts; name, version and digest of every revision that serves |
//! | `GET /services`, `/services/{name}` | what serves, since when, how it does |
//! | `PUT /services/{name}` | deploys the component in the body; `If-Match` (one or more digests of the active revision), `x-comptoir-signature`, and in the query `digest`, `force`, `reason`, `canary`, `set` |
//! | `POST /services/{name}/rollback` | goes back; in the query `to`, `reason` |
//! | `GET /services/{name}/history` | the newest 100 lines |
//! | `GET /canary` | what is tried, on which share of the callers, and how it does |
//! | `POST /canary` | gives it to another share: in the query `share` |
//! | `POST /canary/promote`, `/canary/abort` | ends it, for all of its services: in the query `reason`, `set` |
//! | `GET /keys` | the keys of access tokens: the one that signs, then those that still verify |
//! | `POST /keys/rotate` | has a new one sign |
//! | `DELETE /keys/{id}` | refuses at once all that it signed |

mod canary;
mod deploys;
mod keys;
mod metrics;

use std::net::IpAddr;
use std::sync::Arc;

use futures::future::join_all;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use storage::folder::DataFolder;

use crate::audit::{Event, Note, Refused, Source};
use crate::body::{Arriving, Body, full};
use crate::deploy::{Deployer, Deployment, Platform, Served, Serving};
use crate::error::Error;
use crate::gate::Gate;
use crate::gateway::{Gateway, Hosts, RequestIds};
use crate::head::{REQUEST_ID, normalise};
use crate::shares::Arrival;
use crate::telemetry::Metrics;
use crate::version::Versions;

pub use deploys::SIGNATURE;

/// Who acts here, in the audit log.
const OPERATOR: &str = "operator";

/// What an order put in charge or on trial, for the audit log: the digests of revisions and who signed them, or the name of a key.
#[derive(Debug, Clone)]
struct InCharge(String);

/// Answers the operator.
pub struct Admin {
    gate: Gate,
    deployer: Arc<Deployer>,
    gateway: Arc<Gateway>,
    platform: Arc<Platform>,
    metrics: Arc<Metrics>,
    ids: RequestIds,
    hosts: Hosts,
}

impl Admin {
    /// An interface that opens to the token that this gate knows.
    pub fn new(
        gate: Gate,
        deployer: Arc<Deployer>,
        gateway: Arc<Gateway>,
        platform: Arc<Platform>,
        metrics: Arc<Metrics>,
        hosts: Hosts,
    ) -> Self {
        Self { gate, deployer, gateway, platform, metrics, ids: RequestIds::default(), hosts }
    }

    /// Answers one request. What an order began, its line in the audit log included, is ended when the operator's connection
    /// breaks as well.
    pub async fn handle(self: Arc<Self>, arrival: Arrival, request: Request<Arriving>) -> Response<Body> {
        let id = self.ids.of(request.headers());
        if !arrival.has_room {
            return Error::Overloaded.to_response(&id);
        }
        let (mut head, body) = request.into_parts();
        let readable = normalise(&mut head).map_err(Error::from).and_then(|()| self.hosts.check(&head));
        let request = Request::from_parts(head, body);
        let changes = readable.is_ok() && !request.method().is_safe() && self.check_token(request.headers()).is_ok();
        let answered = self.answer_and_tell(request, readable, arrival.client.address(), id.clone(), changes);
        if !changes {
            return answered.await;
        }
        tokio::spawn(answered).await.unwrap_or_else(|_| Error::Internal.to_response(&id))
    }

    async fn answer_and_tell(
        self: Arc<Self>,
        request: Request<Arriving>,
        readable: Result<(), Error>,
        client: IpAddr,
        id: Arc<str>,
        changes: bool,
    ) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let asked = format!("{method} {}", request.uri());
        let answered = match readable {
            Ok(()) => self.answer(request, &id).await,
            Err(error) => Err(error),
        };
        let is_stranger = matches!(answered, Err(Error::InvalidToken));
        let mut response = answered.unwrap_or_else(|error| error.to_response(&id));
        let status = response.status().as_u16();
        tracing::info!(request_id = &*id, client = %client.to_canonical(), %method, path, status, "admin request");
        if is_stranger {
            self.tell_refusal(&asked, &id);
        } else if changes {
            let in_charge = response.extensions().get::<InCharge>().map_or("", |InCharge(text)| text);
            let result = format!("{status} {in_charge}");
            self.tell_change(&asked, &id, result.trim_end()).await;
        }
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, id);
        }
        response
    }

    fn tell_refusal(&self, asked: &str, id: &Arc<str>) {
        let source = Source { request_id: Some(id.clone()), client: None };
        let note = Note::new(Event::Refused, OPERATOR, &source);
        let note = Note { asked: Some(asked), result: Some("invalid token"), ..note };
        self.platform.audit.refuse(Refused::NotOperator, &note);
    }

    /// Puts an order of the operator and what came of it on the disk before the operator is told.
    async fn tell_change(&self, asked: &str, id: &Arc<str>, result: &str) {
        let source = Source { request_id: Some(id.clone()), client: None };
        let note = Note::new(Event::Administered, OPERATOR, &source);
        let (subject, asked, result) = (Some(OPERATOR), Some(asked), Some(result));
        self.platform.audit.tell(&Note { subject, asked, result, ..note });
        self.platform.audit.flush().await;
    }

    async fn answer(&self, request: Request<Arriving>, id: &Arc<str>) -> Result<Response<Body>, Error> {
        let serving = self.deployer.current().load_full();
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
        match segments[..] {
            ["health" | "livez"] => {
                only(&request, &[Method::GET])?;
                Ok(json_answer(StatusCode::OK, &json!({ "status": "healthy", "service": "comptoir" })))
            }
            ["readyz"] => {
                only(&request, &[Method::GET])?;
                Ok(self.readiness(serving.stable(), id).await)
            }
            ["metrics"] => {
                only(&request, &[Method::GET])?;
                Ok(metrics_answer(metrics::encode(&self.metrics, &serving, &self.deployer, &self.platform)))
            }
            ["version"] => {
                only(&request, &[Method::GET])?;
                self.check_token(request.headers())?;
                Ok(deploys::success(&json!({ "data": version(&serving) })))
            }
            ["services", ref rest @ ..] => {
                self.check_token(request.headers())?;
                self.services(request, rest, &serving, id).await
            }
            ["canary", ref rest @ ..] => {
                self.check_token(request.headers())?;
                self.canary(&request, rest, &serving, id).await
            }
            ["keys", ref rest @ ..] => {
                self.check_token(request.headers())?;
                self.keys(&request, rest, id).await
            }
            _ => Err(Error::NotFound),
        }
    }

    /// 200 when the disk and every database take writes and every service has a revision that answers its health question.
    async fn readiness(&self, deployment: &Arc<Deployment>, id: &Arc<str>) -> Response<Body> {
        let (mut healthy, mut services) = self.gateway.health_of_services(deployment, id).await;
        for service in self.refusing_writes(id).await {
            healthy = false;
            services.insert(service, "refuses writes".into());
        }
        let folder = self.platform.folder.clone();
        let checked = tokio::task::spawn_blocking(move || DataFolder::check_writes(&folder)).await;
        let writable = matches!(checked, Ok(Ok(())));
        if let Ok(Err(error)) = checked {
            tracing::error!(request_id = &**id, %error, "the data folder takes no writes: make room on its disk");
        }
        let reset = self.platform.engines.reset();
        let (status, word) = if healthy && writable && reset.is_safe {
            (StatusCode::OK, "ready")
        } else {
            (StatusCode::SERVICE_UNAVAILABLE, "not ready")
        };
        let disk = if writable { "writable" } else { "not writable" };
        let memory = json!({ "reset": reset.way(), "safe": reset.is_safe, "reason": reset.reason });
        let mut answer = json!({ "status": word, "services": services, "disk": disk, "memory": memory });
        let notes = self.deployer.noted();
        if !notes.is_empty() {
            answer["notes"] = json!(notes);
        }
        json_answer(status, &answer)
    }

    /// The services whose databases take no writes.
    async fn refusing_writes(&self, id: &Arc<str>) -> Vec<String> {
        let checks = self.platform.storages.iter().map(|(service, storage)| async move {
            let error = storage.check_writes().await.err()?;
            tracing::error!(request_id = &**id, service, %error, "{service}: the database takes no writes");
            Some(service.clone())
        });
        join_all(checks).await.into_iter().flatten().collect()
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Error> {
        let sent = headers.get(AUTHORIZATION).ok_or(Error::MissingToken)?;
        let sent = sent.as_bytes().strip_prefix(b"Bearer ").ok_or(Error::MissingToken)?;
        if self.gate.is_operator(sent) { Ok(()) } else { Err(Error::InvalidToken) }
    }
}

/// What the host and its parts are, and every revision that serves: in charge, or on trial.
fn version(serving: &Serving) -> Value {
    let revision = |served: &Served| {
        let description = served.description.as_deref();
        json!({
            "service": served.revision.service(),
            "name": description.map(|description| &description.name),
            "version": description.map(|description| &description.version),
            "digest": served.revision.digest(),
        })
    };
    let tried = serving.canary().into_iter().flat_map(|canary| canary.candidates().values());
    let served = serving.stable().services().values().chain(tried.map(|candidate| &candidate.served));
    json!({ "host": Versions::of_this_program(), "revisions": served.map(revision).collect::<Vec<_>>() })
}

/// Refuses a method that a path does not have. `GET` allows `HEAD`.
fn only(request: &Request<Arriving>, methods: &[Method]) -> Result<(), Error> {
    let wanted = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    if methods.contains(wanted) {
        return Ok(());
    }
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    Err(Error::MethodNotAllowed { allow: names.join(", ").replace("GET", "GET, HEAD") })
}

fn json_answer(status: StatusCode, body: &Value) -> Response<Body> {
    let mut response = Response::new(full(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn metrics_answer(page: String) -> Response<Body> {
    let mut response = Response::new(full(page));
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
