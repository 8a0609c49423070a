//! What one client may hold of the host at one moment, and all clients together.
//!
//! A client is an address of IPv4, or a /64 of IPv6: whoever has one address of that network has all of them. The listener makes
//! a [`Client`] for each connection; whatever the host keeps for that client is counted by a [`Share`] until it is dropped.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes of a request's body, or of an answer's piece, that are not counted. The number of open requests bounds them.
pub const UNCOUNTED_BYTES: usize = 8 << 10;

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Open connections.
    Connections,
    /// Requests from their head to the last byte of their answer.
    Requests,
    /// The same, of requests that are refused because their client has too many.
    Refusals,
    /// Bytes of request bodies.
    Bodies,
    /// Bytes of answers that their clients have not taken yet.
    Responses,
}

const KINDS: usize = 5;

/// How much of a kind there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Of all clients together.
    pub total: usize,
    /// Of each client.
    pub each: usize,
}

/// The limits of every kind.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Open connections.
    pub connections: Limit,
    /// Open requests. As many more may be open while they are refused.
    pub requests: Limit,
    /// Bytes of request bodies.
    pub bodies: Limit,
    /// Bytes of answers that their clients have not taken yet.
    pub responses: Limit,
}

impl Limits {
    fn of(&self, kind: Kind) -> Limit {
        match kind {
            Kind::Connections => self.connections,
            Kind::Requests | Kind::Refusals => self.requests,
            Kind::Bodies => self.bodies,
            Kind::Responses => self.responses,
        }
    }
}

/// All clients that hold something.
#[derive(Debug)]
pub struct Clients {
    limits: Limits,
    held: [AtomicUsize; KINDS],
    peaks: [AtomicUsize; KINDS],
    known: Mutex<HashMap<IpAddr, Weak<Holdings>>>,
}

/// What one client holds.
#[derive(Debug)]
struct Holdings {
    clients: Arc<Clients>,
    network: IpAddr,
    held: [AtomicUsize; KINDS],
}

/// A client with its address. Clones share what it holds.
#[derive(Debug, Clone)]
pub struct Client {
    address: IpAddr,
    holdings: Arc<Holdings>,
}

/// Something that a client holds, until this is dropped.
#[derive(Debug)]
pub struct Share {
    holdings: Arc<Holdings>,
    kind: Kind,
    amount: usize,
}

/// A request's client, as its handler sees it.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// Who asks.
    pub client: Client,
    /// False if the client, or all together, hold so much that the request must be refused.
    pub has_room: bool,
}

impl Clients {
    /// Nobody holds anything yet.
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, held: Default::default(), peaks: Default::default(), known: Mutex::default() })
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

    /// How much of a kind is held now.
    pub fn held(&self, kind: Kind) -> usize {
        self.held[kind as usize].load(Ordering::Relaxed)
    }

    /// The most that was held since this was last asked to forget it.
    pub fn peak(&self, kind: Kind) -> usize {
        self.peaks[kind as usize].load(Ordering::Relaxed)
    }

    /// Counts peaks from what is held now.
    pub fn forget_peaks(&self) {
        for (peak, held) in self.peaks.iter().zip(&self.held) {
            peak.store(held.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
}

impl Client {
    /// Who it is.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Takes some of a kind. None if there would be more than the client, or all clients, may hold.
    pub fn take(&self, kind: Kind, amount: usize) -> Option<Share> {
        self.holdings.claim(kind, 0, amount).then(|| self.share(kind, amount))
    }

    /// Takes some that is there already, even if it is more than the client may hold.
    pub fn hold(&self, kind: Kind, amount: usize) -> Share {
        self.holdings.add(kind, amount);
        self.share(kind, amount)
    }

    /// Whether the client, or all clients, hold as much as they may.
    pub fn is_full(&self, kind: Kind) -> bool {
        let Limit { total, each } = self.holdings.clients.limits.of(kind);
        let own = self.holdings.held[kind as usize].load(Ordering::Relaxed);
        own >= each || self.holdings.clients.held(kind) >= total
    }

    fn share(&self, kind: Kind, amount: usize) -> Share {
        Share { holdings: self.holdings.clone(), kind, amount }
    }
}

impl Share {
    /// Takes more of the same. False, and unchanged, if that is more than the client, or all clients, may hold.
    pub fn grow(&mut self, more: usize) -> bool {
        let taken = self.holdings.claim(self.kind, self.amount, more);
        if taken {
            self.amount += more;
        }
        taken
    }

    /// How much it is.
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
    /// Adds to what a share has. What is a client's only share may exceed the client's limit, so that one large body passes
    /// whatever the limit is.
    fn claim(&self, kind: Kind, has: usize, more: usize) -> bool {
        let Limit { total, each } = self.clients.limits.of(kind);
        let (own, all) = self.add(kind, more);
        let is_only = own == has + more;
        let fits = all <= total && (own <= each || is_only);
        if !fits {
            self.subtract(kind, more);
        }
        fits
    }

    /// What the client has then, and all have.
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
        // The client may have come back in the meantime.
        if known.get(&self.network).is_some_and(|holdings| holdings.strong_count() == 0) {
            known.remove(&self.network);
        }
    }
}

/// Of IPv6 the /64.
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
        Clients::new(Limits { connections: limit, requests: limit, bodies: limit, responses: limit })
    }

    #[test]
    fn an_address_has_its_share_and_a_network_of_ipv6_is_one_address() {
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
    fn all_addresses_together_have_the_total_and_kinds_are_counted_apart() {
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
        assert!(client.take(Kind::Bodies, 1).is_none(), "it is beside another one");
        drop(share);
        let (mut one, _other) = (client.take(Kind::Bodies, 2).unwrap(), client.take(Kind::Bodies, 2).unwrap());
        assert!(!one.grow(1) && one.amount() == 2);
    }

    #[test]
    fn what_is_there_already_is_counted_beyond_the_limit() {
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
