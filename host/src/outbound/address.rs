//! Which addresses a request to a remote host may connect to.
//!
//! These are addresses of the public internet, and the networks that the manifest lists in `private`. Everything else could lead
//! into the operator's own network: to a database, to a cloud's metadata service, or back to this host.
//!
//! A network may translate public IPv6 addresses of its own to IPv4 (NAT64 with a prefix of its own, RFC 6052). Nothing tells these
//! addresses from others, so its gateway must refuse private IPv4 addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// IPv4 networks that are not public: IANA's special-purpose registry (RFC 6890) and multicast.
const SPECIAL_V4: [(Ipv4Addr, u8); 17] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),        // this network
    (Ipv4Addr::new(10, 0, 0, 0), 8),       // private (RFC 1918)
    (Ipv4Addr::new(100, 64, 0, 0), 10),    // carrier-grade NAT (RFC 6598); also Alibaba's metadata service
    (Ipv4Addr::new(127, 0, 0, 0), 8),      // loopback
    (Ipv4Addr::new(168, 63, 129, 16), 32), // Azure's metadata service, although the address is public
    (Ipv4Addr::new(169, 254, 0, 0), 16),   // link-local (RFC 3927); also the metadata services of most clouds
    (Ipv4Addr::new(172, 16, 0, 0), 12),    // private (RFC 1918)
    (Ipv4Addr::new(192, 0, 0, 0), 24),     // IETF protocol assignments; also Oracle's metadata service
    (Ipv4Addr::new(192, 0, 2, 0), 24),     // documentation (RFC 5737)
    (Ipv4Addr::new(192, 31, 196, 0), 24),  // AS112 (RFC 7535)
    (Ipv4Addr::new(192, 88, 99, 0), 24),   // 6to4 relays (RFC 7526)
    (Ipv4Addr::new(192, 168, 0, 0), 16),   // private (RFC 1918)
    (Ipv4Addr::new(198, 18, 0, 0), 15),    // benchmarks (RFC 2544)
    (Ipv4Addr::new(198, 51, 100, 0), 24),  // documentation (RFC 5737)
    (Ipv4Addr::new(203, 0, 113, 0), 24),   // documentation (RFC 5737)
    (Ipv4Addr::new(224, 0, 0, 0), 4),      // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),      // reserved, and broadcast
];

/// Parts of `2000::/3` that are not public. All of IPv6 outside of `2000::/3` is refused as a whole: loopback, unique local, link-local,
/// multicast, IPv4-mapped addresses, and NAT64.
const SPECIAL_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // IETF protocol assignments, with Teredo and ORCHID
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation (RFC 3849)
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4 (RFC 3056)
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation (RFC 9637)
];

/// The unicast addresses that IANA assigns to the public internet.
const GLOBAL_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// Networks that lead to this host itself or to a metadata service, and those whose addresses contain an IPv4 address. Only a network
/// within one of them allows its addresses. So `private = ["fd00::/8"]` does not allow the metadata service in it by accident.
static DANGEROUS: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    let networks = [
        "0.0.0.0/8",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "100.100.100.200/32",
        "168.63.129.16/32",
        "192.0.0.0/24",
        "::/96",
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "fd00:ec2::254/128",
        "fd20:ce::254/128",
        "fe80::/10",
    ];
    networks.iter().map(|network| network.parse().expect("each is a network")).collect()
});

/// The prefix of a network that contains only addresses with one interface identifier of ISATAP.
const ISATAP_BITS: u8 = 96;

/// The addresses that one service may connect to.
#[derive(Debug, Clone, Default)]
pub(super) struct AddressPolicy {
    /// Networks that are not public, but listed in the manifest.
    private: Vec<IpNet>,
}

impl AddressPolicy {
    pub(super) fn new(private: Vec<IpNet>) -> Self {
        Self { private }
    }

    /// Whether the host may connect to this address.
    ///
    /// An IPv6 address that contains an IPv4 address is judged by its own network, so that no spelling avoids the rules for IPv4.
    pub(super) fn allows(&self, address: IpAddr) -> bool {
        is_public(address) || self.private.iter().any(|network| is_meant(network, address))
    }
}

/// Whether a listed network contains the address on purpose.
fn is_meant(network: &IpNet, address: IpAddr) -> bool {
    let is_narrow = |range: &IpNet| !range.contains(&address) || range.contains(network);
    let is_isatap = matches!(address, IpAddr::V6(address) if is_isatap(address));
    network.contains(&address) && (!is_isatap || network.prefix_len() >= ISATAP_BITS) && DANGEROUS.iter().all(is_narrow)
}

/// Whether the address contains an IPv4 address that packets are tunnelled to (ISATAP, RFC 5214, 6.1).
fn is_isatap(address: Ipv6Addr) -> bool {
    let [_, _, _, _, first, second, ..] = address.segments();
    matches!((first, second), (0 | 0x200, 0x5efe))
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !SPECIAL_V4.iter().any(|(start, bits)| v4(*start, *bits).contains(&address)),
        IpAddr::V6(address) => {
            v6(GLOBAL_V6.0, GLOBAL_V6.1).contains(&address)
                && !is_isatap(address)
                && !SPECIAL_V6.iter().any(|(start, bits)| v6(*start, *bits).contains(&address))
        }
    }
}

fn v4(start: Ipv4Addr, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(start, bits)
}

fn v6(start: Ipv6Addr, bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(start, bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_allowed_without_a_listed_network() {
        let policy = AddressPolicy::default();
        for public in ["1.1.1.1", "8.8.8.8", "172.15.255.255", "172.32.0.0", "100.63.0.1", "2606:4700::1111", "2a00::1"]
        {
            assert!(policy.allows(public.parse().unwrap()), "{public}");
        }
        for other in [
            "0.0.0.0",
            "0.1.2.3",
            "10.255.255.255",
            "100.64.0.1",
            "100.100.100.200",
            "127.0.0.1",
            "127.255.255.254",
            "168.63.129.16",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.192",
            "192.88.99.1",
            "192.168.0.1",
            "198.19.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:8.8.8.8",
            "::ffff:0:127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:808:808::1",
            "2a00::5efe:127.0.0.1",
            "2a00::200:5efe:10.0.0.1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!policy.allows(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn a_listed_network_allows_its_own_addresses_in_no_other_spelling() {
        let listed = ["10.1.0.0/16", "fd00:1::/32"].map(|network| network.parse().unwrap());
        let policy = AddressPolicy::new(listed.to_vec());
        for listed in ["10.1.2.3", "fd00:1::7"] {
            assert!(policy.allows(listed.parse().unwrap()), "{listed}");
        }
        for other in ["10.2.0.1", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "2002:a01:203::1", "fd00:2::7"] {
            assert!(!policy.allows(other.parse().unwrap()), "{other}");
        }
    }

    #[test]
    fn loopback_link_local_and_metadata_need_a_network_within_their_own() {
        let allows = |network: &str, address: &str| {
            AddressPolicy::new(vec![network.parse().unwrap()]).allows(address.parse().unwrap())
        };
        for (network, address) in [
            ("127.0.0.0/8", "127.0.0.1"),
            ("127.0.0.1/32", "127.0.0.1"),
            ("::1/128", "::1"),
            ("169.254.169.254/32", "169.254.169.254"),
            ("fe80::/64", "fe80::1"),
            ("fd00:ec2::254/128", "fd00:ec2::254"),
            ("fd00::/8", "fd00:ec2::253"),
            ("fd00::5efe:0:0/96", "fd00::5efe:10.0.0.1"),
        ] {
            assert!(allows(network, address), "{network} {address}");
        }
        for (network, address) in [
            ("0.0.0.0/1", "127.0.0.1"),
            ("126.0.0.0/7", "127.0.0.1"),
            ("168.0.0.0/6", "169.254.169.254"),
            ("100.64.0.0/10", "100.100.100.200"),
            ("::/1", "::1"),
            ("::/1", "::ffff:127.0.0.1"),
            ("::/1", "64:ff9b::7f00:1"),
            ("fc00::/7", "fd00:ec2::254"),
            ("fd00::/8", "fd00::5efe:127.0.0.1"),
            ("f000::/4", "fe80::1"),
        ] {
            assert!(!allows(network, address), "{network} {address}");
        }
    }
}
