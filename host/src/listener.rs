//! Connections: accepted, kept within limits, and closed in order.
//!
//! HTTP/1.1 and HTTP/2, over TLS where a listener has a certificate (ALPN), without it else (prior knowledge). An error of `accept` never ends a listener. A
//! connection that does nothing is closed after a time, so that holding many of them open costs a client work.

mod activity;
mod shares;
mod tls;

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use activity::{Activity, Busy, Observed, Sending};
use shares::{Share, Shares};

use crate::body::Body;
use crate::manifest::Listeners;
use crate::telemetry::Metrics;

pub use tls::{Tls, TlsError};

/// Pause after an error of `accept`, such as too many open files: trying again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bytes that hyper buffers for the head of a request. Larger than what the gateway accepts, so that the refusal of a head
/// that is a little too large is the gateway's own, in the envelope.
const HEAD_BUFFER_BYTES: usize = 128 << 10;

/// Header fields that hyper reads of an HTTP/1 request: more than the gateway accepts, for the same reason.
const HEAD_FIELDS: usize = 128;

/// Requests at one moment on one HTTP/2 connection.
const STREAMS: u32 = 128;

/// Bytes of one HTTP/2 answer that are taken before the client is known to take them, beside the last chunk. Every chunk
/// costs some 350 bytes of its own, so with hyper's 400 KiB a guest that writes byte by byte held 140 MiB.
const STREAM_BUFFER_BYTES: usize = 16 << 10;

/// A connection's place, for as long as it is open.
struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_its_address: Share,
}

/// What all listeners of a host share.
#[derive(Clone)]
pub struct Connections {
    places: Arc<Semaphore>,
    limit: usize,
    shares: Arc<Shares>,
    header_time: Duration,
    stopping: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
}

impl Connections {
    /// So many connections at once, and of one address; a request's head has so much time. `stopping` turning true ends all of
    /// them in order.
    pub fn new(listeners: &Listeners, stopping: watch::Receiver<bool>, metrics: Arc<Metrics>) -> Self {
        let limit = listeners.connections.min(Semaphore::MAX_PERMITS);
        let (places, shares) = (Arc::new(Semaphore::new(limit)), Shares::new(listeners.connections_each));
        Self { places, limit, shares, header_time: listeners.header_time, stopping, metrics }
    }

    /// Accepts connections until the host stops, and speaks TLS on them where there is a certificate.
    pub async fn serve<H, F>(self, listener: TcpListener, tls: Option<Arc<Tls>>, handle: H)
    where
        H: Fn(IpAddr, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let mut stopping = self.stopping.clone();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => return,
                accepted = self.accept(&listener) => accepted,
            };
            match accepted {
                Ok((stream, client, place)) => {
                    self.metrics.connections.fetch_add(1, Ordering::Relaxed);
                    let (tls, handle) = (tls.clone(), handle.clone());
                    tokio::spawn(self.clone().open(stream, tls, client, place, handle));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted; the listener goes on");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Connections beyond the limit stay in the kernel's queue, but for one that waits here for a place. Taking the place first
    /// would let listeners that nobody calls hold as many. Those beyond an address's share are closed: in the queue they would
    /// stand before everybody else's.
    async fn accept(&self, listener: &TcpListener) -> std::io::Result<(TcpStream, IpAddr, Place)> {
        loop {
            let (stream, peer) = listener.accept().await?;
            let client = peer.ip();
            let Some(share) = self.shares.take(client) else {
                tracing::debug!(%client, "a connection was closed: its address has as many as it may have");
                continue;
            };
            stream.set_nodelay(true)?;
            let place = self.places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
            return Ok((stream, client, Place { _of_all: place, _of_its_address: share }));
        }
    }

    /// One connection, from its handshake to its end.
    async fn open<H, F>(self, stream: TcpStream, tls: Option<Arc<Tls>>, client: IpAddr, _place: Place, handle: H)
    where
        H: Fn(IpAddr, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let activity = Arc::new(Activity::new());
        let stream = Observed { stream, activity: activity.clone() };
        let Some(tls) = tls else { return self.serve_connection(stream, activity, client, handle).await };
        let mut stopping = self.stopping.clone();
        let shaken = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            shaken = tokio::time::timeout(self.header_time, tls.acceptor().accept(stream)) => shaken,
        };
        match shaken {
            // In a box: this is far larger than a connection without it.
            Ok(Ok(stream)) => Box::pin(self.serve_connection(stream, activity, client, handle)).await,
            Ok(Err(error)) => tracing::debug!(%client, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(%client, "a TLS handshake took too long"),
        }
    }

    async fn serve_connection<S, H, F>(&self, stream: S, activity: Arc<Activity>, client: IpAddr, handle: H)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(IpAddr, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let service = service_fn(|request| {
            let busy = Busy::new(&activity);
            let answer = handle(client, request);
            async move { Ok::<_, std::convert::Infallible>(answer.await.map(|body| Sending { body, _busy: busy })) }
        });
        let builder = self.builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut stopping = self.stopping.clone();
        let close = tokio::select! {
            ended = connection.as_mut() => return log_end(ended),
            _ = stopping.wait_for(|stop| *stop) => "the host stops",
            () = activity.idle_for(self.header_time) => "it was idle",
        };
        tracing::debug!(%client, "closing a connection: {close}");
        connection.as_mut().graceful_shutdown();
        activity.touch();
        // What is being answered may end, for as long as it makes progress; a host that stops has a deadline of its own.
        tokio::select! {
            ended = connection.as_mut() => log_end(ended),
            () = activity.idle_for(self.header_time) => {}
        }
    }

    fn builder(&self) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_time)
            .max_buf_size(HEAD_BUFFER_BYTES)
            .max_headers(HEAD_FIELDS);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_send_buf_size(STREAM_BUFFER_BYTES)
            .max_header_list_size(u32::try_from(HEAD_BUFFER_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(self.header_time)
            .keep_alive_timeout(self.header_time);
        builder
    }

    /// Waits until every connection has ended, or the time is over. Whether all ended.
    pub async fn wait(&self, time: Duration) -> bool {
        let all = u32::try_from(self.limit).unwrap_or(u32::MAX);
        tokio::time::timeout(time, self.places.acquire_many(all)).await.is_ok()
    }
}

fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(error, "a connection broke");
    }
}
