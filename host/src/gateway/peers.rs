//! In-process calls from one service to another, and from the host to a service. They use no socket.
//!
//! A call reaches only internal routes, of services that the manifest lets the caller call. The host sets the caller's name. Each
//! call counts its depth, so that services that call each other in a ring do not run forever. Bodies stream in both directions, except to
//! components with plain records.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body_util::BodyExt;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, Uri};
use tokio::task::AbortHandle;
use wasmtime_wasi_http::{Error as CallError, WasiBody};

use super::trace_parent::TraceParent;
use super::{CallOrigin, Gateway, uses_tokens};
use crate::body::{self, Body, BodyRefusal, RequestBody};
use crate::deploy::{Deployment, Served};
use crate::engine::HandlerKind;
use crate::error::Error;
use crate::gate::Origin;
use crate::guest::Peers;
use crate::head::{USER_ID, normalise_target};
use crate::manifest::HOST_NAME;
use crate::revision::{Answer, Failure};
use crate::route::Route;
use crate::shares::Client;
use crate::telemetry::{Parent, RecentRequest, Statements};

/// The most calls that may be nested.
const DEPTH_LIMIT: u8 = 4;

/// Makes the calls of one guest, or one call of the host.
#[derive(Clone)]
pub(super) struct PeerCalls {
    pub(super) gateway: Arc<Gateway>,
    /// The deployment of the client's request, so that its calls meet the same revisions.
    pub(super) deployment: Arc<Deployment>,
    pub(super) caller: Arc<str>,
    pub(super) request_id: Arc<str>,
    pub(super) trace_parent: Option<TraceParent>,
    /// The span of the call, if it is sampled. None before the call.
    pub(super) trace: Parent,
    /// The client for which streams count. None if the host itself makes the call.
    pub(super) client: Option<Client>,
    /// How many nested calls led here. 0 for the guest of a client's request.
    pub(super) depth: u8,
}

impl Peers for PeerCalls {
    fn call(
        &self,
        request: Request<WasiBody>,
        trace: Parent,
    ) -> BoxFuture<'static, Result<Response<WasiBody>, CallError>> {
        let host = request.uri().host().unwrap_or_default();
        let Some(service) = host.strip_suffix(".internal").map(str::to_owned) else {
            return std::future::ready(Err(CallError::HttpRequestDenied)).boxed();
        };
        let may_call =
            self.deployment.services().get(&self.caller).is_some_and(|caller| caller.calls.contains(&service));
        if !may_call {
            return std::future::ready(Err(CallError::HttpRequestDenied)).boxed();
        }
        if self.depth >= DEPTH_LIMIT {
            return std::future::ready(Err(CallError::LoopDetected)).boxed();
        }
        let trace_parent = TraceParent::of_span(&trace).or_else(|| self.trace_parent.clone());
        let nested = Self { depth: self.depth + 1, trace_parent, trace, ..self.clone() };
        async move {
            let (head, body) = request.into_parts();
            let body = nested.read(&service, body).await.map_err(unreadable)?;
            let response = nested.respond_apart(service, head, body).await?;
            Ok(response
                .map(|body| body.map_err(|error| CallError::InternalError(Some(error.to_string()))).boxed_unsync()))
        }
        .boxed()
    }
}

/// A call, as the console shows it.
struct Called {
    method: Method,
    target: Uri,
    user: Option<HeaderValue>,
    /// None if nobody looks.
    statements: Option<Arc<Statements>>,
}

/// Stops a call whose caller no longer waits for it.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn unreadable(refusal: BodyRefusal) -> CallError {
    match refusal {
        BodyRefusal::TooLarge(limit) => CallError::HttpRequestBodySize(Some(limit as u64)),
        other => CallError::InternalError(Some(other.to_string())),
    }
}

impl PeerCalls {
    /// The body of a call, in the form that the called revision takes: whole for plain records, otherwise as the caller writes it.
    async fn read(&self, service: &str, body: WasiBody) -> Result<RequestBody, BodyRefusal> {
        let Some(callee) = self.deployment.services().get(service) else { return Ok(RequestBody::default()) };
        let limit = callee.revision.limits().body_bytes;
        match callee.revision.handler_kind() {
            HandlerKind::Plain => body::collect(body, None, limit).await,
            HandlerKind::HttpP2 | HandlerKind::HttpP3 => body::begin(body, None, limit).await,
        }
    }

    /// Calls a service, in a task of its own if it is WASI 0.3: wasmtime cannot run such a store within that of a caller.
    async fn respond_apart(self, service: String, head: Parts, body: RequestBody) -> Result<Response<Body>, CallError> {
        let callee = self.deployment.services().get(service.as_str());
        if callee.is_none_or(|callee| callee.revision.handler_kind() != HandlerKind::HttpP3) {
            return Ok(self.respond(&service, head, body).await);
        }
        let task = tokio::spawn(async move { self.respond(&service, head, body).await });
        let stopped = AbortOnDrop(task.abort_handle());
        let response = task.await.map_err(|error| CallError::InternalError(Some(error.to_string())));
        drop(stopped);
        response
    }

    /// Calls a service. An error becomes a response in the envelope.
    async fn respond(self, service: &str, head: Parts, body: RequestBody) -> Response<Body> {
        match self.answer(service, head, body).await {
            Ok(response) => response,
            Err(error) => error.to_response(&self.request_id),
        }
    }

    async fn answer(&self, service: &str, mut head: Parts, body: RequestBody) -> Result<Response<Body>, Error> {
        normalise_target(&mut head.uri)?;
        let (began, method, target) = (Instant::now(), head.method.clone(), head.uri.clone());
        let table = self.deployment.internal(service).ok_or(Error::NotFound)?;
        let route = table.find(&head.method, head.uri.path())?;
        let served = self.deployment.services().get(&route.service).ok_or(Error::Vacant)?;
        let parent = self.trace_parent.as_ref();
        let origin = Origin {
            client: None,
            request_id: &self.request_id,
            trace_parent: parent.map(TraceParent::header),
            shows_session: uses_tokens(served),
            secure: false,
        };
        let admitted = self.gateway.gate.admit_call(route, &self.caller, head, origin)?.with_body(body)?;
        let admitted = admitted.traced(self.trace.clone());
        let called =
            CallOrigin { trace_parent: self.trace_parent.clone(), client: self.client.clone(), depth: self.depth };
        let peers = self.gateway.peers(&self.deployment, served, &self.request_id, called);
        let (user, mut statements) = (admitted.head().headers.get(USER_ID).cloned(), None);
        let observer = self.gateway.observer(&mut statements);
        let answered = served.revision.answer(admitted, peers, self.client.clone(), observer).await;
        self.log(service, route, &answered);
        let request = Called { method, target, user, statements };
        self.keep(served, route, &request, began.elapsed(), &answered);
        Ok(answered?.response)
    }

    /// Keeps the call for the console.
    fn keep(
        &self,
        served: &Served,
        route: &Route,
        called: &Called,
        took: Duration,
        answered: &Result<Answer, Failure>,
    ) {
        let status = match answered {
            Ok(answer) => answer.response.status(),
            Err(failure) => Error::from(failure).row().status,
        };
        let cause = || match answered {
            Ok(answer) => answer.dependency_failure.clone(),
            Err(failure) => Some(failure.cause.clone()),
        };
        let output = || match answered {
            Ok(answer) => answer.output.clone(),
            Err(failure) => failure.output.clone(),
        };
        let request = |at| RecentRequest {
            at,
            request_id: self.request_id.to_string(),
            client: None,
            caller: Some(self.caller.to_string()),
            user: called.user.as_ref().map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned()),
            service: route.service.to_string(),
            revision: served.revision.digest()[..12].to_owned(),
            method: called.method.to_string(),
            path: called.target.path().to_owned(),
            route: route.pattern.to_string(),
            status: status.as_u16(),
            duration_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            cause: cause(),
            output: output(),
            statements: Arc::default(),
            further_statements: 0,
        };
        let noted = || called.statements.as_ref().map(|statements| statements.noted());
        let recent = &self.gateway.metrics.recent;
        recent.keep(status.is_server_error(), took, |at| request(at).with_statements(noted()));
    }

    fn log(&self, service: &str, route: &Route, answered: &Result<Answer, Failure>) {
        let (request_id, caller, route) = (&*self.request_id, &*self.caller, &*route.pattern);
        let trace_id = self.trace_parent.as_ref().map(TraceParent::trace_id);
        let (status, cause, guest_output) = match answered {
            Ok(answer) => {
                (Some(answer.response.status()), answer.dependency_failure.as_deref(), answer.output.as_deref())
            }
            Err(failure) => (None, Some(failure.cause.as_str()), failure.output.as_deref()),
        };
        let is_good = status.is_some_and(|status| !status.is_server_error());
        let status = status.map(|status| status.as_u16());
        macro_rules! line {
            ($level:ident, $message:literal) => {
                tracing::$level!(request_id, trace_id, service, caller, route, status, cause, guest_output, $message)
            };
        }
        if is_good { line!(debug, "call") } else { line!(error, "call failed") }
    }
}

impl Gateway {
    /// Calls an internal route of a deployment for the host itself, with a JSON body or without one. Returns status and body.
    ///
    /// # Errors
    /// If the path is no URI, or the response's body breaks off or is no JSON.
    pub async fn call(
        self: &Arc<Self>,
        deployment: &Arc<Deployment>,
        service: &str,
        method: Method,
        path: &str,
        json: Option<&serde_json::Value>,
    ) -> anyhow::Result<(hyper::StatusCode, serde_json::Value)> {
        let request = Request::builder().method(method).uri(format!("http://{service}.internal{path}"));
        let request = request.header("content-type", "application/json").body(())?;
        let call = PeerCalls {
            gateway: self.clone(),
            deployment: deployment.clone(),
            caller: HOST_NAME.into(),
            request_id: self.ids.mint(),
            trace_parent: None,
            trace: Parent::default(),
            client: None,
            depth: 0,
        };
        let body = Bytes::from(json.map(ToString::to_string).unwrap_or_default());
        let response = call.respond(service, request.into_parts().0, RequestBody::from(body)).await;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|error| anyhow::anyhow!("{error}"))?.to_bytes();
        Ok((status, serde_json::from_slice(&body)?))
    }
}
