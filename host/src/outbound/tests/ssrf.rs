//! Ways to reach an address that no service should reach (server-side request forgery). In each of them a server on loopback waits for
//! the connection, and gets none.

use super::*;

/// How the host refuses a vector.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    /// The URL is none, so that no guest can send it.
    NotAUrl,
    /// `allow` does not list it.
    NotListed,
    /// It is listed, but its address is not public.
    Address,
}
use Refused::{Address, NotAUrl, NotListed};

/// Spellings of a URL that are not listed. The manifest allows `http://pay.example:PORT` and `http://*.mail.example:PORT`.
const URLS: [(&str, Refused); 30] = [
    ("http://127.0.0.1:PORT/", NotListed),
    ("http://localhost:PORT/", NotListed),
    ("http://pay.example@127.0.0.1:PORT/", NotListed),
    ("http://pay.example:PORT@127.0.0.1:PORT/", NotListed),
    ("http://user:password@pay.example:PORT/", NotListed),
    ("http://127.0.0.1:PORT#@pay.example:PORT/", NotListed),
    ("http://127.0.0.1:PORT/?@pay.example:PORT", NotListed),
    ("http://pay.example\\@127.0.0.1:PORT/", NotAUrl),
    ("http://127.0.0.1:PORT\\.pay.example/", NotAUrl),
    ("http://pay.example.:PORT/", NotListed),
    ("http://127.0.0.1.:PORT/", NotListed),
    ("http://2130706433:PORT/", NotListed),
    ("http://0177.0.0.1:PORT/", NotListed),
    ("http://0x7f.0.0.1:PORT/", NotListed),
    ("http://0x7f000001:PORT/", NotListed),
    ("http://017700000001:PORT/", NotListed),
    ("http://127.1:PORT/", NotListed),
    ("http://127.0.0.1.pay.example.evil.example:PORT/", NotListed),
    ("http://evilpay.example:PORT/", NotListed),
    ("http://mail.example:PORT/", NotListed),
    ("http://.mail.example:PORT/", NotListed),
    ("http://127.0.0.1%2f.mail.example:PORT/", NotAUrl),
    ("http://pay%2eexample:PORT/", NotAUrl),
    ("http://[::1]:PORT/", NotListed),
    ("http://[::ffff:127.0.0.1]:PORT/", NotListed),
    ("http://[::ffff:7f00:1]:PORT/", NotListed),
    ("http://[fe80::1%25lo]:PORT/", NotListed),
    ("http://①②⑦.0.0.1:PORT/", NotAUrl),
    ("https://pay.example:PORT/", NotListed),
    ("http://pay.example/", NotListed),
];

/// Answers of the lookup for a listed name. Each contains an address that is not public.
const ANSWERS: [&[&str]; 23] = [
    &["127.0.0.1"],
    &["127.0.0.2"],
    &["0.0.0.0"],
    &["10.0.0.1"],
    &["172.16.0.1"],
    &["192.168.1.1"],
    &["100.64.0.1"],
    &["100.100.100.200"],
    &["169.254.169.254"],
    &["168.63.129.16"],
    &["192.0.0.192"],
    &["224.0.0.1"],
    &["255.255.255.255"],
    &["::1"],
    &["::"],
    &["::ffff:127.0.0.1"],
    &["64:ff9b::7f00:1"],
    &["2002:7f00:1::"],
    &["2a00::5efe:127.0.0.1"],
    &["fd00:ec2::254"],
    &["fe80::1"],
    &["1.1.1.1", "127.0.0.1"],
    &["127.0.0.1", "1.1.1.1"],
];

/// Listed addresses that are not public. With `private = ["127.0.0.0/8"]` the last ones are still another spelling.
const ADDRESSES: [(&str, &[&str]); 6] = [
    ("http://127.0.0.1:PORT", &[]),
    ("http://127.0.0.1:PORT", &["10.0.0.0/8", "127.0.0.2/32"]),
    ("http://[::1]:PORT", &["127.0.0.0/8"]),
    ("http://[::ffff:127.0.0.1]:PORT", &["127.0.0.0/8"]),
    ("http://[64:ff9b::7f00:1]:PORT", &["127.0.0.0/8"]),
    ("http://[2002:7f00:1::]:PORT", &["127.0.0.0/8"]),
];

async fn refused(outbound: &Outbound, url: &str) -> Refused {
    if url.parse::<hyper::Uri>().is_err() {
        return NotAUrl;
    }
    match send(outbound, url).await.err() {
        Some(OutboundError::Denied) => NotListed,
        Some(OutboundError::Prohibited(_)) => Address,
        other => panic!("{url}: {other:?}"),
    }
}

#[tokio::test]
async fn a_url_in_another_spelling_is_not_listed() {
    let victim = Server::echo().await;
    let port = victim.port().to_string();
    let allow = ["http://pay.example:PORT", "http://*.mail.example:PORT"].map(|entry| entry.replace("PORT", &port));
    let names = Names::new(&[]);
    let outbound = outbound(rules(&[&allow[0], &allow[1]], &["127.0.0.0/8", "::1/128"]), &names);
    for (url, expected) in URLS {
        assert_eq!(refused(&outbound, &url.replace("PORT", &port)).await, expected, "{url}");
    }
    assert_eq!((victim.connections(), names.lookups()), (0, 0));
}

#[tokio::test]
async fn a_listed_name_with_an_address_that_is_not_public_is_refused() {
    let victim = Server::echo().await;
    let origin = format!("http://pay.example:{}", victim.port());
    for answer in ANSWERS {
        let names = Names::new(&[("pay.example", &[answer])]);
        let outbound = outbound(rules(&[&origin], &[]), &names);
        assert_eq!(refused(&outbound, &origin).await, Address, "{answer:?}");
    }
    assert_eq!(victim.connections(), 0);
}

#[tokio::test]
async fn a_listed_address_that_is_not_public_needs_its_network_listed() {
    let victim = Server::echo().await;
    for (origin, private) in ADDRESSES {
        let origin = origin.replace("PORT", &victim.port().to_string());
        let outbound = outbound(rules(&[&origin], private), &Names::new(&[]));
        assert_eq!(refused(&outbound, &origin).await, Address, "{origin} {private:?}");
    }
    assert_eq!(victim.connections(), 0);
}

/// DNS rebinding: the name has a good address when somebody checks it, and another one a moment later.
#[tokio::test]
async fn each_connection_uses_the_addresses_that_were_checked() {
    let answer = |_| async { Response::builder().header("connection", "close").body(Full::default()).unwrap() };
    let victim = Server::start(answer).await;
    let origin = format!("http://pay.example:{}", victim.port());
    let names = Names::new(&[("pay.example", &[&["127.0.0.1"], &["127.0.0.2"]])]);
    let outbound = outbound(rules(&[&origin], &["127.0.0.1/32"]), &names);
    // A host that checked one lookup and connected with a second one would use 127.0.0.2 now.
    text(send(&outbound, &origin).await.unwrap()).await.unwrap();
    assert_eq!((names.lookups(), victim.connections()), (1, 1));
    // That connection is closed. The next request needs another one, and another lookup.
    assert_eq!(refused(&outbound, &origin).await, Address);
    assert_eq!((names.lookups(), victim.connections()), (2, 1));
}

/// Who controls one name below a domain chooses its address.
#[tokio::test]
async fn networks_in_private_are_only_for_hosts_that_allow_names() {
    let victim = Server::echo().await;
    let origin = |host: &str| format!("http://{host}.mail.example:{}", victim.port());
    let names = Names::new(&[("own.mail.example", &[&["127.0.0.1"]]), ("evil.mail.example", &[&["127.0.0.1"]])]);
    // The wildcard stands first, and the host's own entry counts.
    let outbound = outbound(rules(&[&origin("*"), &origin("own")], &["127.0.0.0/8"]), &names);
    assert_eq!(refused(&outbound, &origin("evil")).await, Address);
    assert_eq!(victim.connections(), 0);
    assert_eq!(send(&outbound, &origin("own")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_wide_network_in_private_contains_no_loopback_address() {
    let victim = Server::echo().await;
    let origin = format!("http://pay.example:{}", victim.port());
    let names = Names::new(&[("pay.example", &[&["127.0.0.1"]])]);
    let outbound = outbound(rules(&[&origin], &["0.0.0.0/1", "64.0.0.0/2"]), &names);
    assert_eq!(refused(&outbound, &origin).await, Address);
    assert_eq!(victim.connections(), 0);
}
