//! Connects to remote hosts, and only to addresses that the policy allows.
//!
//! The check cannot be separated from the connection: the resolver itself drops what is not allowed, so the addresses that were checked
//! are those that are connected to. Whatever the name means a moment later changes nothing. An address in the URI never reaches the
//! resolver, so it is checked before. Last, the address of the open connection is checked, before a byte is sent.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tower_service::Service;

use super::OutboundRules;
use super::address::AddressPolicy;
use super::allow::Target;

/// How long a connection may be silent before the system asks whether the remote still exists.
const KEEPALIVE: Duration = Duration::from_secs(60);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Looks up the addresses of a name.
pub trait Lookup: Send + Sync {
    /// The addresses, in the order in which they should be tried.
    ///
    /// # Errors
    /// The system's error.
    fn lookup(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>>;
}

/// The lookup of the system (`getaddrinfo`).
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

impl Lookup for SystemLookup {
    fn lookup(&self, name: &str) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> {
        let name = name.to_owned();
        async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) }.boxed()
    }
}

/// Why the host does not connect to an address.
#[derive(Debug, thiserror::Error)]
pub(super) enum AddressError {
    /// The lookup failed.
    #[error("cannot look up the name: {0}")]
    Lookup(io::Error),
    /// Too many lookups of the service run.
    #[error("too many names are looked up")]
    Crowded,
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
    /// The policy refuses one of the name's addresses, or the address in the URI.
    #[error("the address {0} is not public")]
    Prohibited(IpAddr),
}

/// The most lookups of one service at the same time. Each takes a thread of the system's lookup until it ends, also if its request was
/// given up.
pub(super) const LOOKUPS: usize = 32;

/// Looks up names, and refuses a name if the policy refuses one of its addresses.
#[derive(Clone)]
pub(super) struct CheckedLookup {
    lookup: Arc<dyn Lookup>,
    policy: Arc<AddressPolicy>,
    places: Arc<Semaphore>,
    /// How long a lookup waits for its place. Shorter than the request's timeout, so that waiting is not taken for a silent remote host.
    waiting_time: Duration,
}

impl Service<Name> for CheckedLookup {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = AddressError;
    type Future = BoxFuture<'static, Result<Self::Response, AddressError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), AddressError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (lookup, policy) = (self.lookup.clone(), self.policy.clone());
        let place = tokio::time::timeout(self.waiting_time, self.places.clone().acquire_owned());
        async move {
            let Ok(Ok(place)) = place.await else { return Err(AddressError::Crowded) };
            // A task of its own, because the lookup goes on if this future is dropped, and keeps its place until it ends.
            let looking_up = tokio::spawn(async move {
                let _place = place;
                lookup.lookup(name.as_str()).await
            });
            let found = looking_up.await.unwrap_or_else(|error| Err(io::Error::other(error)));
            let addresses = found.map_err(AddressError::Lookup)?;
            // A public name with a private address beside a public one is an attack or a mistake. Neither should work sometimes.
            if let Some(prohibited) = addresses.iter().find(|address| !policy.allows(**address)) {
                return Err(AddressError::Prohibited(*prohibited));
            }
            if addresses.is_empty() {
                return Err(AddressError::NoAddress);
            }
            // The connector sets the port.
            let addresses: Vec<_> = addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
            Ok(addresses.into_iter())
        }
        .boxed()
    }
}

/// Opens TCP connections to allowed addresses.
#[derive(Clone)]
pub(super) struct CheckedConnector {
    tcp: HttpConnector<CheckedLookup>,
    policy: Arc<AddressPolicy>,
}

impl CheckedConnector {
    pub(super) fn new(policy: AddressPolicy, lookup: Arc<dyn Lookup>, rules: &OutboundRules) -> Self {
        let policy = Arc::new(policy);
        let mut tcp = HttpConnector::new_with_resolver(CheckedLookup {
            lookup,
            policy: policy.clone(),
            places: Arc::new(Semaphore::new(LOOKUPS.min(rules.concurrency))),
            waiting_time: rules.timeout / 2,
        });
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(rules.timeout));
        tcp.set_keepalive(Some(KEEPALIVE));
        Self { tcp, policy }
    }
}

impl Service<Uri> for CheckedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let policy = self.policy.clone();
        let check = move |address: IpAddr| {
            if policy.allows(address) { Ok(()) } else { Err(AddressError::Prohibited(address)) }
        };
        if let Some(Err(error)) = Target::of(&uri).and_then(|target| target.address()).map(&check) {
            return std::future::ready(Err(error.into())).boxed();
        }
        let connecting = self.tcp.call(uri);
        async move {
            let connection = connecting.await?;
            check(connection.inner().peer_addr()?.ip())?;
            Ok(connection)
        }
        .boxed()
    }
}
