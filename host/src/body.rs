//! Bodies of requests and responses, whole or streaming.
//!
//! A component with plain records gets whole bodies. The host reads a request's body before it makes an instance, so a slow
//! client holds none. A component that speaks `wasi:http` gets its bodies as streams, unless a body is short or has arrived at
//! once. The limit counts while bytes arrive, with or without `Content-Length`.
//!
//! `shares` limits the bytes that one client, and all clients together, hold at one moment. Bytes count when they arrive, so an
//! announced length costs nothing. The first 8 KiB of each request are free, so that logins and orders pass even if other clients
//! have used up the budget.

mod exchange;
mod request;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};

use crate::shares::Client;

pub use exchange::{Cut, Exchange};
pub use request::{Frames, Remaining, RequestBody, SHORT_BYTES, begin, collect};

/// The body of a response.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a response's body ended early. The host resets the connection (HTTP/1.1) or the stream (HTTP/2), so that the client
/// notices.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A complete body.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// The size hint of a body of which the host holds the first bytes, and perhaps the trailers.
///
/// The length is never exact if there are trailers, because HTTP/1.1 sends none after a body of known length (RFC 9112, section 7.1.2).
pub fn size_hint(held: u64, rest: &SizeHint, has_trailers: bool) -> SizeHint {
    let mut hint = SizeHint::new();
    hint.set_lower(rest.lower().saturating_add(held));
    if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(held))
        && !has_trailers
    {
        hint.set_upper(upper);
    }
    hint
}

/// Marks a response that streams, in its extensions.
#[derive(Debug, Clone, Copy)]
pub struct IsStream;

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
    /// The session of the caller ended while the body arrived.
    #[error("the caller's session ended while the request's body arrived")]
    SessionEnded,
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
    /// The client that sends the body.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Wraps a request's body, so that the listener learns whether it was read to its end.
    pub fn watch(request: Request<Incoming>, client: Client) -> (Request<Self>, Remainder) {
        let is_whole = (!request.body().is_end_stream()).then(Arc::default);
        let remainder = Remainder(is_whole.clone());
        (request.map(|body| Self { body, client, is_whole }), remainder)
    }
}

/// Reads a client's whole body within a time.
///
/// # Errors
/// `BodyRefusal`. The client may still be sending then. The listener makes sure that it gets the response (`listener::socket`).
pub async fn read(body: Arriving, limit: usize, time: Duration) -> Result<RequestBody, BodyRefusal> {
    let client = body.client.clone();
    let whole = tokio::time::timeout(time, collect(body, Some(client), limit)).await;
    whole.unwrap_or(Err(BodyRefusal::TooSlow))
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
