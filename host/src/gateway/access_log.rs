//! The access log: one line and one count in the metrics for each request, however it ends. A stream is logged when it ends.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};

use super::trace_parent::TraceParent;
use crate::body::{Body, BodyError, IsStream};
use crate::revision::StreamNotes;
use crate::route::Route;
use crate::telemetry::{Labels, Metrics, NO_LABEL, RecentRequest, Shared, Span, Statements};

/// The logged status of a request whose client closed the connection before the response. No client ever receives it.
const CLIENT_GONE: u16 = 499;

/// The most characters of a path in the log. Queries are never logged, because they may hold a secret.
const PATH_LIMIT: usize = 1024;

/// The access log entry of one request, filled in step by step. Dropping it writes the line.
pub(super) struct AccessLogEntry {
    metrics: Arc<Metrics>,
    id: Arc<str>,
    method: Method,
    path: String,
    client: IpAddr,
    started: Instant,
    trace_parent: Option<TraceParent>,
    span: Span,
    /// None until the route is known.
    pub(super) route: Option<Arc<Route>>,
    /// The label of the revision that answers. None until it is known.
    pub(super) revision: Option<HeaderValue>,
    /// None if the client closed the connection before the response.
    pub(super) status: Option<StatusCode>,
    cause: Option<String>,
    output: Option<String>,
    /// Set if the response streams. The entry is then written when it ends.
    pub(super) stream: Option<StreamNotes>,
    /// The user whose token the gate accepted, for the console alone.
    pub(super) user: Option<HeaderValue>,
    /// The SQL statements, if somebody looks.
    pub(super) statements: Option<Arc<Statements>>,
}

impl AccessLogEntry {
    pub(super) fn new(
        metrics: &Arc<Metrics>,
        id: &Arc<str>,
        head: &Parts,
        client: IpAddr,
        trace_parent: Option<TraceParent>,
        span: Span,
    ) -> Self {
        Self {
            metrics: metrics.clone(),
            id: id.clone(),
            method: head.method.clone(),
            path: head.uri.path().chars().take(PATH_LIMIT).collect(),
            client: client.to_canonical(),
            started: Instant::now(),
            trace_parent,
            span,
            route: None,
            revision: None,
            status: None,
            cause: None,
            output: None,
            stream: None,
            user: None,
            statements: None,
        }
    }

    /// Describes the request in its span, by OpenTelemetry's names for HTTP.
    fn finish_span(&mut self, labels: &Labels) {
        let Self { span, method, route, path, id, client, revision, cause, .. } = self;
        span.rename(|| {
            route.as_ref().map_or_else(|| method.to_string(), |route| format!("{method} {}", route.pattern))
        });
        span.set("http.request.method", || method.to_string());
        span.set("http.response.status_code", || i64::from(labels.status));
        span.set("http.route", || labels.route.0.to_string());
        span.set("url.path", || path.clone());
        span.set("client.address", || client.to_string());
        span.set("comptoir.request_id", || id.to_string());
        span.set("comptoir.service", || labels.service.0.to_string());
        if let Some(revision) = revision.as_ref().and_then(|label| label.to_str().ok()) {
            span.set("comptoir.revision", || revision.to_owned());
        }
        if labels.status >= 500 {
            span.fail(|| cause.clone().unwrap_or_default());
        }
    }

    /// Notes why the request failed and what the guest printed. `None` keeps an earlier note.
    pub(super) fn note(&mut self, cause: Option<String>, output: Option<String>) {
        self.cause = cause.or(self.cause.take());
        self.output = output.or(self.output.take());
    }
}

impl Drop for AccessLogEntry {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.note(stream.dependency_failure(), stream.output());
        }
        let duration = self.started.elapsed();
        let status = self.status.map_or(CLIENT_GONE, |status| status.as_u16());
        let (request_id, method, none) = (&*self.id, &self.method, NO_LABEL);
        let (path, client) = (&*self.path, &self.client);
        let service = self.route.as_ref().map_or(none, |route| &route.service);
        let route = self.route.as_ref().map_or(none, |route| &route.pattern);
        let revision = self.revision.as_ref().and_then(|label| label.to_str().ok()).unwrap_or(none);
        let (guest_output, cause) = (self.output.as_deref(), self.cause.as_deref());
        let trace_id = self.trace_parent.as_ref().map(TraceParent::trace_id);
        let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        macro_rules! line {
            ($level:ident, $message:literal) => {
                tracing::$level!(
                    request_id, trace_id, %client, service, revision, %method, path, route, status, duration_us, guest_output,
                    cause, $message
                )
            };
        }
        match status {
            500.. => line!(error, "request failed"),
            CLIENT_GONE => line!(info, "request abandoned: the client closed the connection"),
            _ => line!(info, "request"),
        }
        let label = |text: &str| Shared(text.into());
        let labels = Labels {
            service: self.route.as_ref().map_or_else(|| label(none), |route| Shared(route.service.clone())),
            route: self.route.as_ref().map_or_else(|| label(none), |route| Shared(route.pattern.clone())),
            revision: label(revision.split('@').next_back().unwrap_or(none)),
            status,
        };
        self.metrics.request(&labels, duration, self.span.parent().trace_id());
        let request = |at| RecentRequest {
            at,
            request_id: self.id.to_string(),
            client: Some(self.client.to_string()),
            caller: None,
            user: self.user.as_ref().map(|name| String::from_utf8_lossy(name.as_bytes()).into_owned()),
            service: labels.service.0.to_string(),
            revision: revision.to_owned(),
            method: self.method.to_string(),
            path: self.path.clone(),
            route: labels.route.0.to_string(),
            status,
            duration_us,
            cause: self.cause.clone(),
            output: self.output.clone(),
            statements: Arc::default(),
            further_statements: 0,
        };
        let noted = || self.statements.as_ref().map(|statements| statements.noted());
        self.metrics.recent.keep(status >= 500, duration, |at| request(at).with_statements(noted()));
        self.finish_span(&labels);
    }
}

/// Writes the entry when the response has been sent, or when it is cut.
pub(super) fn at_end(mut response: Response<Body>, entry: AccessLogEntry) -> Response<Body> {
    response.extensions_mut().insert(IsStream);
    response.map(|body| Logged { body, entry: Some(entry) }.boxed_unsync())
}

/// The body of a response that streams.
struct Logged {
    body: Body,
    /// None once it is written.
    entry: Option<AccessLogEntry>,
}

impl Logged {
    fn end(&mut self, cause: Option<String>) {
        if let Some(mut entry) = self.entry.take() {
            // The cut comes first, because it says why a call to another service broke off too.
            entry.note(cause, None);
        }
    }
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) if frame.is_data() => {}
            // Nothing comes after the trailers.
            Some(Ok(_)) | None => self.end(None),
            Some(Err(error)) => self.end(Some(format!("the stream was cut: {error}"))),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.end(Some("the stream was cut: the client went away before it was complete".to_owned()));
    }
}
