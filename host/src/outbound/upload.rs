//! The body of a request, as the guest writes it. It remembers whether the guest holds the request up.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use hyper::{Method, Request};

use super::RequestBody;
use super::error::OutboundError;

/// How long the host waits for the first part of a GET or HEAD request's body.
pub(super) const FIRST_PART_TIME: Duration = Duration::from_secs(1);

type BodyError = <RequestBody as Body>::Error;

/// What holds a request's body up. The response's body needs it, too, because both may stream at the same time.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The host waits until the guest writes more.
    waits: AtomicBool,
    /// The guest broke the body off.
    is_broken: AtomicBool,
}

impl Progress {
    /// The cause of a failure. If the guest broke its body off, or did not continue it, the remote host could not answer.
    ///
    /// HTTP/2 does not say which side gave a stream up.
    pub(super) fn explain(&self, error: OutboundError) -> OutboundError {
        match error {
            OutboundError::Broken(cause) if self.is_broken.load(Ordering::Relaxed) => OutboundError::Request(cause),
            OutboundError::TimedOut(time) | OutboundError::GaveUp(time) if self.waits.load(Ordering::Relaxed) => {
                OutboundError::Request(format!("the component wrote no more of it within {time:?}"))
            }
            other => other,
        }
    }
}

/// A request's body that notes its progress.
pub(super) struct Upload {
    /// Read before the request is sent.
    first: Option<Result<Frame<Bytes>, BodyError>>,
    body: RequestBody,
    progress: Arc<Progress>,
}

impl Upload {
    pub(super) fn new(body: RequestBody, progress: Arc<Progress>) -> Self {
        Self { first: None, body, progress }
    }
}

/// Announces the body of a GET or HEAD request whose length is unknown.
///
/// For HTTP/1.1 the client assumes that such a request has no body, unless a header announces one. Most have none, because their guest
/// ends the body as soon as it has sent the request. So the host waits a moment for this end. HTTP/2 needs no announcement, and the client
/// leaves it out.
pub(super) async fn announce(mut request: Request<Upload>) -> Request<Upload> {
    let is_assumed_empty = matches!(*request.method(), Method::GET | Method::HEAD)
        && !request.headers().contains_key(CONTENT_LENGTH)
        && !request.body().is_end_stream()
        && request.body().size_hint().exact().is_none();
    if is_assumed_empty {
        match tokio::time::timeout(FIRST_PART_TIME, request.body_mut().frame()).await {
            Ok(None) => return request,
            Ok(first) => request.body_mut().first = first,
            Err(_) => {}
        }
        request.headers_mut().insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    request
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.progress.waits.store(polled.is_pending(), Ordering::Relaxed);
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.progress.is_broken.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.first.is_some() { SizeHint::default() } else { self.body.size_hint() }
    }
}
