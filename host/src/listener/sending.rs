//! The body of a response while the client receives it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::activity::Activity;
use crate::body::{Body, BodyError, Remainder, size_hint};
use crate::shares::{Client, Kind, Share, UNCOUNTED_BYTES};

/// The size of the pieces of an HTTP/2 response, in bytes. It equals the send buffer of a stream.
const PIECE_BYTES: usize = super::STREAM_BUFFER_BYTES;

/// Whether an exchange waits for the host, which makes the response, or for the client, which has to receive it.
pub(super) struct Turn {
    connection: Arc<Activity>,
    /// The HTTP/2 stream. None in HTTP/1.1.
    stream: Option<Arc<Activity>>,
    waits_for_host: bool,
}

impl Turn {
    /// A new exchange on a connection. It waits for the host.
    pub(super) fn new(connection: &Arc<Activity>) -> Self {
        connection.work(true);
        Self { connection: connection.clone(), stream: None, waits_for_host: true }
    }

    /// Sets the HTTP/2 stream of the exchange.
    pub(super) fn join(&mut self, stream: Option<Arc<Activity>>) {
        stream.iter().filter(|_| self.waits_for_host).for_each(|stream| stream.work(true));
        self.stream = stream;
    }

    fn set(&mut self, waits_for_host: bool) {
        if self.waits_for_host != waits_for_host {
            self.waits_for_host = waits_for_host;
            self.connection.work(waits_for_host);
            self.stream.iter().for_each(|stream| stream.work(waits_for_host));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// The body of a response. It counts for its client until the client has received the last byte.
pub(super) struct Sending {
    body: Body,
    client: Client,
    turn: Turn,
    /// The rest of a chunk that is sent in pieces.
    rest: Bytes,
    _request: Share,
    /// Whether the request's body was read to its end. None if that was known before the response.
    remainder: Option<Remainder>,
}

/// Bytes of a response in memory, which count for their client until they are dropped.
struct CountedChunk {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for CountedChunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Sending {
    pub(super) fn new(body: Body, client: Client, turn: Turn, request: Share, remainder: Option<Remainder>) -> Self {
        Self { body, client, turn, rest: Bytes::new(), _request: request, remainder }
    }

    /// Makes a chunk count for the client while any of it is in memory.
    fn count(&self, bytes: Bytes) -> Bytes {
        if bytes.len() <= UNCOUNTED_BYTES {
            return bytes;
        }
        let share = self.client.hold(Kind::Responses, bytes.len());
        Bytes::from_owner(CountedChunk { bytes, _share: share })
    }

    /// The next piece of a chunk. The last byte is a piece of its own.
    ///
    /// HTTP/2 asks for the next piece when the client's window has room for all earlier ones. So as long as the client has not
    /// received the whole response, one piece waits here, and the client's time is limited. The last byte is a copy, so that it
    /// does not keep the whole chunk in memory.
    fn piece(&mut self, mut chunk: Bytes) -> Bytes {
        if chunk.len() <= 1 {
            return Bytes::copy_from_slice(&chunk);
        }
        let piece = chunk.split_to(PIECE_BYTES.min(chunk.len() - 1));
        self.rest = chunk;
        piece
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if self.remainder.as_ref().is_some_and(Remainder::is_unread) {
            self.turn.connection.leave_unread();
        }
    }
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.turn.set(true);
        let mut chunk = std::mem::take(&mut self.rest);
        if chunk.is_empty() {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => chunk = self.count(data),
                Some(Ok(Err(other))) => {
                    self.turn.set(false);
                    return Poll::Ready(Some(Ok(other)));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        if self.turn.stream.is_some() {
            chunk = self.piece(chunk);
        }
        self.turn.set(false);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        size_hint(self.rest.len() as u64, &self.body.size_hint(), false)
    }
}
