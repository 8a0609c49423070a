//! The HTTP client of one service, with its pool of connections.
//!
//! The pool bounds the idle connections to each remote host, but not their sum, and a wildcard names any number of hosts. So if too many
//! connections are open, a new client with an empty pool takes over. The old one closes its idle connections. Its running requests end
//! as usual.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio_rustls::rustls::ClientConfig;

use super::connector::CheckedConnector;
use super::upload::Upload;

/// Open connections to one remote host that wait for a request.
const IDLE_PER_HOST: usize = 8;

/// Open connections of one service beyond those that `concurrency` requests use. If there are more, all idle ones are closed.
pub(super) const IDLE_IN_SUM: usize = 32;

/// How long an idle connection stays open.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// How often the host asks a silent HTTP/2 connection with running requests whether it still works.
const PING_TIME: Duration = Duration::from_secs(10);

/// The most bytes that the head of a response may have.
pub(super) const HEAD_BYTES: usize = 32 << 10;

/// Sends requests, and keeps connections.
pub(super) type Client = legacy::Client<HttpsConnector<CheckedConnector>, Upload>;

/// The current client.
pub(super) struct Clients {
    tls: ClientConfig,
    connector: CheckedConnector,
    concurrency: usize,
    current: Mutex<Pooled>,
}

/// A client, and how many connections it has opened and not closed.
struct Pooled {
    client: Client,
    open: Arc<AtomicUsize>,
}

impl Pooled {
    fn new(tls: ClientConfig, connector: &CheckedConnector, concurrency: usize) -> Self {
        let open = Arc::<AtomicUsize>::default();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(connector.counting(open.clone()));
        let client = legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_PER_HOST.min(concurrency))
            .http1_max_buf_size(HEAD_BYTES)
            .http2_max_header_list_size(HEAD_BYTES as u32)
            .http2_keep_alive_interval(PING_TIME)
            .http2_keep_alive_timeout(PING_TIME)
            .build(connector);
        Self { client, open }
    }
}

impl Clients {
    pub(super) fn new(tls: ClientConfig, connector: CheckedConnector, concurrency: usize) -> Self {
        let current = Mutex::new(Pooled::new(tls.clone(), &connector, concurrency));
        Self { tls, connector, concurrency, current }
    }

    /// The client for the next request.
    pub(super) fn get(&self) -> Client {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.open.load(Ordering::Relaxed) >= self.concurrency + IDLE_IN_SUM {
            *current = Pooled::new(self.tls.clone(), &self.connector, self.concurrency);
        }
        current.client.clone()
    }
}
