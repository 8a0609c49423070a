//! Bodies. The host reads a request's body completely before it makes an instance. A response's body may stream.
//!
//! So a slow client holds no instance, and a body over the limit is answered with 413, with or without `Content-Length`.
//!
//! `shares` limits the bytes that one client, and all clients together, hold at one moment. Bytes count when they arrive, so an
//! announced length costs nothing. The first 8 KiB of each request are free, so that logins and orders pass even if other clients
//! have used up the budget.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use crate::shares::{Client, Kind, Share, UNCOUNTED_BYTES};

/// The body of a response.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a response's body ended early. The host resets the connection (HTTP/1.1) or the stream (HTTP/2), so that the client
/// notices.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A complete body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Why a request's body could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyRefusal {
    /// The body is over this limit of the service, in bytes.
    #[error("the request's body is larger than the limit of {0} bytes")]
    TooLarge(usize),
    /// The client did not send the whole body in time.
    #[error("the request's body was not complete in time")]
    TooSlow,
    /// The connection broke, or the framing is invalid.
    #[error("the request's body is broken or incomplete")]
    Broken,
    /// The client or all clients together have reached their limit of body bytes.
    #[error("the client, or all clients together, hold too many bytes of request bodies")]
    Overloaded,
}

/// The body of a request while it arrives.
#[derive(Debug)]
pub struct Arriving {
    body: Incoming,
    /// The client, for which the bytes count.
    client: Client,
    /// Set when the whole body has been read. None if there is no body.
    is_whole: Option<Arc<AtomicBool>>,
}

/// Tells the listener whether a request's body was read to its end.
#[derive(Debug)]
pub struct Remainder(Option<Arc<AtomicBool>>);

impl Remainder {
    /// Whether the client may still be sending the body.
    pub fn is_unread(&self) -> bool {
        self.0.as_ref().is_some_and(|is_whole| !is_whole.load(Ordering::Relaxed))
    }
}

impl Arriving {
    /// Wraps a request's body, so that the listener learns whether it was read to its end.
    pub fn watch(request: Request<Incoming>, client: Client) -> (Request<Self>, Remainder) {
        let is_whole = (!request.body().is_end_stream()).then(Arc::default);
        let remainder = Remainder(is_whole.clone());
        (request.map(|body| Self { body, client, is_whole }), remainder)
    }
}

impl HttpBody for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if matches!(polled, Poll::Ready(None)) || (polled.is_ready() && self.body.is_end_stream()) {
            self.is_whole.iter().for_each(|is_whole| is_whole.store(true, Ordering::Relaxed));
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

/// The whole body of a request. It counts for its client until it is dropped.
#[derive(Debug, Default)]
pub struct RequestBody {
    /// All bytes of the body.
    pub bytes: Bytes,
    _share: Option<Share>,
}

/// Bytes of a body that count for their client until the last clone is dropped.
struct Counted {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl RequestBody {
    /// The bytes. They keep counting for the client until the last clone of them is dropped.
    pub fn into_bytes(self) -> Bytes {
        match self._share {
            Some(share) => Bytes::from_owner(Counted { bytes: self.bytes, _share: share }),
            None => self.bytes,
        }
    }
}

impl From<Bytes> for RequestBody {
    /// A body that the host itself made. It counts for no client.
    fn from(bytes: Bytes) -> Self {
        Self { bytes, _share: None }
    }
}

/// Reads a whole body.
///
/// # Errors
/// `BodyRefusal`. The client may still be sending then. The listener makes sure that it gets the response (`listener::socket`).
pub async fn read(mut body: Arriving, limit: usize, time: Duration) -> Result<RequestBody, BodyRefusal> {
    if body.is_end_stream() {
        return Ok(RequestBody::default());
    }
    let read = tokio::time::timeout(time, read_frames(&mut body, limit)).await;
    read.unwrap_or(Err(BodyRefusal::TooSlow))
}

async fn read_frames(body: &mut Arriving, limit: usize) -> Result<RequestBody, BodyRefusal> {
    if body.size_hint().lower() > limit as u64 {
        return Err(BodyRefusal::TooLarge(limit));
    }
    let (mut share, mut bytes) = (None, Bytes::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyRefusal::Broken)?.into_data() else { continue };
        let length = bytes.len() + data.len();
        if length > limit {
            return Err(BodyRefusal::TooLarge(limit));
        }
        if !count(&mut share, &body.client, length) {
            return Err(BodyRefusal::Overloaded);
        }
        bytes = append(bytes, data);
    }
    Ok(RequestBody { bytes, _share: share })
}

/// Grows a body's share to this many bytes, minus the free ones. Returns false if that is over a limit.
fn count(share: &mut Option<Share>, client: &Client, bytes: usize) -> bool {
    let counted = bytes.saturating_sub(UNCOUNTED_BYTES);
    match share {
        _ if counted == 0 => true,
        Some(share) => share.grow(counted - share.amount()),
        None => {
            *share = client.take(Kind::Bodies, counted);
            share.is_some()
        }
    }
}

/// Appends a frame. A body of one frame, the usual case, is not copied. Later frames reuse the allocation if it has room.
fn append(start: Bytes, more: Bytes) -> Bytes {
    if start.is_empty() {
        return more;
    }
    let mut joined = start.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    joined.extend_from_slice(&more);
    joined.freeze()
}
