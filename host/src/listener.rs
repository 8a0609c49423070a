//! Connections: accepted, kept within limits, and closed in order.
//!
//! HTTP/1.1 and HTTP/2, over TLS where a listener has a certificate (ALPN), without it else (prior knowledge). An error of `accept` never ends a listener. A
//! connection that does nothing is closed after a time, so that holding many of them open costs a client work. What one client
//! may hold is bounded, and so is what all may hold together (`shares`).

mod activity;
mod memory;
mod sending;
mod socket;
mod streams;
mod tls;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use activity::{Activity, Times};
use sending::{Sending, Turn};
use socket::Observed;
use streams::Streams;

use crate::body::{Arriving, Body};
use crate::manifest::Listeners;
use crate::shares::{Arrival, Client, Clients, Kind, Limit, Limits, Share};
use crate::telemetry::Metrics;

pub use tls::{Tls, TlsError};

/// Pause after an error of `accept`, such as too many open files: trying again at once would only burn time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bytes that hyper buffers for the head of a request. Larger than what the gateway accepts, so that the refusal of a head
/// that is a little too large is the gateway's own, in the envelope.
const HEAD_BUFFER_BYTES: usize = 128 << 10;

/// Header fields that hyper reads of an HTTP/1 request: more than the gateway accepts, for the same reason.
const HEAD_FIELDS: usize = 128;

/// How long a host that stops still reads what comes after a refusal, so that the refusal arrives.
const STOP_LINGER: Duration = Duration::from_secs(1);

/// Requests at one moment on one HTTP/2 connection.
const STREAMS: u32 = 128;

/// Bytes of one HTTP/2 answer that are taken before the client is known to take them, beside the last chunk. Every chunk
/// costs some 350 bytes of its own, so with hyper's 400 KiB a guest that writes byte by byte held 140 MiB.
const STREAM_BUFFER_BYTES: usize = 16 << 10;

/// What the operator may hold. Nobody else reaches that listener, so one client may have all of it.
const OPERATORS_CONNECTIONS: usize = 64;
const OPERATORS_REQUESTS: usize = 256;
const OPERATORS_BODIES_BYTES: usize = 256 << 20;

/// A connection's place, for as long as it is open.
struct Place {
    _of_all: OwnedSemaphorePermit,
    _of_its_client: Share,
}

/// A client has so many requests open that even a refusal would cost too much.
#[derive(Debug, thiserror::Error)]
#[error("the client has too many requests open")]
struct TooManyRequests;

/// What listeners share.
#[derive(Clone)]
pub struct Connections {
    places: Arc<Semaphore>,
    limit: usize,
    clients: Arc<Clients>,
    times: Times,
    stopping: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
}

impl Connections {
    /// What the public listeners share. `stopping` turning true ends all connections in order.
    pub fn new(listeners: &Listeners, stopping: watch::Receiver<bool>, metrics: Arc<Metrics>) -> Self {
        let limits = Limits {
            connections: Limit { total: listeners.connections, each: listeners.connections_each },
            requests: Limit { total: listeners.requests, each: listeners.requests_each },
            bodies: Limit { total: listeners.bodies_bytes, each: listeners.bodies_each_bytes },
            responses: Limit { total: listeners.responses_bytes, each: listeners.responses_each_bytes },
        };
        Self::within(limits, listeners, stopping, metrics)
    }

    /// The same for the admin listener, which takes nothing from the public ones, and they nothing from it.
    pub fn of_operator(&self, listeners: &Listeners) -> Self {
        let all = |total| Limit { total, each: total };
        let limits = Limits {
            connections: all(OPERATORS_CONNECTIONS),
            requests: all(OPERATORS_REQUESTS),
            bodies: all(OPERATORS_BODIES_BYTES),
            responses: all(usize::MAX),
        };
        Self::within(limits, listeners, self.stopping.clone(), self.metrics.clone())
    }

    fn within(
        mut limits: Limits,
        listeners: &Listeners,
        stopping: watch::Receiver<bool>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let limit = limits.connections.total.min(Semaphore::MAX_PERMITS);
        // Connections beyond the total wait for a place and are not refused.
        limits.connections.total = usize::MAX;
        let times = Times { head: listeners.header_time, idle: listeners.idle_time };
        Self { places: Arc::new(Semaphore::new(limit)), limit, clients: Clients::new(limits), times, stopping, metrics }
    }

    /// Gives memory back to the system after floods. Never ends.
    pub async fn give_memory_back(self) {
        memory::give_back(&self.clients).await;
    }

    /// Accepts connections until the host stops, and speaks TLS on them where there is a certificate.
    pub async fn serve<H, F>(self, listener: TcpListener, tls: Option<Arc<Tls>>, handle: H)
    where
        H: Fn(Arrival, Request<Arriving>) -> F + Clone + Send + Sync + 'static,
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
    /// would let listeners that nobody calls hold as many. Those beyond a client's share are closed: in the queue they would
    /// stand before everybody else's.
    async fn accept(&self, listener: &TcpListener) -> std::io::Result<(TcpStream, Client, Place)> {
        loop {
            let (stream, peer) = listener.accept().await?;
            let client = self.clients.client(peer.ip());
            let Some(share) = client.take(Kind::Connections, 1) else {
                tracing::debug!(client = %client.address(), "a connection was closed: its address has as many as it may have");
                continue;
            };
            stream.set_nodelay(true)?;
            let place = self.places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
            return Ok((stream, client, Place { _of_all: place, _of_its_client: share }));
        }
    }

    /// One connection, from its handshake until its socket is closed.
    async fn open<H, F>(self, stream: TcpStream, tls: Option<Arc<Tls>>, client: Client, _place: Place, handle: H)
    where
        H: Fn(Arrival, Request<Arriving>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let activity = Arc::new(Activity::of_connection());
        let (stream, mut comes_back) = Observed::new(stream, &activity);
        match tls {
            None => self.serve_connection(stream, &activity, &client, &handle).await,
            // In a box: this is far larger than a connection without it.
            Some(tls) => Box::pin(self.serve_tls(stream, &tls, &activity, &client, &handle)).await,
        }
        if activity.has_unread()
            && let Ok(stream) = comes_back.try_recv()
        {
            let mut stopping = self.stopping.clone();
            let stopped = async {
                let _ = stopping.wait_for(|stop| *stop).await;
                tokio::time::sleep(STOP_LINGER).await;
            };
            tokio::select! {
                () = socket::linger(stream) => {}
                () = stopped => {}
            }
        }
    }

    async fn serve_tls<H, F>(&self, stream: Observed, tls: &Tls, activity: &Arc<Activity>, client: &Client, handle: &H)
    where
        H: Fn(Arrival, Request<Arriving>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let (mut stopping, address) = (self.stopping.clone(), client.address());
        let shaken = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            shaken = tokio::time::timeout(self.times.head, tls.acceptor().accept(stream)) => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => {
                activity.handshake_done();
                self.serve_connection(stream, activity, client, handle).await;
            }
            Ok(Err(error)) => tracing::debug!(client = %address, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(client = %address, "a TLS handshake took too long"),
        }
    }

    async fn serve_connection<S, H, F>(&self, stream: S, activity: &Arc<Activity>, client: &Client, handle: &H)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Arrival, Request<Arriving>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let service = service_fn(|request| answer(activity.clone(), client, handle, request));
        let builder = self.builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut stopping = self.stopping.clone();
        let (close, is_late) = tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => ("the host stops", false),
            ended = connection.as_mut() => return log_end(ended, activity),
            () = activity.expired(&self.times) => ("its client let its time pass", true),
        };
        tracing::debug!(client = %client.address(), "closing a connection: {close}");
        if is_late && activity.is_blocked() {
            return;
        }
        connection.as_mut().graceful_shutdown();
        activity.touch();
        // What is being answered may end, for as long as it makes progress; a host that stops has a deadline of its own.
        let times = Times { idle: self.times.head, ..self.times };
        tokio::select! {
            biased;
            ended = connection.as_mut() => log_end(ended, activity),
            () = activity.expired(&times) => {}
        }
    }

    fn builder(&self) -> Builder<Streams> {
        let mut builder = Builder::new(Streams { time: self.times.head });
        builder
            .http1()
            .timer(TokioTimer::new())
            // Its timer would run in the pauses between requests too.
            .header_read_timeout(None)
            .max_buf_size(HEAD_BUFFER_BYTES)
            .max_headers(HEAD_FIELDS);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_send_buf_size(STREAM_BUFFER_BYTES)
            .max_header_list_size(u32::try_from(HEAD_BUFFER_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(self.times.head)
            .keep_alive_timeout(self.times.head);
        builder
    }

    /// Waits until every connection has ended, or the time is over. Whether all ended.
    pub async fn wait(&self, time: Duration) -> bool {
        let all = u32::try_from(self.limit).unwrap_or(u32::MAX);
        tokio::time::timeout(time, self.places.acquire_many(all)).await.is_ok()
    }
}

/// Answers one request, and counts it for its client until its answer is taken.
fn answer<H, F>(
    activity: Arc<Activity>,
    client: &Client,
    handle: &H,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Sending>, TooManyRequests>> + Send + use<H, F>
where
    H: Fn(Arrival, Request<Arriving>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let is_multiplexed = request.version() == Version::HTTP_2;
    activity.request(is_multiplexed);
    let mut turn = Turn::new(&activity);
    let share = client.take(Kind::Requests, 1);
    let has_room = share.is_some() && !client.is_full(Kind::Responses);
    let share = share.or_else(|| client.take(Kind::Refusals, 1));
    let (request, remainder) = Arriving::watch(request, client.clone());
    let client = client.clone();
    let answered = share.map(|share| (share, handle(Arrival { client: client.clone(), has_room }, request)));
    async move {
        turn.join(streams::current());
        let (share, answered) = answered.ok_or(TooManyRequests)?;
        let mut response = answered.await;
        if !is_multiplexed && remainder.is_unread() {
            activity.leave_unread();
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| Sending::new(body, client, turn, share)))
    }
}

/// A request that could not be read was answered before its end.
fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>, activity: &Activity) {
    if let Err(error) = ended {
        activity.leave_unread();
        tracing::debug!(error, "a connection broke");
    }
}
