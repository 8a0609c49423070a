//! Connects to remote hosts, and only to addresses that the policy allows.
//!
//! The check cannot be separated from the connection: the resolver itself drops what is not allowed, so the addresses that were checked
//! are those that are connected to. Whatever the name means a moment later changes nothing. An address in the URI never reaches the
//! resolver, so it is checked before. Last, the address of the open connection is checked, before a byte is sent.
//!
//! A host that only a wildcard of `allow` covers has a public address or none: who controls one name of a domain must not reach the
//! operator's networks.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use hyper::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use tower_service::Service;

use super::OutboundRules;
use super::address::AddressPolicy;
use super::allow::{self, AllowedHost};
use super::connection::Connection;
use super::lookup::{AddressError, CheckedLookup, Lookup};
use super::target::Target;

/// How long a connection may be silent before the system asks whether the remote still exists.
const KEEPALIVE: Duration = Duration::from_secs(60);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Opens TCP connections to allowed addresses, and counts those that are open.
#[derive(Clone)]
pub(super) struct CheckedConnector {
    allow: Arc<[AllowedHost]>,
    /// To hosts that `allow` names.
    named: Tcp,
    /// To hosts that only a wildcard covers.
    below: Tcp,
    open: Arc<AtomicUsize>,
}

/// Opens connections to the addresses that one policy allows.
#[derive(Clone)]
struct Tcp {
    connector: HttpConnector<CheckedLookup>,
    policy: Arc<AddressPolicy>,
}

impl Tcp {
    fn new(lookup: CheckedLookup, timeout: Duration) -> Self {
        let policy = lookup.policy.clone();
        let mut connector = HttpConnector::new_with_resolver(lookup);
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        connector.set_keepalive(Some(KEEPALIVE));
        Self { connector, policy }
    }
}

impl CheckedConnector {
    pub(super) fn new(lookup: Arc<dyn Lookup>, rules: &OutboundRules) -> Self {
        let lookup = CheckedLookup::new(AddressPolicy::new(rules.private.clone()), lookup, rules);
        let below = Tcp::new(lookup.with(AddressPolicy::default()), rules.timeout);
        let named = Tcp::new(lookup, rules.timeout);
        Self { allow: rules.allow.clone().into(), named, below, open: Arc::default() }
    }

    /// The same connector, which counts its open connections here.
    pub(super) fn counting(&self, open: Arc<AtomicUsize>) -> Self {
        Self { open, ..self.clone() }
    }
}

impl Service<Uri> for CheckedConnector {
    type Response = Connection;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        std::task::ready!(self.named.connector.poll_ready(context))?;
        self.below.connector.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let target = Target::of(&uri);
        let entry = target.as_ref().and_then(|target| allow::find(&self.allow, target));
        let tcp = if entry.is_some_and(|entry| !entry.is_wildcard()) { &mut self.named } else { &mut self.below };
        let policy = tcp.policy.clone();
        let check = move |address: IpAddr| {
            if policy.allows(address) { Ok(()) } else { Err(AddressError::Prohibited(address)) }
        };
        if let Some(Err(error)) = target.and_then(|target| target.address()).map(&check) {
            return std::future::ready(Err(error.into())).boxed();
        }
        let (connecting, open) = (tcp.connector.call(uri), self.open.clone());
        async move {
            let connection = connecting.await?;
            check(connection.inner().peer_addr()?.ip())?;
            Ok(Connection::new(connection, open))
        }
        .boxed()
    }
}
