//! CORS: which pages may read responses in a browser (Fetch standard, section 3.2). None, unless the manifest lists origins.
//!
//! An origin must equal one of the manifest's byte by byte. There are no patterns, and `null` is never allowed. Credentials are
//! never allowed either: a page sends its token in `Authorization`, and the host sets no cookie. The operator decides about CORS,
//! so the host removes what a guest says about it.

use std::sync::Arc;

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HeaderName,
    HeaderValue, ORIGIN, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, Response};

use crate::body::Body;
use crate::route::RouteTable;

/// The request headers that a page may send to any route, besides those that CORS always allows.
const SENT: [&str; 9] = [
    "authorization",
    "baggage",
    "content-type",
    "idempotency-key",
    "if-match",
    "if-none-match",
    "traceparent",
    "tracestate",
    "x-request-id",
];

/// The response headers that a page may read, besides those that CORS always allows.
const READ: &str = "etag, idempotency-replayed, link, location, ratelimit, ratelimit-policy, retry-after, x-comptoir-revision, \
                    x-request-id";

/// How long a browser may cache the response to a preflight, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

/// The manifest's CORS rules.
pub(super) struct Cors {
    /// The origins whose pages may read responses.
    origins: Box<[HeaderValue]>,
    /// The request headers that a page may send to any route.
    sent: Vec<String>,
}

/// The request headers that the route of a preflight reads. Travels with the response from `find` to [`Cors::finish`].
#[derive(Clone)]
struct RouteHeaders(Arc<[HeaderName]>);

/// Notes on the response to a preflight which headers its route reads.
pub(super) fn note_headers(mut response: Response<Body>, table: &RouteTable, head: &Parts) -> Response<Body> {
    let wanted = head.headers.get(ACCESS_CONTROL_REQUEST_METHOD);
    let wanted = wanted.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let route = wanted.and_then(|method| table.find(&method, head.uri.path()).ok());
    if let Some(headers) = route.and_then(|route| route.headers.clone()) {
        response.extensions_mut().insert(RouteHeaders(headers));
    }
    response
}

/// What CORS needs to know about one request.
pub(super) struct CrossOrigin {
    /// The origin of the page, if the manifest lists it.
    origin: Option<HeaderValue>,
    /// Whether this is a preflight of a listed origin.
    pub(super) is_preflight: bool,
}

impl Cors {
    /// Allows these origins, whose pages may send these request headers to any route. An origin that no header could carry is
    /// ignored.
    pub(super) fn new(origins: &[String], headers: &[String]) -> Self {
        Self {
            origins: origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect(),
            sent: SENT.iter().map(|name| (*name).to_owned()).chain(headers.iter().cloned()).collect(),
        }
    }

    /// Reads the origin of a request, and whether it is a preflight.
    pub(super) fn request(&self, head: &Parts) -> CrossOrigin {
        let mut sent = head.headers.get_all(ORIGIN).iter();
        let origin = match (sent.next(), sent.next()) {
            (Some(origin), None) if self.origins.contains(origin) => Some(origin.clone()),
            _ => None,
        };
        let asks_for_method = head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let is_preflight = origin.is_some() && head.method == Method::OPTIONS && asks_for_method;
        CrossOrigin { origin, is_preflight }
    }

    /// Replaces a response's CORS headers with those that the manifest allows.
    pub(super) fn finish(&self, request: CrossOrigin, response: &mut Response<Body>) {
        let read = response.extensions_mut().remove::<RouteHeaders>();
        let headers = response.headers_mut();
        let from_guest: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
        for name in from_guest {
            headers.remove(name);
        }
        if self.origins.is_empty() {
            return;
        }
        headers.append(VARY, HeaderValue::from_static("origin"));
        let Some(origin) = request.origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if !request.is_preflight {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(READ));
            return;
        }
        if let Some(methods) = headers.get(ALLOW).cloned() {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        if let Ok(sent) = HeaderValue::from_str(&self.allowed_headers(read.as_ref())) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, sent);
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
    }

    /// The request headers that a page may send to a route that reads these.
    fn allowed_headers(&self, read: Option<&RouteHeaders>) -> String {
        let read = read.iter().flat_map(|RouteHeaders(names)| names.iter().map(HeaderName::as_str));
        let mut names: Vec<&str> = self.sent.iter().map(String::as_str).chain(read).collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    }
}
