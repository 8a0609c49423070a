//! What a guest answered, made safe to send.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::{BodyExt as _, Limited};
use hyper::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use wasmtime_wasi_http::WasiBody;

use crate::body::{Body, full};

/// An answer whose guest has ended: all of its body is there, and its length is known. It comes alone where it has trailers.
///
/// # Errors
/// Why it cannot be sent.
pub(super) fn complete(
    answer: Response<WasiBody>,
    limit_bytes: usize,
) -> Result<(Response<Body>, Option<Bytes>), String> {
    let (mut head, body) = checked(answer)?.into_parts();
    let collected = Limited::new(body, limit_bytes).collect().now_or_never();
    let collected = collected.ok_or("the guest ended before its answer's body did")?;
    let collected = collected.map_err(|error| format!("the answer's body: {error}"))?;
    if collected.trailers().is_some() {
        let body = collected.map_err(|never| match never {}).boxed_unsync();
        return Ok((Response::from_parts(head, body), None));
    }
    let bytes = collected.to_bytes();
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    Ok((Response::from_parts(head, full(bytes.clone())), Some(bytes)))
}

/// The same for an answer that came in one piece.
///
/// # Errors
/// Why it cannot be sent.
pub(super) fn whole(answer: Response<Bytes>, limit_bytes: usize) -> Result<(Response<Body>, Option<Bytes>), String> {
    let (mut head, bytes) = checked(answer)?.into_parts();
    if bytes.len() > limit_bytes {
        return Err(format!("the answer's body has {} bytes, more than {limit_bytes}", bytes.len()));
    }
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    Ok((Response::from_parts(head, full(bytes.clone())), Some(bytes)))
}

/// An answer whose guest still runs.
///
/// # Errors
/// Why it cannot be sent.
pub(super) fn streaming(answer: Response<WasiBody>, limit_bytes: usize) -> Result<Response<Body>, String> {
    Ok(checked(answer)?.map(|body| Limited::new(WithoutEmpty(body), limit_bytes).boxed_unsync()))
}

/// Takes nothing from a guest that would break the framing: an interim status, or a length that it only claims.
fn checked<B>(mut answer: Response<B>) -> Result<Response<B>, String> {
    let status = answer.status().as_u16();
    if !(200..=599).contains(&status) {
        return Err(format!("the guest answered with status {status}"));
    }
    answer.headers_mut().remove(CONTENT_LENGTH);
    Ok(answer)
}

/// A body whose empty chunks are left out. HTTP/2 takes those whatever the client's window, and so they would pile up in
/// the host without end while a guest writes them to a client that does not read.
struct WithoutEmpty(WasiBody);

impl HttpBody for WithoutEmpty {
    type Data = Bytes;
    type Error = <WasiBody as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            // A guest that only ever writes nothing does not keep this task: its channel makes way after some of them.
            match ready!(Pin::new(&mut self.0).poll_frame(context)) {
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                other => return Poll::Ready(other),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
