//! The open listeners of a host, and how a reload changes them.
//!
//! New ports are bound first and accept connections last. A listener whose address the new manifest still has stays open, even if it
//! belongs to another service then. All others drain: they accept connections for `shutdown_time`, and each connection closes after its
//! next response.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpSocket};

use super::Addresses;
use crate::admin::Admin;
use crate::gateway::{Door, Gateway};
use crate::listener::{Connections, Control, Tls};
use crate::manifest::Manifest;

/// How many connections the kernel queues before the host accepts them.
const BACKLOG: u32 = 1024;

/// A listener that a manifest has.
pub(super) struct Wanted {
    /// The gateway or a service. None for the admin listener.
    pub(super) door: Option<Door>,
    /// Its address in the manifest.
    pub(super) written: SocketAddr,
    /// Its key in the manifest.
    pub(super) key: String,
    /// The listener in words, for messages.
    pub(super) whose: String,
}

/// A listener that accepts connections.
pub(super) struct Open {
    /// Which service it serves. A reload may change that. None for the admin listener.
    door: Option<Arc<ArcSwap<Door>>>,
    written: SocketAddr,
    address: SocketAddr,
    control: Arc<Control>,
}

/// The ports of a manifest: bound, or open already.
pub(super) struct Bound(pub(super) Vec<Port>);

/// A port that is bound but does not listen yet, so that connections are refused, or one that is open.
pub(super) struct Port {
    pub(super) wanted: Wanted,
    pub(super) address: SocketAddr,
    pub(super) socket: Socket,
}

pub(super) enum Socket {
    Bound(TcpSocket),
    Open(Arc<Open>),
}

/// Ports that clients can connect to. Those that are new accept no connection yet.
pub(super) struct Listening(Vec<(Wanted, SocketAddr, Accepting)>);

enum Accepting {
    New(TcpListener),
    Open(Arc<Open>),
}

/// The listeners of a host, and the gateway and admin API behind them.
pub(super) struct Listeners {
    pub(super) gateway: Arc<Gateway>,
    pub(super) admin: Arc<Admin>,
    /// The connections of public listeners.
    pub(super) connections: Connections,
    /// The connections of the admin listener.
    pub(super) operators: Connections,
    pub(super) open: Vec<Arc<Open>>,
    /// Listeners that no manifest has any more.
    pub(super) draining: Vec<Arc<Open>>,
}

/// The listeners of a manifest.
pub(super) fn wanted(manifest: &Manifest) -> Vec<Wanted> {
    let listeners = &manifest.listeners;
    let of_host =
        |door, written, key: &str, whose: &str| Wanted { door, written, key: key.to_owned(), whose: whose.to_owned() };
    let mut wanted = vec![
        of_host(Some(Door::Gateway), listeners.gateway, "listeners.gateway", "the gateway"),
        of_host(None, listeners.admin, "listeners.admin", "the admin listener"),
    ];
    let own = manifest.services.iter().filter_map(|(name, service)| Some((name, service.listen?)));
    wanted.extend(own.map(|(name, written)| Wanted {
        door: Some(Door::Service(name.as_str().into())),
        written,
        key: format!("services.{name}.listen"),
        whose: format!("the service `{name}`"),
    }));
    wanted
}

impl Wanted {
    /// The open listener that can take over, if there is one.
    pub(super) fn find(&self, open: &[Arc<Open>]) -> Option<Arc<Open>> {
        let fits = |open: &&Arc<Open>| {
            let is_same_door = match (&self.door, &open.door) {
                (Some(door), Some(open)) => *door == **open.load(),
                (None, None) => true,
                _ => return false,
            };
            // The system has picked a port for port 0, so only the same listener can keep it.
            open.address == self.written || (is_same_door && open.written == self.written)
        };
        open.iter().find(|open| fits(open) && open.control.reopen()).cloned()
    }

    /// The open listener of this host that keeps this one from being bound, if there is one. The admin listener cannot change places with
    /// another, because their connections have other limits. An address of all interfaces contains that of each.
    pub(super) fn blocked_by(&self, open: &[Arc<Open>]) -> Option<SocketAddr> {
        let (ip, port) = (self.written.ip(), self.written.port());
        let overlaps = |other: &SocketAddr| {
            other.port() == port && (other.ip() == ip || other.ip().is_unspecified() || ip.is_unspecified())
        };
        open.iter().filter(|open| !open.control.is_closed()).map(|open| open.address).find(overlaps)
    }
}

impl Open {
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Bound {
    pub(super) fn addresses(&self, scheme: &'static str) -> Addresses {
        let of = |door: &Option<Door>| {
            let is_it = |port: &&Port| port.wanted.door == *door;
            self.0.iter().find(is_it).expect("every manifest has a gateway and an admin listener").address
        };
        let services = self.0.iter().filter_map(|port| match &port.wanted.door {
            Some(Door::Service(name)) => Some((name.to_string(), port.address)),
            _ => None,
        });
        let services: BTreeMap<_, _> = services.collect();
        Addresses { scheme, gateway: of(&Some(Door::Gateway)), admin: of(&None), services }
    }

    /// Starts to listen, so that clients can connect.
    ///
    /// # Errors
    /// Another program listens on a port by now. Binding does not prevent that if both programs set SO_REUSEADDR.
    pub(super) fn listen(self) -> anyhow::Result<Listening> {
        let listening = self.0.into_iter().map(|Port { wanted, address, socket }| {
            let accepting = match socket {
                Socket::Open(open) => Accepting::Open(open),
                Socket::Bound(socket) => Accepting::New(socket.listen(BACKLOG).with_context(|| {
                    format!("{} cannot listen on {address}: another program listens there by now", wanted.whose)
                })?),
            };
            Ok((wanted, address, accepting))
        });
        Ok(Listening(listening.collect::<anyhow::Result<_>>()?))
    }
}

impl Listeners {
    /// The listeners of a host that starts: none yet.
    pub(super) fn new(
        gateway: Arc<Gateway>,
        admin: Arc<Admin>,
        connections: Connections,
        operators: Connections,
    ) -> Self {
        Self { gateway, admin, connections, operators, open: Vec::new(), draining: Vec::new() }
    }

    /// All listeners that accept connections, also those that drain.
    pub(super) fn all(&self) -> Vec<Arc<Open>> {
        self.open.iter().chain(&self.draining).cloned().collect()
    }

    /// Accepts connections on these listeners. All others accept some for this time, and close.
    pub(super) fn change(&mut self, listening: Listening, tls: Option<&Arc<Tls>>, drain_time: Duration) {
        let mut before = self.all();
        self.open.clear();
        for (wanted, address, accepting) in listening.0 {
            let open = match accepting {
                Accepting::New(listener) => self.serve(listener, wanted, address, tls),
                Accepting::Open(open) => {
                    if let (Some(current), Some(door)) = (&open.door, wanted.door) {
                        current.store(Arc::new(door));
                        open.control.set_tls(tls.cloned());
                    }
                    before.retain(|other| !Arc::ptr_eq(other, &open));
                    open
                }
            };
            self.open.push(open);
        }
        self.draining = before;
        self.drain(drain_time);
    }

    /// Drains the listeners that no manifest has, also if a refused reload has opened them again.
    pub(super) fn drain(&mut self, time: Duration) {
        self.draining.retain(|open| !open.control.is_closed());
        for open in &self.draining {
            open.control.drain(time);
        }
    }

    fn serve(&self, listener: TcpListener, wanted: Wanted, address: SocketAddr, tls: Option<&Arc<Tls>>) -> Arc<Open> {
        let Wanted { door, written, .. } = wanted;
        let control = Control::new(tls.filter(|_| door.is_some()).cloned());
        let door = door.map(|door| Arc::new(ArcSwap::from_pointee(door)));
        if let Some(door) = door.clone() {
            let gateway = self.gateway.clone();
            tokio::spawn(self.connections.clone().serve(listener, control.clone(), move |arrival, request| {
                let (gateway, door) = (gateway.clone(), door.load_full());
                async move { gateway.handle(&door, arrival, request).await }
            }));
        } else {
            let admin = self.admin.clone();
            let handle = move |arrival, request| admin.clone().handle(arrival, request);
            tokio::spawn(self.operators.clone().serve(listener, control.clone(), handle));
        }
        Arc::new(Open { door, written, address, control })
    }
}
