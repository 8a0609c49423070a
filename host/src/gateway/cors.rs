//! CORS: whose pages may read answers in a browser (Fetch standard, section 3.2). Nobody's, unless the manifest names origins.
//!
//! An origin is compared byte by byte with those of the manifest; there are no patterns, and `null` is none. Credentials are never
//! allowed: a page sends its token in `authorization`, and there is no cookie that a browser could add. What a guest says
//! about CORS is dropped, because it is the operator who decides.

use std::sync::Arc;

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, HeaderMap, HeaderName,
    HeaderValue, ORIGIN, VARY,
};
use hyper::http::request::Parts;
use hyper::{Method, Response};

use crate::body::Body;
use crate::route::RouteTable;

/// What a page may send to any route, beside what every page may.
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

/// What a page may read beside what every page may.
const READ: &str = "etag, idempotency-replayed, link, location, ratelimit, ratelimit-policy, retry-after, x-comptoir-revision, \
                    x-request-id";

/// How long a browser may rely on a preflight, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

/// The origins that are let in.
pub(super) struct Cors {
    origins: Box<[HeaderValue]>,
    /// The headers that a page may send to any route.
    sent: Vec<String>,
}

/// The headers that the route of a preflight reads, on its answer.
#[derive(Clone)]
struct Read(Arc<[HeaderName]>);

/// Notes on the answer to `OPTIONS` which headers the route reads that a preflight asks about.
pub(super) fn reading(mut response: Response<Body>, table: Option<&RouteTable>, head: &Parts) -> Response<Body> {
    let wanted = head.headers.get(ACCESS_CONTROL_REQUEST_METHOD);
    let wanted = wanted.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let route = wanted.zip(table).and_then(|(method, table)| table.find(&method, head.uri.path()).ok());
    if let Some(headers) = route.and_then(|route| route.headers.clone()) {
        response.extensions_mut().insert(Read(headers));
    }
    response
}

/// What a request says of the page that it comes from.
pub(super) struct Page {
    /// Its origin, where that is let in.
    origin: Option<HeaderValue>,
    /// Whether a browser asks what it may send, before it does.
    pub(super) is_preflight: bool,
}

impl Cors {
    /// Lets in these origins, which may also send these headers. What is no header's value is nobody's origin.
    pub(super) fn new(origins: &[String], headers: &[String]) -> Self {
        Self {
            origins: origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect(),
            sent: SENT.iter().map(|name| (*name).to_owned()).chain(headers.iter().cloned()).collect(),
        }
    }

    /// Looks at where a request comes from.
    pub(super) fn page(&self, method: &Method, headers: &HeaderMap) -> Page {
        let mut sent = headers.get_all(ORIGIN).iter();
        let origin = match (sent.next(), sent.next()) {
            (Some(origin), None) if self.origins.contains(origin) => Some(origin.clone()),
            _ => None,
        };
        let is_preflight =
            origin.is_some() && method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        Page { origin, is_preflight }
    }

    /// Tells the page's browser, and caches on the way, what holds for an answer.
    pub(super) fn tell(&self, page: Page, response: &mut Response<Body>) {
        let read = response.extensions_mut().remove::<Read>();
        let headers = response.headers_mut();
        let foreign: Vec<HeaderName> =
            headers.keys().filter(|name| name.as_str().starts_with("access-control-")).cloned().collect();
        for name in foreign {
            headers.remove(name);
        }
        if self.origins.is_empty() {
            return;
        }
        headers.append(VARY, HeaderValue::from_static("origin"));
        let Some(origin) = page.origin else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if !page.is_preflight {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(READ));
            return;
        }
        if let Some(methods) = headers.get(ALLOW).cloned() {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        }
        if let Ok(sent) = HeaderValue::from_str(&self.sent_to(read.as_ref())) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, sent);
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
    }

    /// The headers that a page may send to a route which reads these.
    fn sent_to(&self, read: Option<&Read>) -> String {
        let read = read.iter().flat_map(|Read(names)| names.iter().map(HeaderName::as_str));
        let mut names: Vec<&str> = self.sent.iter().map(String::as_str).chain(read).collect();
        names.sort_unstable();
        names.dedup();
        names.join(", ")
    }
}
