//! Accepts connections, keeps them within limits and closes them in order.
//!
//! A listener speaks HTTP/1.1 and HTTP/2. With a certificate it uses TLS, and ALPN chooses the version. Without one, a client of
//! HTTP/2 needs prior knowledge. An error of `accept` never ends a listener. An idle connection is closed after a time, so that a
//! client cannot hold many of them for nothing. `shares` limits what one client may hold, and what all clients hold together.

mod activity;
mod control;
mod memory;
mod sending;
mod socket;
mod streams;
mod tls;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};

use activity::{Activity, Times};
use control::{Drain, Phase};
use sending::{Sending, Turn};
use socket::Observed;
use streams::Streams;

use crate::body::{Arriving, Body, IsStream, Remainder};
use crate::manifest::Listeners;
use crate::shares::{Arrival, Client, Clients, Kind, Limit, Limits, Permits, Share};
use crate::telemetry::Metrics;

pub use control::Control;
pub use tls::{Tls, TlsError, certificate_ends};

/// The pause after an error of `accept`, such as too many open files. An immediate retry would only waste CPU time.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The buffer for the head of a request, in bytes. Larger than the gateway's limit, so that the gateway itself refuses a head
/// that is slightly too large, in the envelope.
const HEAD_BUFFER_BYTES: usize = 128 << 10;

/// The most header fields that hyper reads from an HTTP/1 request. More than the gateway's limit, so that the gateway
/// itself refuses a few too many.
const HEAD_FIELDS: usize = 128;

/// While the host stops: how long it keeps reading from a client that still sends a refused body. Closing at once would reset the
/// connection, and the client would lose the response.
const STOP_LINGER: Duration = Duration::from_secs(1);

/// The most concurrent requests on one HTTP/2 connection.
const STREAMS: u32 = 128;

/// The send buffer of one HTTP/2 response, in bytes, without its last chunk. Each chunk costs about 350 bytes of its own. With
/// hyper's default of 400 KiB, a guest that writes single bytes held 140 MiB.
const STREAM_BUFFER_BYTES: usize = 16 << 10;

// The limits of the admin listener. Only the operator reaches it, so one client may use all of them.
// Each open console holds one connection and one request.
const ADMIN_CONNECTIONS: usize = 256;
const ADMIN_REQUESTS: usize = 512;
const ADMIN_BODIES_BYTES: usize = 256 << 20;

/// The right to hold one connection open. Dropping it lets another connection in.
struct ConnectionPermit {
    _of_all: OwnedSemaphorePermit,
    _of_client: Share,
}

/// The client has so many requests open that even a refusal would cost too much. Closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("the client has too many requests open")]
struct TooManyRequests;

/// The connections of a group of listeners, with their common limits. Clones share them.
#[derive(Clone)]
pub struct Connections {
    permits: Arc<Permits>,
    clients: Arc<Clients>,
    times: Arc<ArcSwap<Times>>,
    stopping: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
}

impl Connections {
    /// The connections of the public listeners. When `stopping` becomes true, all of them end in order.
    pub fn new(listeners: &Listeners, stopping: watch::Receiver<bool>, metrics: Arc<Metrics>) -> Self {
        Self::within(limits(listeners), listeners, stopping, metrics)
    }

    /// Replaces the limits of public listeners. If a client holds more than a lower limit allows, it keeps that. New times apply
    /// to new connections. Call this within a Tokio runtime.
    pub fn set_limits(&self, listeners: &Listeners) {
        let mut limits = limits(listeners);
        let new = std::mem::replace(&mut limits.connections.total, usize::MAX);
        self.clients.set_limits(limits);
        self.set_times(listeners);
        self.permits.resize(new);
    }

    /// Takes other time limits, for new connections.
    pub fn set_times(&self, listeners: &Listeners) {
        self.times.store(Arc::new(times(listeners)));
    }

    fn times(&self) -> Times {
        **self.times.load()
    }

    /// The connections of the admin listener. Its limits are separate, so that a flood of clients cannot lock the operator out.
    pub fn for_admin_listener(&self, listeners: &Listeners) -> Self {
        let all = |total| Limit { total, each: total };
        let limits = Limits {
            connections: all(ADMIN_CONNECTIONS),
            requests: all(ADMIN_REQUESTS),
            bodies: all(ADMIN_BODIES_BYTES),
            responses: all(usize::MAX),
            // It serves no components, so it has no streams.
            streams: all(0),
        };
        Self::within(limits, listeners, self.stopping.clone(), self.metrics.clone())
    }

    fn within(
        mut limits: Limits,
        listeners: &Listeners,
        stopping: watch::Receiver<bool>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let limit = limits.connections.total;
        // Connections over the total wait for a permit instead of being refused.
        limits.connections.total = usize::MAX;
        Self {
            permits: Arc::new(Permits::new(limit)),
            clients: Clients::new(limits),
            times: Arc::new(ArcSwap::from_pointee(times(listeners))),
            stopping,
            metrics,
        }
    }

    /// Returns freed memory to the system after a flood of requests. Never ends.
    pub async fn give_memory_back(self) {
        memory::give_back(&self.clients).await;
    }

    /// Accepts connections until the host stops, or until the control closes the listener.
    pub async fn serve<H, F>(self, listener: TcpListener, control: Arc<Control>, handle: H)
    where
        H: Fn(Arrival, Request<Arriving>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let (mut stopping, mut phases) = (self.stopping.clone(), control.phases());
        // Kept over the turns of the loop, because it may hold a connection that waits for its permit.
        let mut accepting = pin!(self.accept(&listener));
        loop {
            let end = async |phase| match phase {
                Phase::Draining(until) => tokio::time::sleep_until(until).await,
                Phase::Open | Phase::Closed => std::future::pending().await,
            };
            let accepted = tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => return,
                () = end(phases.now()) => if control.close() { return } else { continue },
                () = phases.changed() => continue,
                accepted = accepting.as_mut() => accepted,
            };
            accepting.set(self.accept(&listener));
            match accepted {
                Ok((stream, client, permit)) => {
                    self.metrics.connections.fetch_add(1, Ordering::Relaxed);
                    let (tls, drain) = control.connection();
                    tokio::spawn(self.clone().open(stream, tls, drain, client, permit, handle.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; the listener tries again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Accepts one connection and waits for its permit.
    ///
    /// While it waits, further connections stay in the kernel's queue. The permit comes after the connection, because otherwise
    /// each idle listener would hold one. A connection over its client's share is closed: in the queue it would delay others.
    async fn accept(&self, listener: &TcpListener) -> std::io::Result<(TcpStream, Client, ConnectionPermit)> {
        loop {
            let (stream, peer) = listener.accept().await?;
            let client = self.clients.client(peer.ip());
            let Some(share) = client.take(Kind::Connections, 1) else {
                tracing::debug!(client = %client.address(), "closed a new connection: its client has reached its limit of connections");
                continue;
            };
            stream.set_nodelay(true)?;
            let permit = self.permits.take(1).await;
            return Ok((stream, client, ConnectionPermit { _of_all: permit, _of_client: share }));
        }
    }

    /// Serves one connection, from its TLS handshake until its socket is closed.
    async fn open<H, F>(
        self,
        stream: TcpStream,
        tls: Option<Arc<Tls>>,
        drain: Drain,
        client: Client,
        _permit: ConnectionPermit,
        handle: H,
    ) where
        H: Fn(Arrival, Request<Arriving>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let activity = Arc::new(Activity::of_connection());
        let (stream, mut comes_back) = Observed::new(stream, &activity);
        match tls {
            None => self.serve_connection(stream, false, &activity, drain, &client, &handle).await,
            // Boxed, because this future is far larger than that of a plain connection.
            Some(tls) => Box::pin(self.serve_tls(stream, &tls, &activity, drain, &client, &handle)).await,
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

    async fn serve_tls<H, F>(
        &self,
        stream: Observed,
        tls: &Tls,
        activity: &Arc<Activity>,
        drain: Drain,
        client: &Client,
        handle: &H,
    ) where
        H: Fn(Arrival, Request<Arriving>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let (mut stopping, address) = (self.stopping.clone(), client.address());
        let shaken = tokio::select! {
            _ = stopping.wait_for(|stop| *stop) => return,
            shaken = tokio::time::timeout(self.times().head, tls.acceptor().accept(stream)) => shaken,
        };
        match shaken {
            Ok(Ok(stream)) => {
                activity.handshake_done();
                self.serve_connection(stream, true, activity, drain, client, handle).await;
            }
            Ok(Err(error)) => tracing::debug!(client = %address, %error, "a TLS handshake failed"),
            Err(_) => tracing::debug!(client = %address, "a TLS handshake took too long"),
        }
    }

    async fn serve_connection<S, H, F>(
        &self,
        stream: S,
        is_secure: bool,
        activity: &Arc<Activity>,
        mut drain: Drain,
        client: &Client,
        handle: &H,
    ) where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Fn(Arrival, Request<Arriving>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<Body>> + Send + 'static,
    {
        let service = service_fn(|request| answer(activity.clone(), client, is_secure, handle, request));
        let builder = self.builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut stopping = self.stopping.clone();
        let times = self.times();
        let (close, is_late) = loop {
            break tokio::select! {
                biased;
                _ = stopping.wait_for(|stop| *stop) => ("the host stops", false),
                ended = connection.as_mut() => return log_end(ended, activity),
                () = activity.expired(&times) => ("its client was idle for too long", true),
                () = drain.begun(), if !activity.is_draining() => {
                    activity.drain();
                    if !activity.is_multiplexed() {
                        // Closing now could lose a request that is on its way, so the next response closes the connection.
                        continue;
                    }
                    ("its listener closes", false)
                }
            };
        };
        tracing::debug!(client = %client.address(), "closing a connection, because {close}");
        if is_late && activity.is_blocked() {
            return;
        }
        connection.as_mut().graceful_shutdown();
        activity.touch();
        // A running request may end as long as it makes progress. When the host stops, `wait` sets the deadline.
        let times = Times { idle: times.head, ..times };
        tokio::select! {
            biased;
            ended = connection.as_mut() => log_end(ended, activity),
            () = activity.expired(&times) => {}
        }
    }

    fn builder(&self) -> Builder<Streams> {
        let head_time = self.times().head;
        let mut builder = Builder::new(Streams { time: head_time });
        builder
            .http1()
            .timer(TokioTimer::new())
            // Off, because hyper's timer also runs in the pauses between requests. `Activity` limits the time instead.
            .header_read_timeout(None)
            .max_buf_size(HEAD_BUFFER_BYTES)
            .max_headers(HEAD_FIELDS);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_send_buf_size(STREAM_BUFFER_BYTES)
            .max_header_list_size(u32::try_from(HEAD_BUFFER_BYTES).unwrap_or(u32::MAX))
            .keep_alive_interval(head_time)
            .keep_alive_timeout(head_time);
        builder
    }

    /// Waits until every connection has ended, at most for this time. Returns whether all ended.
    pub async fn wait(&self, time: Duration) -> bool {
        self.permits.all_free(time).await
    }
}

fn times(listeners: &Listeners) -> Times {
    Times { head: listeners.header_time, idle: listeners.idle_time }
}

/// The limits of all public listeners together.
fn limits(listeners: &Listeners) -> Limits {
    Limits {
        connections: Limit { total: listeners.connections, each: listeners.connections_each },
        requests: Limit { total: listeners.requests, each: listeners.requests_each },
        bodies: Limit { total: listeners.bodies_bytes, each: listeners.bodies_each_bytes },
        responses: Limit { total: listeners.responses_bytes, each: listeners.responses_each_bytes },
        streams: Limit { total: listeners.streams, each: listeners.streams_each },
    }
}

/// Answers one request. It counts for its client until the client has received the response.
fn answer<H, F>(
    activity: Arc<Activity>,
    client: &Client,
    is_secure: bool,
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
    let answered = share.map(|share| (share, handle(Arrival { client: client.clone(), has_room, is_secure }, request)));
    async move {
        turn.join(streams::current());
        let (share, answered) = answered.ok_or(TooManyRequests)?;
        let mut response = answered.await;
        let remainder = (!is_multiplexed).then_some(remainder);
        let is_stream = response.extensions().get::<IsStream>().is_some();
        let is_unread = !is_stream && remainder.as_ref().is_some_and(Remainder::is_unread);
        if is_unread {
            activity.leave_unread();
        }
        if is_unread || (!is_multiplexed && activity.is_draining()) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        // A guest that streams may still read the body, so only the end of the response shows what is left.
        let remainder = remainder.filter(|_| is_stream);
        Ok(response.map(|body| Sending::new(body, client, turn, share, remainder)))
    }
}

/// Logs a broken connection. Its client may still be sending a request that hyper has refused.
fn log_end(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>, activity: &Activity) {
    if let Err(error) = ended {
        activity.leave_unread();
        tracing::debug!(error, "the connection broke");
    }
}
