//! What the host itself puts into responses.

use hyper::body::Body as _;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Response, StatusCode};

use crate::body::{Body, full};
use crate::head::REQUEST_ID;

/// Names the revision that answered, as in `orders@0123456789ab`.
pub const REVISION: HeaderName = HeaderName::from_static("x-comptoir-revision");

/// The methods of the server as a whole, and of a component that accepts every method.
pub(super) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The response to `OPTIONS`.
pub(super) fn options(allow: &str) -> Response<Body> {
    let mut response = Response::new(full(""));
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let Ok(allow) = HeaderValue::from_str(allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// Sets the headers that every response carries. No cache stores a response unless the guest allows it.
pub(super) fn name(response: &mut Response<Body>, id: &str, revision: Option<&HeaderValue>) {
    let headers = response.headers_mut();
    headers.remove(REVISION);
    if let Some(revision) = revision {
        headers.insert(REVISION, revision.clone());
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// The response to `HEAD`: the headers of `GET`, with the length that its body would have (RFC 9110, section 9.3.2).
pub(super) fn without_body(mut response: Response<Body>) -> Response<Body> {
    // A 304 has no body for GET either.
    if response.status() != StatusCode::NOT_MODIFIED
        && let Some(length) = response.body().size_hint().exact()
    {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.map(|_| full(""))
}

/// Whether a response says that it never changes under its name (RFC 8246).
pub(super) fn is_immutable(response: &Response<Body>) -> bool {
    let values = response.headers().get_all(CACHE_CONTROL).iter();
    let mut directives = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    directives.any(|directive| directive.trim_ascii().eq_ignore_ascii_case(b"immutable"))
}
