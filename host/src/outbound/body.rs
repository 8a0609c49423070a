//! The body of a remote host's response, which streams to the guest: limited in size, and in the time between two parts. Without secrets.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::FutureExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Sleep;

use super::error::OutboundError;
use super::mask::{Mask, MaskedParts};
use super::patience::Patience;
use super::report::Report;
use super::upload::Progress;
use crate::body::size_hint;

/// A response's body. Keeps the request's place within `concurrency` until it ends or is dropped.
pub struct ResponseBody {
    inner: Incoming,
    limit_bytes: u64,
    left_bytes: u64,
    patience: Patience,
    /// Runs while the guest waits for the remote. A guest that does not read lets no time pass.
    timer: Option<Pin<Box<Sleep>>>,
    permit: Option<OwnedSemaphorePermit>,
    /// Of the request's body.
    progress: Arc<Progress>,
    /// Replaces secrets. None if there are none for this host.
    mask: Option<MaskedParts>,
    /// Trailers that wait until everything before them was sent.
    trailers: Option<Frame<Bytes>>,
    /// Learns how the body ends.
    report: Option<Report>,
}

impl ResponseBody {
    pub(super) fn new(
        inner: Incoming,
        limit_bytes: u64,
        patience: Patience,
        progress: Arc<Progress>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            inner,
            limit_bytes,
            left_bytes: limit_bytes,
            patience,
            timer: None,
            permit: Some(permit),
            progress,
            mask: None,
            trailers: None,
            report: None,
        }
    }

    /// The same body, without these texts.
    pub(super) fn masked(self, mask: Mask) -> Self {
        Self { mask: Some(MaskedParts::new(mask)), ..self }
    }

    /// The same body, which reports how it ends.
    pub(super) fn reporting(self, report: Report) -> Self {
        Self { report: Some(report), ..self }
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
        let patience = self.patience;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience.time)));
        ready!(timer.poll_unpin(context));
        Poll::Ready(Some(Err(patience.error())))
    }
}

/// What a masked body does with a frame.
enum Masked {
    Send(Frame<Bytes>),
    /// The frame is held back, because it may be the beginning of a secret.
    Held,
}

impl ResponseBody {
    /// Masks a frame. Trailers wait for what was held back before them.
    fn mask(&mut self, frame: Frame<Bytes>) -> Masked {
        let Some(parts) = &mut self.mask else { return Masked::Send(frame) };
        let mut trailers = match frame.into_data() {
            Ok(data) => {
                let part = parts.part(&data);
                return if part.is_empty() { Masked::Held } else { Masked::Send(Frame::data(part)) };
            }
            Err(frame) => frame.into_trailers().unwrap_or_default(),
        };
        parts.mask().replace_in(&mut trailers);
        let trailers = Frame::trailers(trailers);
        match parts.end() {
            Some(rest) => {
                self.trailers = Some(trailers);
                Masked::Send(Frame::data(rest))
            }
            None => Masked::Send(trailers),
        }
    }

    /// What was held back until the end.
    fn rest(&mut self) -> Option<Frame<Bytes>> {
        self.mask.as_mut().and_then(MaskedParts::end).map(Frame::data)
    }

    fn held_bytes(&self) -> u64 {
        self.mask.as_ref().map_or(0, |mask| mask.held_bytes() as u64)
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = OutboundError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OutboundError>>> {
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(trailers)));
        }
        // An ended body stays ended, and a failed one does not continue.
        while self.permit.is_some() {
            match ready!(self.poll(context)) {
                Some(Ok(frame)) => {
                    if let Masked::Send(frame) = self.mask(frame) {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                }
                Some(Err(error)) => {
                    self.permit = None;
                    let error = self.progress.explain(error);
                    self.report.iter_mut().for_each(|report| report.fail(&error));
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.permit = None;
                    return Poll::Ready(self.rest().map(Ok));
                }
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        let is_empty = self.held_bytes() == 0 && self.trailers.is_none();
        is_empty && (self.permit.is_none() || self.inner.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        size_hint(self.held_bytes(), &self.inner.size_hint(), self.trailers.is_some())
    }
}
