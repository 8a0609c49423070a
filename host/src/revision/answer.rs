//! A guest's response. The host checks it before it is sent: status, length, framing.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderValue};
use hyper::http::response::Parts;
use hyper::{Response, StatusCode};
use wasmtime_wasi_http::{Error as WasiError, WasiBody};

use crate::body::{Body, BodyError, Cut, Exchange, full, size_hint};
use crate::guest::{DependencyFailure, GuestEnd, Output};

/// The most bytes of a body that the host collects while it waits for the guest's end. If there are more, the response streams.
const BEGINNING_BYTES: usize = 64 << 10;

/// A guest's response, and what the access log says about the guest.
pub struct Answer {
    /// The guest's response. The host has removed the guest's `Content-Length`.
    pub response: Response<Body>,
    /// What the guest printed to stdout and stderr, if anything.
    pub output: Option<String>,
    /// The first dependency failure during the request, if any.
    pub dependency_failure: Option<String>,
    /// What is known only when the response ends. None if the response is complete.
    pub stream: Option<StreamNotes>,
}

/// What the access log says about a guest whose response streams. Known when the stream ends.
pub struct StreamNotes {
    pub(super) output: Output,
    pub(super) failure: DependencyFailure,
}

impl StreamNotes {
    /// What the guest printed to stdout and stderr, if anything.
    pub fn output(&self) -> Option<String> {
        self.output.to_log()
    }

    /// The first dependency failure, if any.
    pub fn dependency_failure(&self) -> Option<String> {
        self.failure.cause().map(str::to_owned)
    }
}

/// A `wasi:http` response whose head was sent, with what has arrived of its body.
pub(super) struct Begun {
    head: Parts,
    frames: VecDeque<Frame<Bytes>>,
    bytes: usize,
    /// None once the body has ended.
    body: Option<WasiBody>,
    error: Option<WasiError>,
}

impl Begun {
    /// # Errors
    /// The reason why the response cannot be sent.
    pub(super) fn new(answer: Response<WasiBody>) -> Result<Self, String> {
        let (head, body) = checked(answer)?.into_parts();
        Ok(Self { head, frames: VecDeque::new(), bytes: 0, body: Some(body), error: None })
    }

    /// Collects what is there of the body, while the guest runs.
    pub(super) fn poll_fill(&mut self, context: &mut Context<'_>) {
        self.fill(context, BEGINNING_BYTES);
    }

    /// Collects what the guest has left, after its end.
    ///
    /// # Errors
    /// The reason why the response cannot be sent.
    fn finish(&mut self) -> Result<(), String> {
        self.fill(&mut Context::from_waker(Waker::noop()), usize::MAX);
        match &self.error {
            Some(error) => Err(format!("cannot read the response body: {error}")),
            None if self.body.is_some() => Err("the guest ended before it finished the response body".to_owned()),
            None => Ok(()),
        }
    }

    fn fill(&mut self, context: &mut Context<'_>, enough: usize) {
        while self.bytes < enough
            && self.error.is_none()
            && let Some(body) = &mut self.body
        {
            match Pin::new(body).poll_frame(context) {
                Poll::Pending => return,
                Poll::Ready(None) => self.body = None,
                Poll::Ready(Some(Err(error))) => self.error = Some(error),
                Poll::Ready(Some(Ok(frame))) => {
                    let bytes = frame.data_ref().map(Bytes::len);
                    self.bytes += bytes.unwrap_or_default();
                    if bytes != Some(0) {
                        self.frames.push_back(frame);
                    }
                }
            }
        }
    }

    /// The response of a guest that has ended. Returns the body too, unless there are trailers.
    ///
    /// # Errors
    /// The reason why the response cannot be sent.
    pub(super) fn whole(mut self, limit_bytes: usize) -> Result<(Response<Body>, Option<Bytes>), String> {
        self.finish()?;
        if self.bytes > limit_bytes {
            return Err(format!("the response body has {} bytes, more than the limit of {limit_bytes}", self.bytes));
        }
        let last = self.frames.pop_back_if(|frame| frame.is_trailers());
        let trailers = last.and_then(|last| last.into_trailers().ok());
        let bytes = joined(self.frames);
        if let Some(trailers) = trailers {
            // Without a length, because HTTP/1.1 has trailers only after a body in chunks (RFC 9112, section 7.1.2).
            let frames = [Frame::data(bytes), Frame::trailers(trailers)].map(Ok);
            let body = StreamBody::new(futures::stream::iter(frames)).boxed_unsync();
            return Ok((Response::from_parts(self.head, body), None));
        }
        self.head.headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        Ok((Response::from_parts(self.head, full(bytes.clone())), Some(bytes)))
    }

    /// The response with a body that streams. `guest_end` is none for WASI 0.2.
    ///
    /// `is_head` says that the client does not want the body.
    pub(super) fn stream(
        self,
        exchange: &Arc<Exchange>,
        limit_bytes: u64,
        guest_end: Option<GuestEnd>,
        is_head: bool,
    ) -> Response<Body> {
        let has_body = !is_head && !matches!(self.head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let streamed = Streamed {
            frames: self.frames,
            body: self.body,
            error: self.error,
            guest_end,
            exchange: exchange.clone(),
            left_bytes: limit_bytes,
            limit_bytes,
            has_body,
        };
        Response::from_parts(self.head, streamed.boxed_unsync())
    }
}

/// All bytes of these frames. A single frame, the usual case, is not copied.
fn joined(mut frames: VecDeque<Frame<Bytes>>) -> Bytes {
    if frames.len() < 2 {
        return frames.pop_front().and_then(|frame| frame.into_data().ok()).unwrap_or_default();
    }
    let data = frames.into_iter().filter_map(|frame| frame.into_data().ok());
    data.fold(BytesMut::new(), |mut joined, data| {
        joined.extend_from_slice(&data);
        joined
    })
    .freeze()
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

/// Refuses an interim status and removes the guest's `Content-Length`, because either could break the framing of HTTP/1.1.
fn checked<B>(mut answer: Response<B>) -> Result<Response<B>, String> {
    let status = answer.status().as_u16();
    if !(200..=599).contains(&status) {
        return Err(format!("the guest answered with status {status}"));
    }
    answer.headers_mut().remove(CONTENT_LENGTH);
    Ok(answer)
}

/// The body of a response that streams. It notes the progress, and ends with an error if the exchange is cut.
///
/// Skips empty chunks. HTTP/2 flow control does not limit those. A guest that writes them to a client that does not read would
/// fill the host's memory. If the body is dropped before its end, the client went away, and the guest is stopped.
struct Streamed {
    frames: VecDeque<Frame<Bytes>>,
    /// None once the body has ended.
    body: Option<WasiBody>,
    error: Option<WasiError>,
    /// None for WASI 0.2, whose unfinished bodies end with an error of their own.
    guest_end: Option<GuestEnd>,
    exchange: Arc<Exchange>,
    left_bytes: u64,
    limit_bytes: u64,
    /// Whether the client receives the body.
    has_body: bool,
}

impl Streamed {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(error) = self.error.take() {
            return Poll::Ready(Some(Err(error.into())));
        }
        while let Some(body) = &mut self.body {
            // A guest that writes only empty chunks cannot block this task, because its channel yields after some of them.
            match ready!(Pin::new(body).poll_frame(context)) {
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Some(frame) => return Poll::Ready(Some(frame.map_err(BodyError::from))),
                None => self.body = None,
            }
        }
        let has_failed = self.guest_end.as_ref().is_some_and(GuestEnd::has_failed);
        Poll::Ready(has_failed.then(|| Err(WasiError::HttpResponseIncomplete.into())))
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.exchange.wake_response(context.waker());
        if let Some(cut) = self.exchange.cut() {
            return Poll::Ready(Some(Err(cut.into())));
        }
        let Some(frame) = ready!(self.poll_next(context)) else {
            self.exchange.set_sent();
            return Poll::Ready(None);
        };
        self.exchange.note_progress();
        // After an error nobody polls again. The watcher learns from the guest's end why the answer is incomplete.
        let frame = frame.inspect_err(|_| self.exchange.set_sent())?;
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left_bytes.checked_sub(bytes) {
            Some(left) => self.left_bytes = left,
            None => {
                let cut = Cut::ResponseTooLarge(self.limit_bytes);
                self.exchange.cut_off(cut);
                return Poll::Ready(Some(Err(cut.into())));
            }
        }
        // Nothing comes after the trailers, so nobody may poll again.
        if frame.is_trailers() {
            self.exchange.set_sent();
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn size_hint(&self) -> SizeHint {
        let collected: u64 = self.frames.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum();
        let rest = self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint);
        size_hint(collected, &rest, self.frames.iter().any(Frame::is_trailers))
    }
}

impl Drop for Streamed {
    fn drop(&mut self) {
        if !self.has_body {
            self.exchange.set_sent();
        } else if !self.exchange.is_sent() {
            self.exchange.cut_off(Cut::ClientGone);
        }
    }
}
