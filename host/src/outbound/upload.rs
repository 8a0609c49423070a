//! The body of a request, as the guest writes it. It remembers whether the guest holds the request up.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use super::RequestBody;
use super::error::OutboundError;

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
    body: RequestBody,
    progress: Arc<Progress>,
}

impl Upload {
    pub(super) fn new(body: RequestBody, progress: Arc<Progress>) -> Self {
        Self { body, progress }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = <RequestBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.progress.waits.store(polled.is_pending(), Ordering::Relaxed);
        if matches!(polled, Poll::Ready(Some(Err(_)))) {
            self.progress.is_broken.store(true, Ordering::Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
