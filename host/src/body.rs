//! Bodies: a request's is read whole before a guest is made, an answer's may stream.
//!
//! Reading first means that a client who sends slowly, or never ends, holds no instance, and that a body over the limit is
//! answered with 413 whether or not its length was announced. What a client, and all of them, hold at one moment is bounded. It is
//! counted as bytes arrive, so that announcing a lot without sending it counts for nothing. The first bytes of each request are
//! not counted: logins and orders go through while others fill the rest.

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

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// What cuts an answer's body short. The connection (HTTP/1.1) or the stream (HTTP/2) is reset, so that the client sees that
/// something is missing.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body that is all there.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Why a request's body could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyRefusal {
    /// Over the limit of the service, in bytes.
    TooLarge(usize),
    /// The client did not send all of it in time.
    TooSlow,
    /// The connection broke, or the framing was wrong.
    Broken,
    /// The client, or all clients, hold as many bytes of bodies as they may.
    Overloaded,
}

/// The body of a request, as it arrives.
#[derive(Debug)]
pub struct Arriving {
    body: Incoming,
    /// Who sends it, and so holds what is read of it.
    client: Client,
    /// None if there is no body.
    is_whole: Option<Arc<AtomicBool>>,
}

/// What the listener keeps of a body that it gave away: whether all of it was read.
#[derive(Debug)]
pub struct Remainder(Option<Arc<AtomicBool>>);

impl Remainder {
    /// Whether the client may still be sending some of it.
    pub fn is_unread(&self) -> bool {
        self.0.as_ref().is_some_and(|is_whole| !is_whole.load(Ordering::Relaxed))
    }
}

impl Arriving {
    /// A request whose body tells how far it was read.
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

/// A request's body, and its share of the bytes that clients may hold, until it is dropped.
#[derive(Debug, Default)]
pub struct RequestBody {
    /// All of the body.
    pub bytes: Bytes,
    _share: Option<Share>,
}

/// The bytes of a body, which count for their client until the last of them is dropped.
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
    /// The bytes, which take the share of the budget with them.
    pub fn into_bytes(self) -> Bytes {
        match self._share {
            Some(share) => Bytes::from_owner(Counted { bytes: self.bytes, _share: share }),
            None => self.bytes,
        }
    }
}

impl From<Bytes> for RequestBody {
    /// A body that the host made or holds anyway; it counts for nobody.
    fn from(bytes: Bytes) -> Self {
        Self { bytes, _share: None }
    }
}

/// Reads a whole body.
///
/// # Errors
/// `BodyRefusal`. The listener sees to it that a client which is still sending gets the answer.
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

/// Brings a body's share to what so many bytes count for. False if that is too much.
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

/// One frame is the usual case and is not copied. Later ones go into the same allocation where it has room.
fn append(start: Bytes, more: Bytes) -> Bytes {
    if start.is_empty() {
        return more;
    }
    let mut joined = start.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    joined.extend_from_slice(&more);
    joined.freeze()
}
