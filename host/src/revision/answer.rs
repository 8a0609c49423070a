//! Checks a guest's response before it is sent: status, length, framing.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::channel::oneshot;
use http_body_util::{BodyExt as _, Limited};
use hyper::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use wasmtime_wasi_http::{Error as WasiError, WasiBody};

use crate::body::{Body, full};

/// Collects a `wasi:http` response whose guest has ended. Returns the body too, unless there are trailers.
///
/// # Errors
/// The reason why the response cannot be sent.
pub(super) fn complete(
    answer: Response<WasiBody>,
    limit_bytes: usize,
) -> Result<(Response<Body>, Option<Bytes>), String> {
    let (mut head, body) = checked(answer)?.into_parts();
    let collected = Limited::new(body, limit_bytes).collect().now_or_never();
    let collected = collected.ok_or("the guest ended before it finished the response body")?;
    let collected = collected.map_err(|error| format!("cannot read the response body: {error}"))?;
    if collected.trailers().is_some() {
        let body = collected.map_err(|never| match never {}).boxed_unsync();
        return Ok((Response::from_parts(head, body), None));
    }
    let bytes = collected.to_bytes();
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    Ok((Response::from_parts(head, full(bytes.clone())), Some(bytes)))
}

/// Checks a response of `comptoir:platform/handler`, which has its whole body. Returns the body too.
///
/// # Errors
/// The reason why the response cannot be sent.
pub(super) fn whole(answer: Response<Bytes>, limit_bytes: usize) -> Result<(Response<Body>, Option<Bytes>), String> {
    let (mut head, bytes) = checked(answer)?.into_parts();
    if bytes.len() > limit_bytes {
        return Err(format!("the response body has {} bytes, more than the limit of {limit_bytes}", bytes.len()));
    }
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    Ok((Response::from_parts(head, full(bytes.clone())), Some(bytes)))
}

/// Checks a response whose guest still runs and writes the body.
///
/// # Errors
/// The reason why the response cannot be sent.
pub(super) fn streaming(
    answer: Response<WasiBody>,
    limit_bytes: usize,
    guest_end: Option<GuestEnd>,
) -> Result<Response<Body>, String> {
    Ok(checked(answer)?.map(|body| Limited::new(Streamed { body, guest_end }, limit_bytes).boxed_unsync()))
}

/// Whether the store of a WASI 0.3 guest was dropped.
///
/// If a store is dropped, an unfinished 0.3 body ends like a complete one. This flag tells the two apart.
#[derive(Debug, Clone, Default)]
pub(super) struct StoreDropped(Arc<AtomicBool>);

/// Sets the flag when it is dropped. Drop it before the store.
#[derive(Debug)]
pub(super) struct StoreDropGuard(StoreDropped);

impl StoreDropped {
    pub(super) fn guard(&self) -> StoreDropGuard {
        StoreDropGuard(self.clone())
    }
}

impl Drop for StoreDropGuard {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

/// Reports how the guest of a streamed response ends.
#[derive(Debug)]
pub(super) struct GuestEnd {
    pub(super) store_dropped: StoreDropped,
    /// Receives whether the guest ended without an error.
    pub(super) succeeded: oneshot::Receiver<bool>,
}

impl GuestEnd {
    /// Whether the body ended because the guest failed. If the store still exists, the guest itself ended the body.
    fn poll_failed(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if !self.store_dropped.0.load(Ordering::SeqCst) {
            return Poll::Ready(false);
        }
        Pin::new(&mut self.succeeded).poll(context).map(|succeeded| !matches!(succeeded, Ok(true)))
    }
}

/// Refuses an interim status and removes the guest's `Content-Length`, because either could break the framing of HTTP/1.1.
fn checked<B>(mut answer: Response<B>) -> Result<Response<B>, String> {
    let status = answer.status().as_u16();
    if !(200..=599).contains(&status) {
        return Err(format!("the guest answered with status {status}"));
    }
    answer.headers_mut().remove(CONTENT_LENGTH);
    Ok(answer)
}

/// The body of a response whose guest still runs.
///
/// Skips empty chunks. HTTP/2 flow control does not limit those, so they would fill the host's memory if a guest writes them to a
/// client that does not read.
struct Streamed {
    body: WasiBody,
    /// None for WASI 0.2, whose unfinished bodies end with an error of their own.
    guest_end: Option<GuestEnd>,
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = WasiError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WasiError>>> {
        loop {
            // A guest that writes only empty chunks cannot block this task, because its channel yields after some of them.
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Some(frame) => return Poll::Ready(Some(frame)),
                None => break,
            }
        }
        let failed = self.guest_end.as_mut().map_or(Poll::Ready(false), |end| end.poll_failed(context));
        failed.map(|failed| failed.then_some(Err(WasiError::HttpResponseIncomplete)))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
