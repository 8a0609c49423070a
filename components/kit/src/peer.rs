//! Calls to another service on the same host. The manifest must allow the call.

#[cfg(not(feature = "native"))]
use crate::bindings::wasi::http::types::Scheme;
#[cfg(not(feature = "native"))]
use crate::wire::{self, Outgoing, WireError};
use crate::{Failure, JsonValue, Method};

/// Calls a route of another service: `http://<service>.internal<path>`, with a JSON body and a JSON response.
///
/// `path` must be percent-encoded (see [`encode`](crate::encode)). Returns the status and the whole body with its envelope, or
/// null for an empty body. A response body can have 1 MiB. The host ends a call that takes too long.
///
/// # Errors
///
/// 503 `PEER_UNAVAILABLE` if there is no response, or if it is not JSON. An error status is no error here.
pub fn call(service: &str, method: Method, path: &str, body: Option<&JsonValue>) -> Result<(u16, JsonValue), Failure> {
    exchange(service, method, path, body).map_err(|cause| {
        eprintln!("cannot call the service {service}: {cause}");
        Failure::unavailable("PEER_UNAVAILABLE", "A service that this request needs is not available. Try again.", 1)
    })
}

#[cfg(feature = "native")]
use crate::native::peer::exchange;

#[cfg(not(feature = "native"))]
fn exchange(service: &str, method: Method, path: &str, body: Option<&JsonValue>) -> Result<(u16, JsonValue), String> {
    let body = body.map(|body| body.to_string().into_bytes());
    let mut headers = vec![("accept".to_owned(), b"application/json".to_vec())];
    if body.is_some() {
        headers.push(("content-type".to_owned(), b"application/json".to_vec()));
    }
    let authority = format!("{service}.internal");
    let response = wire::send(Outgoing {
        method,
        scheme: Scheme::Http,
        authority: &authority,
        path_and_query: path,
        headers,
        body: body.as_deref(),
        timeout: None,
    });
    let read = |error: WireError| format!("{error:?}");
    let response = response.map_err(read)?;
    let value = match wire::read(&response, crate::body::LIMIT_BYTES).map_err(read)?.as_slice() {
        [] => JsonValue::Null,
        bytes => serde_json::from_slice(bytes).map_err(|error| format!("the response body is not JSON: {error}"))?,
    };
    Ok((response.status(), value))
}
