//! How many connections each client's address may have.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// The connections of all addresses, each of which may have so many.
#[derive(Debug)]
pub(super) struct Shares {
    each: usize,
    taken: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection among those of its address. Dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Share {
    shares: Arc<Shares>,
    network: IpAddr,
}

impl Shares {
    pub(super) fn new(each: usize) -> Arc<Self> {
        Arc::new(Self { each, taken: Mutex::default() })
    }

    /// A connection more for an address; none where it has all that it may have.
    pub(super) fn take(self: &Arc<Self>, client: IpAddr) -> Option<Share> {
        let network = network(client);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(network).or_default();
        if *count >= self.each {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Share { shares: self.clone(), network })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.shares.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.network);
            }
        }
    }
}

/// Of IPv6 the /64: whoever has one address of it has them all.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_a_network_of_ipv6_is_one_address() {
        let shares = Shares::new(2);
        let take = |address: &str| shares.take(address.parse().unwrap());
        let held = [take("192.0.2.7"), take("::ffff:192.0.2.7")];
        assert!(held.iter().all(Option::is_some) && take("192.0.2.7").is_none());
        assert!(take("192.0.2.8").is_some());
        drop(held);
        assert!(take("192.0.2.7").is_some());
        let held = [take("2001:db8:1:2::1"), take("2001:db8:1:2:ffff::9")];
        assert!(held.iter().all(Option::is_some) && take("2001:db8:1:2::3").is_none());
        assert!(take("2001:db8:1:3::1").is_some());
        drop(held);
        assert!(shares.taken.lock().unwrap().is_empty());
    }
}
