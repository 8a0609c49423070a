//! The body of a request: whole, or what has arrived of it and a stream of the rest.

use std::fmt::{self, Debug, Formatter};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::HeaderMap;

use super::BodyRefusal;
use super::exchange::{Cut, Exchange};
use crate::shares::{Client, Kind, Share, UNCOUNTED_BYTES};

/// How long the host waits for the rest of a body before it streams. A body that is shorter than a packet has arrived by then.
const PROMPT_TIME: Duration = Duration::from_millis(5);

/// The longest body that is read whole if its length is announced, in bytes.
pub const SHORT_BYTES: u64 = PROMPT_BYTES as u64;

/// The most bytes that the host collects before it streams.
const PROMPT_BYTES: usize = 64 << 10;

/// The most bytes of the trailers of a request, names and values together.
const TRAILERS_BYTES: usize = 32 << 10;

/// The part of a request's body that has not arrived yet.
pub type Remaining = UnsyncBoxBody<Bytes, BodyRefusal>;

/// The body of a request. Its bytes count for the client as long as they are in memory.
#[derive(Debug, Default)]
pub struct RequestBody {
    bytes: Bytes,
    trailers: Option<HeaderMap>,
    share: Option<Share>,
    /// None if the body is whole.
    rest: Option<Rest>,
}

struct Rest {
    body: Remaining,
    exchange: Arc<Exchange>,
}

impl Debug for Rest {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Rest").field("exchange", &self.exchange).finish_non_exhaustive()
    }
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

fn counted(bytes: Bytes, share: Option<Share>) -> Bytes {
    match share {
        Some(share) => Bytes::from_owner(Counted { bytes, _share: share }),
        None => bytes,
    }
}

impl RequestBody {
    /// All bytes of a whole body, or those that have arrived.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether the request has no body at all.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.trailers.is_none() && self.rest.is_none()
    }

    /// The exchange of a body that streams. None if the body is whole.
    pub fn exchange(&self) -> Option<&Arc<Exchange>> {
        self.rest.as_ref().map(|rest| &rest.exchange)
    }

    /// Changes the part that has not arrived yet, if there is one.
    pub fn map_rest(mut self, change: impl FnOnce(Remaining) -> Remaining) -> Self {
        self.rest = self.rest.map(|rest| Rest { body: change(rest.body), ..rest });
        self
    }

    /// Changes the trailers that have arrived, if there are any.
    pub fn map_trailers(mut self, change: impl FnOnce(&mut HeaderMap)) -> Self {
        if let Some(trailers) = &mut self.trailers {
            change(trailers);
        }
        self
    }

    /// The body frame by frame, with its trailers.
    pub fn into_frames(self) -> Frames {
        let Self { bytes, trailers, share, rest } = self;
        Frames { bytes: counted(bytes, share), trailers, rest }
    }
}

impl From<Bytes> for RequestBody {
    /// A body that the host itself made. It counts for no client.
    fn from(bytes: Bytes) -> Self {
        Self { bytes, ..Self::default() }
    }
}

/// A body that is being read.
struct Reading<B> {
    body: B,
    /// The client for which the bytes count. None for a call of another service.
    client: Option<Client>,
    limit: usize,
    read: RequestBody,
}

impl<B: HttpBody<Data = Bytes> + Unpin> Reading<B> {
    /// `client` is the one for which the bytes count.
    fn new(body: B, client: Option<Client>, limit: usize) -> Result<Self, BodyRefusal> {
        if body.size_hint().lower() > limit as u64 {
            return Err(BodyRefusal::TooLarge(limit));
        }
        Ok(Self { body, client, limit, read: RequestBody::default() })
    }

    /// Reads up to the end, or until there are this many bytes. Returns whether the body is whole. Can be dropped and called again.
    async fn read(&mut self, enough: usize) -> Result<bool, BodyRefusal> {
        while self.read.bytes.len() < enough {
            let Some(frame) = self.body.frame().await else { return Ok(true) };
            match frame.map_err(|_| BodyRefusal::Broken)?.into_data() {
                Ok(data) => self.append(data)?,
                Err(frame) => self.read.trailers = frame.into_trailers().ok().map(bounded).transpose()?,
            }
            if self.body.is_end_stream() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn append(&mut self, data: Bytes) -> Result<(), BodyRefusal> {
        let length = self.read.bytes.len() + data.len();
        if length > self.limit {
            return Err(BodyRefusal::TooLarge(self.limit));
        }
        if let Some(client) = &self.client
            && !count(&mut self.read.share, client, length)
        {
            return Err(BodyRefusal::Overloaded);
        }
        self.read.bytes = append(std::mem::take(&mut self.read.bytes), data);
        Ok(())
    }
}

/// Reads a whole body. The bytes count for `client`, which is none for a call of another service.
///
/// # Errors
/// `BodyRefusal`.
pub async fn collect<B>(body: B, client: Option<Client>, limit: usize) -> Result<RequestBody, BodyRefusal>
where
    B: HttpBody<Data = Bytes> + Unpin,
{
    if body.is_end_stream() {
        return Ok(RequestBody::default());
    }
    let mut reading = Reading::new(body, client, limit)?;
    reading.read(usize::MAX).await?;
    Ok(reading.read)
}

/// Reads what arrives at once. If that is not the whole body, the rest of it streams. The bytes count for `client`.
///
/// A body that is whole by then needs no stream, so most requests do not count as one.
///
/// # Errors
/// `BodyRefusal`, as for [`collect`]. The same refusals of the rest cut the exchange.
pub async fn begin<B>(body: B, client: Option<Client>, limit: usize) -> Result<RequestBody, BodyRefusal>
where
    B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
{
    if body.is_end_stream() {
        return Ok(RequestBody::default());
    }
    let mut reading = Reading::new(body, client, limit)?;
    let exchange = Arc::new(Exchange::default());
    if let Ok(whole) = tokio::time::timeout(PROMPT_TIME, reading.read(PROMPT_BYTES)).await
        && whole?
    {
        return Ok(reading.read);
    }
    let Reading { body, client, limit, mut read } = reading;
    let body = Bounded { left: limit - read.bytes.len(), body, client, limit };
    read.rest = Some(Rest { body: body.boxed_unsync(), exchange });
    Ok(read)
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

/// Refuses trailers that are too large.
fn bounded(trailers: HeaderMap) -> Result<HeaderMap, BodyRefusal> {
    let bytes: usize = trailers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes <= TRAILERS_BYTES { Ok(trailers) } else { Err(BodyRefusal::Broken) }
}

/// The rest of a body that streams. Counts bytes against the limit while they arrive.
///
/// Only one frame is in memory at a time. It counts for the client even if that exceeds the client's share, because refusing it would
/// lose the stream.
struct Bounded<B> {
    body: B,
    client: Option<Client>,
    left: usize,
    limit: usize,
}

impl<B: HttpBody<Data = Bytes> + Unpin> HttpBody for Bounded<B> {
    type Data = Bytes;
    type Error = BodyRefusal;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyRefusal>>> {
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else { return Poll::Ready(None) };
        let frame = frame.map_err(|_| BodyRefusal::Broken).and_then(|frame| match frame.into_data() {
            Ok(data) => {
                self.left = self.left.checked_sub(data.len()).ok_or(BodyRefusal::TooLarge(self.limit))?;
                let client = self.client.as_ref().filter(|_| data.len() > UNCOUNTED_BYTES);
                let share = client.map(|client| client.hold(Kind::Bodies, data.len()));
                Ok(Frame::data(counted(data, share)))
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => bounded(trailers).map(Frame::trailers),
                Err(_) => Err(BodyRefusal::Broken),
            },
        });
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A request's body for the guest, frame by frame. It notes the progress, and ends with an error if the exchange is cut.
pub struct Frames {
    bytes: Bytes,
    trailers: Option<HeaderMap>,
    rest: Option<Rest>,
}

impl Rest {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.exchange.wake_request(context.waker());
        if let Some(cut) = self.exchange.cut() {
            return Poll::Ready(Some(Err(cut)));
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.exchange.set_waits(polled.is_pending());
        if polled.is_ready() {
            self.exchange.note_progress();
        }
        let frame = ready!(polled);
        Poll::Ready(frame.map(|frame| {
            frame.map_err(|refusal| {
                self.exchange.cut_off(Cut::Request(refusal));
                Cut::Request(refusal)
            })
        }))
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        if let Some(rest) = &self.rest {
            rest.exchange.set_waits(false);
        }
    }
}

impl HttpBody for Frames {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if !self.bytes.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.bytes)))));
        }
        if let Some(rest) = &mut self.rest {
            let frame = ready!(rest.poll_frame(context));
            if frame.is_none() {
                self.rest = None;
            }
            return Poll::Ready(frame);
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
            && self.trailers.is_none()
            && self.rest.as_ref().is_none_or(|rest| rest.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.as_ref().map_or_else(|| SizeHint::with_exact(0), |rest| rest.body.size_hint());
        super::size_hint(self.bytes.len() as u64, &rest, self.trailers.is_some())
    }
}
