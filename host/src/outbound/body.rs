//! The body of a remote host's response, which streams to the guest: limited in size, and in the time between two parts.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use super::error::OutboundError;

/// A response's body. Keeps the request's place within `concurrency` until it ends or is dropped.
pub struct ResponseBody {
    inner: Incoming,
    limit_bytes: u64,
    left_bytes: u64,
    timeout: Duration,
    /// Runs while the guest waits for the remote. A guest that does not read lets no time pass.
    timer: Option<Pin<Box<Sleep>>>,
    permit: Option<OwnedSemaphorePermit>,
}

impl ResponseBody {
    pub(super) fn new(inner: Incoming, limit_bytes: u64, timeout: Duration, permit: OwnedSemaphorePermit) -> Self {
        Self { inner, limit_bytes, left_bytes: limit_bytes, timeout, timer: None, permit: Some(permit) }
    }

    fn frame(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, OutboundError> {
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match self.left_bytes.checked_sub(bytes) {
            Some(left) => self.left_bytes = left,
            None => return Err(OutboundError::TooLarge(self.limit_bytes)),
        }
        Ok(frame)
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, OutboundError>>> {
        if let Poll::Ready(next) = Pin::new(&mut self.inner).poll_frame(context) {
            self.timer = None;
            return Poll::Ready(
                next.map(|next| next.map_err(|error| OutboundError::of(&error)).and_then(|frame| self.frame(frame))),
            );
        }
        let timeout = self.timeout;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        ready!(timer.poll_unpin(context));
        Poll::Ready(Some(Err(OutboundError::TimedOut(timeout))))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = OutboundError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OutboundError>>> {
        // An ended body stays ended, and a failed one does not continue.
        if self.permit.is_none() {
            return Poll::Ready(None);
        }
        let next = ready!(self.poll(context));
        if !matches!(next, Some(Ok(_))) {
            self.permit = None;
        }
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        self.permit.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
