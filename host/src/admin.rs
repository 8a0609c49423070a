//! The operator's listener: health, readiness, metrics, and what is deployed.
//!
//! On loopback only. What tells nothing but that the host lives needs no token; the rest needs the one in the data folder's
//! `admin.token`, which is made at the first start and readable by its owner alone. No user token opens it.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use base64::Engine as _;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use crate::body::{Body, full};
use crate::deploy::{Deployment, Platform, Served};
use crate::engine::Wasi;
use crate::error::Error;
use crate::gate::REQUEST_ID;
use crate::gateway::{Gateway, RequestIds};
use crate::telemetry::{self, Metrics};

/// Answers the operator.
pub struct Admin {
    token: String,
    deployment: Arc<ArcSwap<Deployment>>,
    gateway: Arc<Gateway>,
    platform: Arc<Platform>,
    metrics: Arc<Metrics>,
    ids: RequestIds,
}

impl Admin {
    /// An interface that opens to this token.
    pub fn new(
        token: String,
        deployment: Arc<ArcSwap<Deployment>>,
        gateway: Arc<Gateway>,
        platform: Arc<Platform>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { token, deployment, gateway, platform, metrics, ids: RequestIds::default() }
    }

    /// Answers one request. A request's body is of no interest here and is not read.
    pub async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let id = self.ids.of(request.headers());
        let mut response = match self.answer(&request, &id).await {
            Ok(response) => response,
            Err(error) => error.to_response(&id),
        };
        let status = response.status().as_u16();
        tracing::info!(request_id = &*id, method = %request.method(), path = request.uri().path(), status, "admin request");
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert(REQUEST_ID, id);
        }
        response
    }

    async fn answer(&self, request: &Request<Incoming>, id: &Arc<str>) -> Result<Response<Body>, Error> {
        let read = request.method() == Method::GET || request.method() == Method::HEAD;
        let deployment = self.deployment.load_full();
        match request.uri().path() {
            "/health" | "/livez" | "/readyz" | "/metrics" | "/services" if !read => {
                Err(Error::MethodNotAllowed { allow: "GET, HEAD".to_owned() })
            }
            "/health" | "/livez" => {
                Ok(json_answer(StatusCode::OK, &json!({ "status": "healthy", "service": "comptoir" })))
            }
            "/readyz" => Ok(self.readiness(&deployment, id).await),
            "/metrics" => Ok(metrics_answer(telemetry::encode(&self.metrics, &deployment, &self.platform))),
            path => {
                self.check_token(request.headers())?;
                if path != "/services" {
                    return Err(Error::NotFound);
                }
                let services: Vec<Value> =
                    deployment.services().iter().map(|(name, served)| describe(name, served)).collect();
                Ok(json_answer(StatusCode::OK, &json!({ "success": true, "count": services.len(), "data": services })))
            }
        }
    }

    /// 200 when every service has a revision that answers its health question, its database included.
    async fn readiness(&self, deployment: &Arc<Deployment>, id: &Arc<str>) -> Response<Body> {
        let (ready, services) = self.gateway.health_of_services(deployment, id).await;
        let (status, word) =
            if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
        json_answer(status, &json!({ "status": word, "services": services }))
    }

    fn check_token(&self, headers: &HeaderMap) -> Result<(), Error> {
        let sent = headers.get(AUTHORIZATION).ok_or(Error::MissingToken)?;
        let sent = sent.as_bytes().strip_prefix(b"Bearer ").ok_or(Error::MissingToken)?;
        if bool::from(sent.ct_eq(self.token.as_bytes())) { Ok(()) } else { Err(Error::InvalidToken) }
    }
}

fn describe(name: &str, served: &Served) -> Value {
    let description = served.description.as_deref();
    json!({
        "service": name,
        "name": description.map(|description| &description.name),
        "version": description.map(|description| &description.version),
        "revision": served.revision.digest(),
        "wasi": match served.revision.wasi() { Wasi::P2 => "0.2", Wasi::P3 => "0.3" },
        "schema": description.map(|description| description.migrations.len()),
        "routes": served.routes.iter().map(|route| format!(
            "{} {} {:?}", route.method.as_ref().map_or("*", Method::as_str), route.pattern, route.access
        ).to_lowercase()).collect::<Vec<_>>(),
        "grants": served.grants.iter().map(|grant| grant.name()).collect::<Vec<_>>(),
        "calls": served.calls,
        "instances": { "in_use": served.revision.slots().in_use(), "waiting": served.revision.slots().waiting() },
    })
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

/// The operator's token, made at the first start: 256 random bits, in a file of mode 0600.
///
/// # Errors
/// A file that others may read, and whatever keeps the file from being read or written.
pub fn token(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    if let Ok(metadata) = fs::metadata(file) {
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            bail!("{shown} has mode {mode:03o}: the admin token must be its owner's alone, set it to 600");
        }
        let token = fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?.trim().to_owned();
        if token.len() < 32 {
            bail!("{shown} holds no token: delete it, and the next start makes a new one");
        }
        return Ok(token);
    }
    let mut secret = [0_u8; 32];
    getrandom::fill(&mut secret).map_err(|error| anyhow::anyhow!("no randomness for the admin token: {error}"))?;
    let token = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(secret);
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut made = made.with_context(|| format!("cannot write {shown}"))?;
    made.write_all(format!("{token}\n").as_bytes())
        .and_then(|()| made.sync_all())
        .with_context(|| format!("cannot write {shown}"))?;
    Ok(token)
}
