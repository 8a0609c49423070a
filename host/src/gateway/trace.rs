//! What is known of a request, filled in as it goes: one line of log and one count when it is over, however it ends.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::TraceParent;
use crate::route::Route;
use crate::telemetry::{Labels, Metrics, NO_LABEL, Shared};

/// The status that is logged for a request whose client went away before its answer: nobody is sent it.
const CLIENT_GONE: u16 = 499;

/// Characters of a path that are logged. A query is not: it may hold a secret.
const PATH_LIMIT: usize = 1024;

/// A request on its way. Dropping it writes it down.
pub(super) struct Trace {
    metrics: Arc<Metrics>,
    id: Arc<str>,
    method: Method,
    path: String,
    client: IpAddr,
    started: Instant,
    /// The trace that it belongs to, where its client named one.
    pub(super) parent: Option<TraceParent>,
    /// What it asks for, once that is known.
    pub(super) route: Option<Arc<Route>>,
    /// Which revision was to answer.
    pub(super) revision: Option<HeaderValue>,
    /// What went wrong.
    pub(super) cause: Option<String>,
    /// What the guest printed.
    pub(super) output: Option<String>,
    /// The answer's; none while there is no answer.
    pub(super) status: Option<StatusCode>,
}

impl Trace {
    pub(super) fn new(metrics: &Arc<Metrics>, id: &Arc<str>, head: &Parts, client: IpAddr) -> Self {
        Self {
            metrics: metrics.clone(),
            id: id.clone(),
            method: head.method.clone(),
            path: head.uri.path().chars().take(PATH_LIMIT).collect(),
            client: client.to_canonical(),
            started: Instant::now(),
            parent: None,
            route: None,
            revision: None,
            cause: None,
            output: None,
            status: None,
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let status = self.status.map_or(CLIENT_GONE, |status| status.as_u16());
        let (request_id, method, none) = (&*self.id, &self.method, NO_LABEL);
        let (path, client) = (&*self.path, &self.client);
        let service = self.route.as_ref().map_or(none, |route| &route.service);
        let route = self.route.as_ref().map_or(none, |route| &route.pattern);
        let revision = self.revision.as_ref().and_then(|label| label.to_str().ok()).unwrap_or(none);
        let (guest_output, cause) = (self.output.as_deref(), self.cause.as_deref());
        let trace_id = self.parent.as_ref().map(TraceParent::trace_id);
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
            CLIENT_GONE => line!(info, "request given up by its client"),
            _ => line!(info, "request"),
        }
        let label = |text: &str| Shared(text.into());
        let labels = Labels {
            service: self.route.as_ref().map_or_else(|| label(none), |route| Shared(route.service.clone())),
            route: self.route.as_ref().map_or_else(|| label(none), |route| Shared(route.pattern.clone())),
            revision: label(revision.split('@').next_back().unwrap_or(none)),
            status,
        };
        self.metrics.request(&labels, duration);
    }
}
