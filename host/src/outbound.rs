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
mod clients;
mod connection;
mod connector;
mod error;
mod lookup;
mod mask;
mod patience;
mod places;
mod remote;
mod report;
mod secret_file;
mod secrets;
mod target;
mod tls;
mod upload;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, HOST, HeaderName, TRANSFER_ENCODING};
use hyper::{Method, Request, Response, Version};
use ipnet::IpNet;

use breaker::Breaker;
use clients::Clients;
use connector::CheckedConnector;
use mask::Mask;
use patience::Patience;
use places::Places;
use remote::{Remotes, SharedRemote};
use report::Report;
use target::Target;
use upload::{Progress, Upload};

pub use allow::{AllowError, AllowedHost};
pub use body::ResponseBody;
pub use error::OutboundError;
pub use lookup::{Lookup, SystemLookup};
pub use patience::Timeouts;
pub use remote::{Ending, Remote};
pub use secret_file::SecretError;
pub use secrets::{RevisionSecrets, SecretRules, Secrets};
pub use tls::{RootsError, config as client_config, without_roots};

/// The body of a request, as the guest writes it.
pub type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

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

/// The way of one service to remote hosts.
pub struct Outbound {
    service: Arc<str>,
    rules: OutboundRules,
    clients: Clients,
    places: Places,
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
            client_config(rules.authority.as_deref())?
        } else {
            without_roots()?
        };
        let clients = Clients::new(tls, CheckedConnector::new(lookup, &rules), rules.concurrency);
        let places = Places::new(rules.concurrency);
        Ok(Self { service, rules, clients, places, remotes: Remotes::new(breaker::PAUSE) })
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
        self.places.taken()
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
        allow::find(&self.rules.allow, &target).ok_or(OutboundError::Denied)?;
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            return Err(OutboundError::Method);
        }
        *request.uri_mut() = target.uri(request.uri().path_and_query()).ok_or(OutboundError::Denied)?;
        // The client sets it again from the URI, for HTTP/1.1 alone.
        request.headers_mut().remove(HOST);
        *request.version_mut() = Version::HTTP_11;
        let remote = SharedRemote(self.remotes.get(&target));
        let Some(pass) = Breaker::pass(remote.clone(), Instant::now()) else {
            remote.0.end(Ending::NotSent);
            return Err(OutboundError::Open);
        };
        let mut report = Report::new(self.service.clone(), remote, pass);
        let mask = secrets.and_then(|secrets| secrets.insert(&target, request.headers_mut()));
        match self.respond(request, timeouts, mask, &mut report).await {
            Ok(response) => Ok(response.map(|body| body.reporting(report))),
            Err(error) => {
                report.fail(&error);
                Err(error)
            }
        }
    }

    /// Sends an allowed request, and waits for the head of its response.
    async fn respond(
        &self,
        request: Request<RequestBody>,
        timeouts: Timeouts,
        mask: Option<Mask>,
        report: &mut Report,
    ) -> Result<Response<ResponseBody>, OutboundError> {
        let patience = Patience::new(timeouts.head, self.rules.timeout);
        let permit = self.places.take(patience.time).await?;
        let (started, progress) = (Instant::now(), Arc::<Progress>::default());
        let response = self.head(request, patience, &progress).await?;
        let limit = self.rules.response_bytes;
        if response.body().size_hint().lower() > limit {
            return Err(OutboundError::TooLarge(limit));
        }
        let between = Patience::new(timeouts.between_bytes, self.rules.timeout);
        let mut response =
            masked(response.map(|body| ResponseBody::new(body, limit, between, progress, permit)), mask)?;
        response.extensions_mut().clear();
        report.head(response.status(), started.elapsed());
        Ok(response)
    }

    async fn head(
        &self,
        request: Request<RequestBody>,
        patience: Patience,
        progress: &Arc<Progress>,
    ) -> Result<Response<Incoming>, OutboundError> {
        let request = request.map(|body| Upload::new(body, progress.clone()));
        let sending = async { self.clients.get().request(upload::announce(request).await).await };
        let error = match tokio::time::timeout(patience.time, sending).await {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) => OutboundError::of(&error),
            Err(_) => patience.error(),
        };
        Err(progress.explain(error))
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

#[cfg(test)]
mod tests;
