//! Requests of guests to remote hosts: to those that the manifest lists, and to no others.
//!
//! ```text
//! request -> allowed? -> circuit closed? -> place within `concurrency` -> connection (pooled, or name -> addresses -> checked -> TLS) -> response
//! ```
//!
//! Each service has a client of its own, with its own connections, limits and breakers. So a service that uses its limits up, or whose
//! remote host hangs, takes nothing from others.
//!
//! The host follows no redirect: the guest sees it, and its next request is checked like any other. Proxies of the environment are
//! ignored. Requests that fail are not repeated, except if a pooled connection was closed before the request was written to it.
//!
//! This module knows no wasm. `guest` connects it with `wasi:http`.

mod address;
mod allow;
mod body;
mod breaker;
mod connector;
mod error;
mod mask;
mod remote;
mod secret_file;
mod secrets;
mod tls;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Body as _;
use hyper::header::{CONTENT_ENCODING, HOST, HeaderName, TRANSFER_ENCODING};
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use ipnet::IpNet;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use address::AddressPolicy;
use allow::Target;
use breaker::{Breaker, Pass};
use connector::CheckedConnector;
use mask::Mask;
use remote::{Remotes, SharedRemote};

pub use allow::{AllowError, AllowedHost};
pub use body::ResponseBody;
pub use connector::{Lookup, SystemLookup};
pub use error::OutboundError;
pub use remote::{Ending, Remote};
pub use secret_file::SecretError;
pub use secrets::{RevisionSecrets, SecretRules, Secrets};
pub use tls::RootsError;

/// The body of a request, as the guest writes it.
pub type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Requests that wait for a place, for each place. Further ones are refused at once.
const WAITING_PER_PLACE: usize = 4;

/// Open connections to one remote host that wait for a request.
const IDLE_CONNECTIONS: usize = 8;

/// How long such a connection stays open.
const IDLE_TIME: Duration = Duration::from_secs(60);

/// How often the host asks a silent HTTP/2 connection with running requests whether it still works.
const PING_TIME: Duration = Duration::from_secs(10);

/// The most bytes that the head of a response may have.
const HEAD_BYTES: usize = 32 << 10;

/// What the manifest says about a service's requests to remote hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundRules {
    /// The remote hosts.
    pub allow: Vec<AllowedHost>,
    /// Networks that are not public, but may be connected to.
    pub private: Vec<IpNet>,
    /// How long a request may take until the head of its response, and then each part of the body.
    pub timeout: Duration,
    /// How many requests may run at the same time.
    pub concurrency: usize,
    /// The largest body of a response in bytes.
    pub response_bytes: u64,
    /// Certificates that are trusted beside the system's, in PEM.
    pub authority: Option<PathBuf>,
}

/// The timeouts that a guest chose for one request. They can only be shorter than the manifest's.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timeouts {
    /// Until the head of the response.
    pub head: Option<Duration>,
    /// Between two parts of its body.
    pub between_bytes: Option<Duration>,
}

/// The way of one service to remote hosts.
pub struct Outbound {
    service: Arc<str>,
    rules: OutboundRules,
    client: Client<HttpsConnector<CheckedConnector>, RequestBody>,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
    remotes: Remotes,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Outbound").field("service", &self.service).finish_non_exhaustive()
    }
}

impl Outbound {
    /// Reads the certificates that the service trusts. Opens no connection.
    ///
    /// # Errors
    /// Entries of `allow` use TLS, but no certificate can be trusted, or the authority's file cannot be used.
    pub fn open(service: Arc<str>, rules: OutboundRules, lookup: Arc<dyn Lookup>) -> Result<Self, RootsError> {
        let tls = if rules.authority.is_some() || rules.allow.iter().any(AllowedHost::is_https) {
            tls::config(rules.authority.as_deref())?
        } else {
            without_roots()?
        };
        let connector = CheckedConnector::new(AddressPolicy::new(rules.private.clone()), lookup, rules.timeout);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(IDLE_CONNECTIONS.min(rules.concurrency))
            .http1_max_buf_size(HEAD_BYTES)
            .http2_max_header_list_size(HEAD_BYTES as u32)
            .http2_keep_alive_interval(PING_TIME)
            .http2_keep_alive_timeout(PING_TIME)
            .build(connector);
        let places = Arc::new(Semaphore::new(rules.concurrency));
        Ok(Self { service, rules, client, places, waiting: AtomicUsize::new(0), remotes: Remotes::default() })
    }

    /// The service.
    pub fn service(&self) -> &str {
        &self.service
    }

    /// The remote hosts that it has sent requests to.
    pub fn remotes(&self) -> Vec<Arc<Remote>> {
        self.remotes.all()
    }

    /// How many requests run now.
    pub fn running(&self) -> usize {
        self.rules.concurrency - self.places.available_permits()
    }

    /// Sends a request, with those secrets that are for its host. The response's body streams.
    ///
    /// # Errors
    /// The manifest does not allow the request, or it failed.
    pub async fn send(
        &self,
        mut request: Request<RequestBody>,
        timeouts: Timeouts,
        secrets: Option<&RevisionSecrets>,
    ) -> Result<Response<ResponseBody>, OutboundError> {
        let target = Target::of(request.uri()).ok_or(OutboundError::Denied)?;
        let entry = allow::find(&self.rules.allow, &target).ok_or(OutboundError::Denied)?;
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Err(OutboundError::Method);
        }
        *request.uri_mut() = target.uri(request.uri().path_and_query()).ok_or(OutboundError::Denied)?;
        // The client sets it again from the URI, for HTTP/1.1 alone.
        request.headers_mut().remove(HOST);
        *request.version_mut() = Version::HTTP_11;
        let remote = SharedRemote(self.remotes.get(&target, entry));
        let Some(pass) = Breaker::pass(remote.clone(), Instant::now()) else {
            remote.0.end(Ending::NotSent);
            return Err(OutboundError::Open);
        };
        let mask = secrets.and_then(|secrets| secrets.insert(&target, request.headers_mut()));
        let result = self.send_allowed(request, timeouts, &remote, mask).await;
        self.report(&remote.0, pass, result.as_ref().map(Response::status));
        result
    }

    async fn send_allowed(
        &self,
        request: Request<RequestBody>,
        timeouts: Timeouts,
        remote: &SharedRemote,
        mask: Option<Mask>,
    ) -> Result<Response<ResponseBody>, OutboundError> {
        let started = Instant::now();
        let most =
            |chosen: Option<Duration>| chosen.map_or(self.rules.timeout, |chosen| chosen.min(self.rules.timeout));
        let limit = self.rules.response_bytes;
        let head = async {
            let permit = self.place().await?;
            let response = self.client.request(request).await.map_err(|error| OutboundError::of(&error))?;
            Ok((response, permit))
        };
        let time = most(timeouts.head);
        let (response, permit) =
            tokio::time::timeout(time, head).await.unwrap_or(Err(OutboundError::TimedOut(time)))?;
        if response.body().size_hint().lower() > limit {
            return Err(OutboundError::TooLarge(limit));
        }
        let elapsed = started.elapsed();
        let between = most(timeouts.between_bytes);
        let mut response = masked(response.map(|body| ResponseBody::new(body, limit, between, permit)), mask)?;
        response.extensions_mut().clear();
        remote.0.answer(response.status(), elapsed);
        Ok(response)
    }

    /// Waits for a place within `concurrency`.
    async fn place(&self) -> Result<OwnedSemaphorePermit, OutboundError> {
        if let Ok(permit) = self.places.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let _waiting =
            Waiting::new(&self.waiting, WAITING_PER_PLACE * self.rules.concurrency).ok_or(OutboundError::Crowded)?;
        self.places.clone().acquire_owned().await.map_err(|_| OutboundError::Crowded)
    }

    /// Counts how a request ended, and tells the circuit breaker.
    fn report(&self, remote: &Remote, pass: Pass<SharedRemote>, result: Result<StatusCode, &OutboundError>) {
        let is_failure = match result {
            // 500 is no sign that the remote host is down: one kind of request may cause it.
            Ok(status) => matches!(status.as_u16(), 502..=504),
            Err(error) => {
                if let Some(ending) = Ending::of_error(error) {
                    remote.end(ending);
                }
                if !error.is_failure_of_the_remote() {
                    return;
                }
                true
            }
        };
        let (service, host) = (&*self.service, remote.name());
        if !is_failure {
            if pass.succeeded() {
                tracing::info!(service, host, "{service}: {host} answers again");
            }
        } else if let Some(pause) = pass.failed(Instant::now()) {
            let why = result.map_or_else(ToString::to_string, |status| format!("it answered {status}"));
            tracing::warn!(
                service,
                host,
                "{service}: nothing is sent to {host} for {pause:?}, because it keeps failing: {why}"
            );
        }
    }
}

/// Replaces the secrets in a response. `None` if there are none for its host.
///
/// # Errors
/// The body has a coding, although the request asked for none, so that a secret in it could not be found.
fn masked(response: Response<ResponseBody>, mask: Option<Mask>) -> Result<Response<ResponseBody>, OutboundError> {
    let Some(mask) = mask else { return Ok(response) };
    let is_coded = |name: HeaderName, plain: &str| {
        let codings = response.headers().get_all(name);
        codings.iter().any(|coding| !coding.as_bytes().eq_ignore_ascii_case(plain.as_bytes()))
    };
    if is_coded(CONTENT_ENCODING, "identity") || is_coded(TRANSFER_ENCODING, "chunked") {
        return Err(OutboundError::Coded);
    }
    let (mut head, body) = response.into_parts();
    mask.replace_in(&mut head.headers);
    Ok(Response::from_parts(head, body.masked(mask)))
}

/// For a service that uses no TLS. Every handshake would fail.
fn without_roots() -> Result<ClientConfig, RootsError> {
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    Ok(config
        .with_safe_default_protocol_versions()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

/// Counts one waiting request until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    /// None if so many wait already.
    fn new(waiting: &'a AtomicUsize, most: usize) -> Option<Self> {
        let counted = Self(waiting);
        (waiting.fetch_add(1, Ordering::Relaxed) < most).then_some(counted)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
