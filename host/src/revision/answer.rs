//! What a guest answered, made safe to send.

use futures::FutureExt as _;
use http_body_util::{BodyExt as _, Limited};
use hyper::Response;
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use wasmtime_wasi_http::WasiBody;

use crate::body::{Body, full};

/// An answer whose guest has ended: all of its body is there, and its length is known.
///
/// # Errors
/// Why it cannot be sent.
pub(super) fn complete(answer: Response<WasiBody>, limit_bytes: usize) -> Result<Response<Body>, String> {
    let (mut head, body) = checked(answer)?.into_parts();
    let collected = Limited::new(body, limit_bytes).collect().now_or_never();
    let collected = collected.ok_or("the guest ended before its answer's body did")?;
    let collected = collected.map_err(|error| format!("the answer's body: {error}"))?;
    if collected.trailers().is_some() {
        let body = collected.map_err(|never| match never {}).boxed_unsync();
        return Ok(Response::from_parts(head, body));
    }
    let bytes = collected.to_bytes();
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    Ok(Response::from_parts(head, full(bytes)))
}

/// An answer whose guest still runs.
///
/// # Errors
/// Why it cannot be sent.
pub(super) fn streaming(answer: Response<WasiBody>, limit_bytes: usize) -> Result<Response<Body>, String> {
    Ok(checked(answer)?.map(|body| Limited::new(body, limit_bytes).boxed_unsync()))
}

/// Takes nothing from a guest that would break the framing: an interim status, or a length that it only claims.
fn checked(mut answer: Response<WasiBody>) -> Result<Response<WasiBody>, String> {
    let status = answer.status().as_u16();
    if !(200..=599).contains(&status) {
        return Err(format!("the guest answered with status {status}"));
    }
    answer.headers_mut().remove(CONTENT_LENGTH);
    Ok(answer)
}
