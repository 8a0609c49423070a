//! Calls to another service on the same host. The manifest must allow the call.

mod wire;

use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{Fields, IncomingResponse, Method as WireMethod, OutgoingRequest, Scheme};
use crate::{Failure, JsonValue, Method, body};

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

fn exchange(service: &str, method: Method, path: &str, body: Option<&JsonValue>) -> Result<(u16, JsonValue), String> {
    let response = send(service, method, path, body)?;
    let incoming = response.consume().map_err(|()| "cannot read the response body twice")?;
    let bytes = wire::read(&incoming, body::LIMIT_BYTES).map_err(|error| format!("the response body is {error:?}"))?;
    let value = match bytes.as_slice() {
        [] => JsonValue::Null,
        bytes => serde_json::from_slice(bytes).map_err(|error| format!("the response body is not JSON: {error}"))?,
    };
    Ok((response.status(), value))
}

fn send(service: &str, method: Method, path: &str, body: Option<&JsonValue>) -> Result<IncomingResponse, String> {
    let bytes = body.map(|body| body.to_string().into_bytes());
    let request = request(service, method, path, bytes.as_ref().map(Vec::len))?;
    let sink = request.body().map_err(|()| "cannot write the request body twice")?;
    // Start the call before writing the body, because the host's buffer may be smaller than the body.
    let pending = outgoing_handler::handle(request, None).map_err(|error| format!("{error:?}"))?;
    let written = wire::write_all(sink, bytes.as_deref().unwrap_or_default());
    loop {
        match pending.get() {
            Some(Ok(Ok(response))) => return Ok(response),
            Some(Ok(Err(error))) => return Err(format!("{error:?}")),
            Some(Err(())) => return Err("cannot take the response twice".to_owned()),
            None if written.is_err() => return Err("cannot write the request body".to_owned()),
            None => pending.subscribe().block(),
        }
    }
}

fn request(service: &str, method: Method, path: &str, body_bytes: Option<usize>) -> Result<OutgoingRequest, String> {
    let mut headers = vec![("accept".to_owned(), b"application/json".to_vec())];
    if let Some(length) = body_bytes {
        headers.push(("content-type".to_owned(), b"application/json".to_vec()));
        headers.push(("content-length".to_owned(), length.to_string().into_bytes()));
    }
    let request = OutgoingRequest::new(Fields::from_list(&headers).map_err(|error| format!("{error:?}"))?);
    let method = match method {
        Method::Get => WireMethod::Get,
        Method::Post => WireMethod::Post,
        Method::Put => WireMethod::Put,
        Method::Patch => WireMethod::Patch,
        Method::Delete => WireMethod::Delete,
    };
    let authority = format!("{service}.internal");
    request.set_method(&method).map_err(|()| "the method is invalid")?;
    request.set_scheme(Some(&Scheme::Http)).map_err(|()| "the scheme is invalid")?;
    request.set_authority(Some(&authority)).map_err(|()| "the service name is invalid")?;
    request.set_path_with_query(Some(path)).map_err(|()| "the path is invalid")?;
    Ok(request)
}
