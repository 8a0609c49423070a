//! `wasi:http/outgoing-handler` and `wasi:http/client`: calls to other services of this host, in process, and requests to remote hosts.
//!
//! A guest has no other way out. Every component may import these interfaces, because standard libraries do. A request that the
//! manifest does not allow is answered with the error `HTTP-request-denied`.

use std::pin::Pin;
use std::sync::Arc;

use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::header::HeaderName;
use wasmtime::component::Linker;
use wasmtime_wasi_http::{
    DEFAULT_FORBIDDEN_HEADERS, Error, ForbiddenHeaderFilter, RequestOptions, WasiBody, WasiHttp, WasiHttpHooks,
    WasiHttpView as _,
};

use super::Guest;
use super::denials::RequestDenials;
use super::dependency_failure::DependencyFailure;
use super::end::{GuestEnd, WrittenBody};
use super::outbound::{RemoteCalls, origin};
use crate::outbound::OutboundError;
use crate::telemetry::{Kind, Parent, Span};

/// The other services that a guest can call.
pub trait Peers: Send + Sync {
    /// Sends a request to `http://<service>.internal/…` and returns its response. `trace` is the span of the call.
    ///
    /// # Errors
    /// The call is not allowed, or it failed.
    fn call(
        &self,
        request: Request<WasiBody>,
        trace: Parent,
    ) -> BoxFuture<'static, Result<hyper::Response<WasiBody>, Error>>;
}

/// The outgoing requests of one store: where they may go and which headers they may have.
pub struct Outgoing {
    /// None if the service may not call others.
    peers: Option<Box<dyn Peers>>,
    /// None if the service has no `outbound` table, and in a probe and in `describe`.
    remotes: Option<RemoteCalls>,
    forbidden_headers: ForbiddenHeaderFilter,
    failure: DependencyFailure,
    /// None in a probe and in `describe`.
    denials: Option<RequestDenials>,
    /// How the guest that writes the bodies ends.
    end: GuestEnd,
    /// The span of the guest, if the request is sampled.
    trace: Parent,
}

impl Outgoing {
    /// For a guest that can send nothing.
    pub fn none(forbidden_headers: ForbiddenHeaderFilter, failure: DependencyFailure) -> Self {
        let (end, trace) = Default::default();
        Self { peers: None, remotes: None, forbidden_headers, failure, denials: None, end, trace }
    }

    /// `peers` is none if the guest may not call other services, `remotes` if it may not call remote hosts. Failed calls are recorded in
    /// `failure`, and denied ones in `denials`.
    pub fn new(
        peers: Option<Box<dyn Peers>>,
        remotes: Option<RemoteCalls>,
        forbidden_headers: ForbiddenHeaderFilter,
        failure: DependencyFailure,
        denials: RequestDenials,
    ) -> Self {
        let (end, trace) = Default::default();
        Self { peers, remotes, forbidden_headers, failure, denials: Some(denials), end, trace }
    }

    /// The same as a part of this trace: the span of the guest.
    #[must_use]
    pub fn traced(self, trace: Parent) -> Self {
        Self { trace, ..self }
    }

    /// The span of the guest, if the request is sampled.
    pub(super) fn trace(&self) -> &Parent {
        &self.trace
    }

    /// Says how the guest that sends the requests ended, or that it still runs.
    pub fn guest_end(&self) -> &GuestEnd {
        &self.end
    }

    /// Refuses all further requests.
    pub(super) fn release(&mut self) {
        (self.peers, self.remotes) = (None, None);
        (self.failure, self.denials, self.trace) = (DependencyFailure::default(), None, Parent::default());
    }

    pub(super) fn failure(&self) -> &DependencyFailure {
        &self.failure
    }

    pub(super) fn denials(&self) -> Option<&RequestDenials> {
        self.denials.as_ref()
    }
}

/// The headers that no guest may set, because they control the connection. Create it once and share it.
pub fn forbidden_headers() -> ForbiddenHeaderFilter {
    Arc::new(|name: &HeaderName| DEFAULT_FORBIDDEN_HEADERS.contains(name))
}

/// Links calls to services and remote hosts for WASI 0.2.
pub(super) fn link_calls(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi_http::p2::bindings::http::outgoing_handler;
    outgoing_handler::add_to_linker::<Guest, WasiHttp>(linker, |guest| guest.mark_uncacheable().http())
}

/// Links calls to services and remote hosts for WASI 0.3.
pub(super) fn link_calls_p3(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi_http::p3::bindings::http::client;
    client::add_to_linker::<Guest, WasiHttp>(linker, Guest::http)
}

/// The names of this host's services end with this.
const INTERNAL: &str = ".internal";

type IoResult = Box<dyn Future<Output = Result<(), Error>> + Send>;

/// Nothing is left to do for the request's body.
fn done() -> IoResult {
    Box::new(std::future::ready(Ok(())))
}

/// Describes a request in its span, by OpenTelemetry's names for HTTP. Its path may hold a secret, so it is left out.
fn describe(span: &mut Span, request: &Request<WasiBody>) {
    let uri = request.uri();
    span.rename(|| format!("{} {}", request.method(), uri.host().unwrap_or_default()));
    span.set("http.request.method", || request.method().to_string());
    span.set("server.address", || uri.host().unwrap_or_default().to_owned());
    if let Some(port) = uri.port_u16() {
        span.set("server.port", || i64::from(port));
    }
    span.set("url.scheme", || uri.scheme_str().unwrap_or("https").to_owned());
}

/// Ends the span of a request when the head of its response is there.
fn finish(mut span: Span, answer: &Result<hyper::Response<WasiBody>, Error>) {
    match answer {
        Ok(answer) => {
            span.set("http.response.status_code", || i64::from(answer.status().as_u16()));
            if answer.status().is_server_error() {
                span.fail(|| answer.status().to_string());
            }
        }
        Err(error) => span.fail(|| error.to_string()),
    }
}

impl WasiHttpHooks for Outgoing {
    fn is_forbidden_header(&mut self, name: &HeaderName) -> bool {
        (self.forbidden_headers)(name)
    }

    fn forbidden_header_filter(&mut self) -> ForbiddenHeaderFilter {
        self.forbidden_headers.clone()
    }

    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: IoResult,
    ) -> Box<dyn Future<Output = Result<(hyper::Response<WasiBody>, IoResult), Error>> + Send> {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let (failure, denials) = (self.failure.clone(), self.denials.clone());
        let request = request.map(|body| WrittenBody { body, end: self.end.clone() }.boxed_unsync());
        let mut span = self.trace.child("call", Kind::Client);
        describe(&mut span, &request);
        if let Some(remotes) = self.remotes.clone().filter(|_| !host.ends_with(INTERNAL)) {
            let sending = remotes.send(request, options, failure, denials, span.parent());
            return Box::new(async move {
                let answer = sending.await;
                finish(span, &answer);
                Ok((answer?, done()))
            });
        }
        let (method, origin) = (request.method().clone(), origin(&request));
        let deny = move || {
            if let Some(denials) = denials {
                denials.request(&method, &origin, &OutboundError::Denied);
            }
        };
        let Some(peers) = &self.peers else {
            deny();
            return Box::new(std::future::ready(Err(Error::HttpRequestDenied)));
        };
        let call: Pin<Box<_>> = peers.call(request, span.parent());
        Box::new(async move {
            let answer = call.await;
            finish(span, &answer);
            match &answer {
                // Not a dependency failure: the revision asked for something that it may not do.
                Err(Error::HttpRequestDenied) => deny(),
                Err(error) => failure.record(|| format!("a call to {host} failed: {error}")),
                Ok(answer) if answer.status().is_server_error() => {
                    failure.record(|| format!("a call to {host} was answered with {}", answer.status()));
                }
                Ok(_) => {}
            }
            let answer = answer?.map(|body| {
                let cut = move |error: Error| {
                    failure.record(|| format!("the answer to a call to {host} was cut short: {error}"));
                    error
                };
                body.map_err(cut).boxed_unsync()
            });
            Ok((answer, done()))
        })
    }

    /// A body of up to 4 chunks of 256 KiB is buffered. A larger one waits for its reader after each chunk.
    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        4
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        256 << 10
    }
}
