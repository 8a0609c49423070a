//! Requests to remote hosts through `wasi:http`: converts between a guest's requests and the service's client.

use std::io::ErrorKind;
use std::sync::Arc;

use http_body_util::BodyExt as _;
use hyper::Request;
use hyper::header::{HeaderName, HeaderValue};
use wasmtime_wasi_http::{DEFAULT_FORBIDDEN_HEADERS, Error, RequestOptions, WasiBody};

use super::denials::RequestDenials;
use super::dependency_failure::DependencyFailure;
use crate::outbound::{Outbound, OutboundError, RevisionSecrets, Timeouts};
use crate::telemetry::Parent;

/// The distributed trace of a request (W3C Trace Context).
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");

/// The way to remote hosts of one request.
#[derive(Clone)]
pub struct RemoteCalls {
    /// The service's client.
    pub outbound: Arc<Outbound>,
    /// The revision's secrets, if its service has any.
    pub secrets: Option<Arc<RevisionSecrets>>,
    /// The distributed trace that the client's request belongs to.
    pub trace_parent: Option<HeaderValue>,
}

impl RemoteCalls {
    /// Sends a request. Records a failure of the remote host, and a denied request.
    pub(super) async fn send(
        self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        failure: DependencyFailure,
        denials: Option<RequestDenials>,
        trace: Parent,
    ) -> Result<hyper::Response<WasiBody>, Error> {
        let (method, origin) = (request.method().clone(), origin(&request));
        let mut request = request.map(|body| body.map_err(|error| error.to_string().into()).boxed_unsync());
        let own = trace.header().and_then(|header| HeaderValue::try_from(header).ok());
        if let Some(trace_parent) = own.or(self.trace_parent) {
            // A guest that takes part in the trace has set its own span.
            request.headers_mut().entry(TRACE_PARENT).or_insert(trace_parent);
        }
        let response = match self.outbound.send(request, timeouts(options), self.secrets.as_deref()).await {
            Ok(response) => response,
            Err(error) => {
                match &denials {
                    Some(denials) if error.is_denial() => denials.request(&method, &origin, &error),
                    Some(denials) => {
                        if let OutboundError::Prohibited(address) = error {
                            denials.address(&method, &origin, address);
                        }
                    }
                    None => {}
                }
                record(&failure, &origin, &error);
                return Err(wasi(error));
            }
        };
        if response.status().is_server_error() {
            failure.record(|| format!("{origin} answered {}", response.status()));
        }
        let mut response = response.map(|body| {
            let end = move |error: OutboundError| {
                record(&failure, &origin, &error);
                wasi(error)
            };
            body.map_err(end).boxed_unsync()
        });
        for name in &DEFAULT_FORBIDDEN_HEADERS {
            response.headers_mut().remove(name);
        }
        Ok(response)
    }
}

/// Scheme, host and port of a request, as the guest wrote them. Userinfo is left out, because it may be a credential.
pub(super) fn origin(request: &Request<WasiBody>) -> String {
    let uri = request.uri();
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{}://{host}", uri.scheme_str().unwrap_or("https"))
}

fn record(failure: &DependencyFailure, origin: &str, error: &OutboundError) {
    if error.is_dependency_failure() {
        failure.record(|| format!("{origin} failed: {error}"));
    }
}

/// `connect_timeout` alone bounds nothing, because a pooled connection needs none.
fn timeouts(options: Option<RequestOptions>) -> Timeouts {
    let RequestOptions { connect_timeout, first_byte_timeout, between_bytes_timeout } = options.unwrap_or_default();
    let head = first_byte_timeout.map(|first| first.saturating_add(connect_timeout.unwrap_or_default()));
    Timeouts { head, between_bytes: between_bytes_timeout }
}

fn wasi(error: OutboundError) -> Error {
    match error {
        OutboundError::Denied => Error::HttpRequestDenied,
        OutboundError::Method => Error::HttpRequestMethodInvalid,
        OutboundError::Prohibited(_) => Error::DestinationIpProhibited,
        OutboundError::Open => Error::DestinationUnavailable,
        OutboundError::Crowded => Error::ConnectionLimitReached,
        OutboundError::TimedOut(_) | OutboundError::GaveUp(_) => Error::HttpResponseTimeout,
        OutboundError::Lookup(_) => Error::DnsError { rcode: None, info_code: None },
        OutboundError::Connect(error) => match error.kind() {
            ErrorKind::TimedOut => Error::ConnectionTimeout,
            ErrorKind::ConnectionRefused => Error::ConnectionRefused,
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Error::ConnectionTerminated,
            _ => Error::DestinationUnavailable,
        },
        OutboundError::Tls(_) => Error::TlsProtocolError,
        OutboundError::Certificate(_) => Error::TlsCertificateError,
        OutboundError::TooLarge(limit) => Error::HttpResponseBodySize(Some(limit)),
        OutboundError::Coded => Error::HttpResponseContentCoding(None),
        OutboundError::Broken(_) => Error::HttpProtocolError,
        OutboundError::Request(_) => Error::ConnectionTerminated,
    }
}
