//! Looks up the names of remote hosts, and checks the addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tower_service::Service;

use super::OutboundRules;
use super::address::AddressPolicy;

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
    pub(super) policy: Arc<AddressPolicy>,
    places: Arc<Semaphore>,
    /// How long a lookup waits for its place. Shorter than the request's timeout, so that waiting is not taken for a silent remote host.
    waiting_time: Duration,
}

impl CheckedLookup {
    pub(super) fn new(policy: AddressPolicy, lookup: Arc<dyn Lookup>, rules: &OutboundRules) -> Self {
        let places = Arc::new(Semaphore::new(LOOKUPS.min(rules.concurrency)));
        Self { lookup, policy: Arc::new(policy), places, waiting_time: rules.timeout / 2 }
    }

    /// The same lookup and the same limit, with another policy.
    pub(super) fn with(&self, policy: AddressPolicy) -> Self {
        Self { policy: Arc::new(policy), ..self.clone() }
    }
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
