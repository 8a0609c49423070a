//! Limits of what one client, and all clients together, may hold of the host at one moment.
//!
//! A client is one IPv4 address or one IPv6 /64, because the owner of one address of a /64 has all of them. The listener makes a
//! [`Client`] for each connection. A [`Share`] counts what the host keeps for the client, until the share is dropped.

mod permits;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwap;

pub use permits::Permits;

/// The first bytes of a request's body, or of a chunk of a response, which are not counted. The limit of open requests bounds
/// them.
pub const UNCOUNTED_BYTES: usize = 8 << 10;

/// The kinds of things that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Open connections.
    Connections,
    /// Requests, from the head to the last byte of the response.
    Requests,
    /// Requests that are refused because their client has too many. They are counted too, so that refusals cannot pile up.
    Refusals,
    /// Bytes of request bodies.
    Bodies,
    /// Bytes of responses in memory that their clients have not received yet.
    Responses,
    /// Streams: requests or responses that are not complete at once. Each keeps an instance for as long as it lasts.
    Streams,
}

const KINDS: usize = 6;

/// The limits of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The limit of all clients together.
    pub total: usize,
    /// The limit of each client.
    pub each: usize,
}

/// The limits of every kind.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections.
    pub connections: Limit,
    /// Open requests. As many more may be open only to be refused.
    pub requests: Limit,
    /// Bytes of request bodies.
    pub bodies: Limit,
    /// Bytes of responses in memory that their clients have not received yet.
    pub responses: Limit,
    /// Streams.
    pub streams: Limit,
}

impl Limits {
    fn of(&self, kind: Kind) -> Limit {
        match kind {
            Kind::Connections => self.connections,
            Kind::Requests | Kind::Refusals => self.requests,
            Kind::Bodies => self.bodies,
            Kind::Responses => self.responses,
            Kind::Streams => self.streams,
        }
    }
}

/// The clients that hold something, with the limits.
#[derive(Debug)]
pub struct Clients {
    limits: ArcSwap<Limits>,
    held: [AtomicUsize; KINDS],
    peaks: [AtomicUsize; KINDS],
    known: Mutex<HashMap<IpAddr, Weak<Holdings>>>,
}

/// The counts of one client.
#[derive(Debug)]
struct Holdings {
    clients: Arc<Clients>,
    network: IpAddr,
    held: [AtomicUsize; KINDS],
}

/// A client and its address. Clones share the client's counts.
#[derive(Debug, Clone)]
pub struct Client {
    address: IpAddr,
    holdings: Arc<Holdings>,
}

/// An amount that a client holds. Dropping it releases the amount.
#[derive(Debug)]
pub struct Share {
    holdings: Arc<Holdings>,
    kind: Kind,
    amount: usize,
}

/// The client of a request, and whether the request fits into its share.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The client that sent the request.
    pub client: Client,
    /// False if the request must be refused, because the client or all clients together have reached a limit.
    pub has_room: bool,
    /// Whether the request arrived over TLS.
    pub is_secure: bool,
}

impl Clients {
    /// Limits without any clients yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        let limits = ArcSwap::from_pointee(limits);
        Arc::new(Self { limits, held: Default::default(), peaks: Default::default(), known: Mutex::default() })
    }

    /// Replaces the limits. A client that holds more than a new limit allows keeps what it has, but gets nothing
    /// more.
    pub fn set_limits(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// The client with this address.
    pub fn client(self: &Arc<Self>, address: IpAddr) -> Client {
        let network = network(address);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let holdings = known.get(&network).and_then(Weak::upgrade).unwrap_or_else(|| {
            let holdings = Arc::new(Holdings { clients: self.clone(), network, held: Default::default() });
            known.insert(network, Arc::downgrade(&holdings));
            holdings
        });
        drop(known);
        Client { address, holdings }
    }

    /// How much of a kind all clients hold now.
    pub fn held(&self, kind: Kind) -> usize {
        self.held[kind as usize].load(Ordering::Relaxed)
    }

    /// The most that all clients held of a kind since the last [`Self::forget_peaks`].
    pub fn peak(&self, kind: Kind) -> usize {
        self.peaks[kind as usize].load(Ordering::Relaxed)
    }

    /// Sets the peaks to what clients hold now.
    pub fn forget_peaks(&self) {
        for (peak, held) in self.peaks.iter().zip(&self.held) {
            peak.store(held.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

impl Client {
    /// The client's address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Takes an amount of a kind. None if that is over the limit of the client or of all clients.
    pub fn take(&self, kind: Kind, amount: usize) -> Option<Share> {
        self.holdings.claim(kind, 0, amount).then(|| self.share(kind, amount))
    }

    /// Counts an amount that the host holds already, even if that exceeds the limit.
    pub fn hold(&self, kind: Kind, amount: usize) -> Share {
        self.holdings.add(kind, amount);
        self.share(kind, amount)
    }

    /// Whether the client or all clients have reached the limit of a kind.
    pub fn is_full(&self, kind: Kind) -> bool {
        let Limit { total, each } = self.holdings.clients.limits.load().of(kind);
        let own = self.holdings.held[kind as usize].load(Ordering::Relaxed);
        own >= each || self.holdings.clients.held(kind) >= total
    }

    fn share(&self, kind: Kind, amount: usize) -> Share {
        Share { holdings: self.holdings.clone(), kind, amount }
    }
}

impl Share {
    /// Adds to the amount. Returns false and changes nothing if that is over the limit of the client or of all clients.
    pub fn grow(&mut self, more: usize) -> bool {
        let taken = self.holdings.claim(self.kind, self.amount, more);
        if taken {
            self.amount += more;
        }
        taken
    }

    /// The amount.
    pub fn amount(&self) -> usize {
        self.amount
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.holdings.subtract(self.kind, self.amount);
    }
}

impl Holdings {
    /// Adds to the amount of a share, if the limits allow it.
    ///
    /// The only share of a client may exceed the client's limit, so that one large body passes under any limit.
    fn claim(&self, kind: Kind, has: usize, more: usize) -> bool {
        let Limit { total, each } = self.clients.limits.load().of(kind);
        let (own, all) = self.add(kind, more);
        let is_only = own == has + more;
        let fits = all <= total && (own <= each || is_only);
        if !fits {
            self.subtract(kind, more);
        }
        fits
    }

    /// Adds to both counts. Returns what the client and all clients hold then.
    fn add(&self, kind: Kind, more: usize) -> (usize, usize) {
        let own = self.held[kind as usize].fetch_add(more, Ordering::Relaxed) + more;
        let all = self.clients.held[kind as usize].fetch_add(more, Ordering::Relaxed) + more;
        self.clients.peaks[kind as usize].fetch_max(all, Ordering::Relaxed);
        (own, all)
    }

    fn subtract(&self, kind: Kind, amount: usize) {
        self.held[kind as usize].fetch_sub(amount, Ordering::Relaxed);
        self.clients.held[kind as usize].fetch_sub(amount, Ordering::Relaxed);
    }
}

impl Drop for Holdings {
    fn drop(&mut self) {
        let mut known = self.clients.known.lock().unwrap_or_else(PoisonError::into_inner);
        // The client may have come back meanwhile. Then the entry is a new one and stays.
        if known.get(&self.network).is_some_and(|holdings| holdings.strong_count() == 0) {
            known.remove(&self.network);
        }
    }
}

/// The IPv4 address itself, or the /64 of an IPv6 address.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(total: usize, each: usize) -> Arc<Clients> {
        let limit = Limit { total, each };
        let all = Limits { connections: limit, requests: limit, bodies: limit, responses: limit, streams: limit };
        Clients::new(all)
    }

    #[test]
    fn each_ipv4_address_and_each_ipv6_64_has_its_share() {
        let clients = clients(100, 2);
        let take = |address: &str| clients.client(address.parse().unwrap()).take(Kind::Connections, 1);
        let held = [take("192.0.2.7"), take("::ffff:192.0.2.7")];
        assert!(held.iter().all(Option::is_some) && take("192.0.2.7").is_none());
        assert!(take("192.0.2.8").is_some());
        drop(held);
        assert!(take("192.0.2.7").is_some());
        let held = [take("2001:db8:1:2::1"), take("2001:db8:1:2:ffff::9")];
        assert!(held.iter().all(Option::is_some) && take("2001:db8:1:2::3").is_none());
        assert!(take("2001:db8:1:3::1").is_some());
        drop(held);
        assert!(clients.known.lock().unwrap().is_empty());
        assert_eq!((clients.held(Kind::Connections), clients.peak(Kind::Connections)), (0, 3));
    }

    #[test]
    fn all_clients_share_the_total_and_kinds_are_counted_separately() {
        let clients = clients(3, 2);
        let client = |last: u8| clients.client([192, 0, 2, last].into());
        let held = [client(1).take(Kind::Requests, 2), client(2).take(Kind::Requests, 1)];
        assert!(held.iter().all(Option::is_some) && client(3).take(Kind::Requests, 1).is_none());
        assert!(client(3).is_full(Kind::Requests) && !client(3).is_full(Kind::Bodies));
        assert!(client(3).take(Kind::Refusals, 1).is_some());
        drop(held);
        assert!(client(3).take(Kind::Requests, 1).is_some());
    }

    #[test]
    fn the_only_share_of_a_client_may_grow_to_the_total() {
        let clients = clients(10, 4);
        let client = clients.client([192, 0, 2, 1].into());
        let mut share = client.take(Kind::Bodies, 3).unwrap();
        assert!(share.grow(6) && share.amount() == 9 && !share.grow(2));
        assert!(client.take(Kind::Bodies, 1).is_none(), "a second share must fit the client's limit");
        drop(share);
        let (mut one, _other) = (client.take(Kind::Bodies, 2).unwrap(), client.take(Kind::Bodies, 2).unwrap());
        assert!(!one.grow(1) && one.amount() == 2);
    }

    #[test]
    fn an_amount_that_exists_already_is_counted_over_the_limit() {
        let clients = clients(10, 4);
        let client = clients.client([192, 0, 2, 1].into());
        let held = client.hold(Kind::Responses, 20);
        assert!(client.is_full(Kind::Responses));
        drop(held);
        assert!(!client.is_full(Kind::Responses));
        clients.forget_peaks();
        assert_eq!(clients.peak(Kind::Responses), 0);
    }
}
