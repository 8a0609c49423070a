//! What a guest answered, made safe to send.

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
pub(super) fn streaming(
    answer: Response<WasiBody>,
    limit_bytes: usize,
    fate: Option<Fate>,
) -> Result<Response<Body>, String> {
    Ok(checked(answer)?.map(|body| Limited::new(Streamed { body, fate }, limit_bytes).boxed_unsync()))
}

/// Whether the store of a guest of WASI 0.3 is gone. Its bodies end like complete ones when their store is dropped.
#[derive(Debug, Clone, Default)]
pub(super) struct Gone(Arc<AtomicBool>);

/// Notes on drop that a store goes. To be dropped before the store is.
#[derive(Debug)]
pub(super) struct Going(Gone);

impl Gone {
    pub(super) fn going(&self) -> Going {
        Going(self.clone())
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::SeqCst);
    }
}

/// How the guest of a streamed answer ends.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) gone: Gone,
    /// Whether it ended well.
    pub(super) ended_well: oneshot::Receiver<bool>,
}

impl Fate {
    /// Whether the body ended because its guest failed. An end that came while the store was there is the guest's own.
    fn poll_failed(&mut self, context: &mut Context<'_>) -> Poll<bool> {
        if !self.gone.0.load(Ordering::SeqCst) {
            return Poll::Ready(false);
        }
        Pin::new(&mut self.ended_well).poll(context).map(|well| !matches!(well, Ok(true)))
    }
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

/// The body of an answer whose guest still runs.
///
/// Leaves out empty chunks. HTTP/2 takes those whatever the client's window, so they would pile up in the host while a guest
/// writes them to a client that does not read.
struct Streamed {
    body: WasiBody,
    /// None for WASI 0.2, whose unfinished bodies end with an error.
    fate: Option<Fate>,
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = WasiError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WasiError>>> {
        loop {
            // A guest that only ever writes nothing does not keep this task: its channel makes way after some of them.
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Some(frame) => return Poll::Ready(Some(frame)),
                None => break,
            }
        }
        let failed = self.fate.as_mut().map_or(Poll::Ready(false), |fate| fate.poll_failed(context));
        failed.map(|failed| failed.then_some(Err(WasiError::HttpResponseIncomplete)))
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
