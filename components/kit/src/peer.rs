//! Calls to another service of the same host, where the manifest lets this one.

mod wire;

use crate::bindings::wasi::http::outgoing_handler;
use crate::bindings::wasi::http::types::{Fields, IncomingResponse, Method as WireMethod, OutgoingRequest, Scheme};
use crate::{Failure, JsonValue, Method, body};

/// Calls a route of another service: `http://<service>.internal<path>`, with JSON in and out.
///
/// The path is percent-encoded already (see [`encode`](crate::encode)). Gives the status and the body as it came, envelope
/// and all; null for an empty one. A body is at most 1 MiB. The host ends a call that takes too long.
///
/// # Errors
///
/// 503 `PEER_UNAVAILABLE` when no answer came or it was not JSON. Any status that came is no error.
pub fn call(service: &str, method: Method, path: &str, body: Option<&JsonValue>) -> Result<(u16, JsonValue), Failure> {
    exchange(service, method, path, body).map_err(|cause| {
        eprintln!("the call to {service} failed: {cause}");
        Failure::unavailable("PEER_UNAVAILABLE", "Another service that this needs cannot answer now.", 1)
    })
}

fn exchange(service: &str, method: Method, path: &str, body: Option<&JsonValue>) -> Result<(u16, JsonValue), String> {
    let response = send(service, method, path, body)?;
    let incoming = response.consume().map_err(|()| "its body is gone")?;
    let bytes = wire::read(&incoming, body::LIMIT_BYTES).map_err(|error| format!("its body: {error:?}"))?;
    let value = match bytes.as_slice() {
        [] => JsonValue::Null,
        bytes => serde_json::from_slice(bytes).map_err(|error| format!("its body is not JSON: {error}"))?,
    };
    Ok((response.status(), value))
}

fn send(service: &str, method: Method, path: &str, body: Option<&JsonValue>) -> Result<IncomingResponse, String> {
    let bytes = body.map(|body| body.to_string().into_bytes());
    let request = request(service, method, path, bytes.as_ref().map(Vec::len))?;
    let sink = request.body().map_err(|()| "the request has no body")?;
    // The call starts before its body is written: a body longer than the host's buffer is read while it is sent.
    let pending = outgoing_handler::handle(request, None).map_err(|error| format!("{error:?}"))?;
    let written = wire::write_all(sink, bytes.as_deref().unwrap_or_default());
    loop {
        match pending.get() {
            Some(Ok(Ok(response))) => return Ok(response),
            Some(Ok(Err(error))) => return Err(format!("{error:?}")),
            Some(Err(())) => return Err("its answer is gone".to_owned()),
            None if written.is_err() => return Err("the request could not be written".to_owned()),
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
    request.set_method(&method).map_err(|()| "its method was refused")?;
    request.set_scheme(Some(&Scheme::Http)).map_err(|()| "its scheme was refused")?;
    request.set_authority(Some(&authority)).map_err(|()| "its name was refused")?;
    request.set_path_with_query(Some(path)).map_err(|()| "its path was refused")?;
    Ok(request)
}
