//! An answer on its way to its client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::activity::Activity;
use crate::body::{Body, BodyError};
use crate::shares::{Client, Kind, Share, UNCOUNTED_BYTES};

/// Bytes of an answer that HTTP/2 takes at once: as many as the connection buffers of a stream.
const PIECE_BYTES: usize = super::STREAM_BUFFER_BYTES;

/// Whose turn it is in an exchange. The host's, while it works on the answer; the client's, while it has to take what there is.
pub(super) struct Turn {
    connection: Arc<Activity>,
    /// The stream of HTTP/2.
    stream: Option<Arc<Activity>>,
    is_hosts: bool,
}

impl Turn {
    /// The host's turn, on a connection.
    pub(super) fn new(connection: &Arc<Activity>) -> Self {
        connection.work(true);
        Self { connection: connection.clone(), stream: None, is_hosts: true }
    }

    /// Says in which stream.
    pub(super) fn join(&mut self, stream: Option<Arc<Activity>>) {
        stream.iter().filter(|_| self.is_hosts).for_each(|stream| stream.work(true));
        self.stream = stream;
    }

    fn goes_to_host(&mut self, is_hosts: bool) {
        if self.is_hosts != is_hosts {
            self.is_hosts = is_hosts;
            self.connection.work(is_hosts);
            self.stream.iter().for_each(|stream| stream.work(is_hosts));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.goes_to_host(false);
    }
}

/// The body of an answer. Counts for its client until the last byte is taken.
pub(super) struct Sending {
    body: Body,
    client: Client,
    turn: Turn,
    /// What is left of a chunk that is sent in pieces.
    rest: Bytes,
    _request: Share,
}

/// Bytes of an answer that are in memory, and in the count of their client.
struct Untaken {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Untaken {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Sending {
    pub(super) fn new(body: Body, client: Client, turn: Turn, request: Share) -> Self {
        Self { body, client, turn, rest: Bytes::new(), _request: request }
    }

    /// Counts a chunk for the client while any of it is in memory.
    fn count(&self, bytes: Bytes) -> Bytes {
        if bytes.len() <= UNCOUNTED_BYTES {
            return bytes;
        }
        let share = self.client.hold(Kind::Responses, bytes.len());
        Bytes::from_owner(Untaken { bytes, _share: share })
    }

    /// The next piece of a chunk. The last byte comes alone: HTTP/2 takes a piece when the client's window has room for all that
    /// was taken before. So until the client takes the whole answer, there is something here that waits, and its time can be
    /// limited. The byte is a copy, so that it does not keep the chunk.
    fn piece(&mut self, mut chunk: Bytes) -> Bytes {
        if chunk.len() <= 1 {
            return Bytes::copy_from_slice(&chunk);
        }
        let piece = chunk.split_to(PIECE_BYTES.min(chunk.len() - 1));
        self.rest = chunk;
        piece
    }
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.turn.goes_to_host(true);
        let mut chunk = std::mem::take(&mut self.rest);
        if chunk.is_empty() {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => chunk = self.count(data),
                Some(Ok(Err(other))) => {
                    self.turn.goes_to_host(false);
                    return Poll::Ready(Some(Ok(other)));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        if self.turn.stream.is_some() {
            chunk = self.piece(chunk);
        }
        self.turn.goes_to_host(false);
        Poll::Ready(Some(Ok(Frame::data(chunk))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower() + rest);
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper + rest);
        }
        hint
    }
}
