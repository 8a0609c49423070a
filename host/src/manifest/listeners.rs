//! The `[listeners]` table of the manifest.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use hyper::Uri;
use hyper::header::HeaderName;
use hyper::http::uri::Authority;
use serde::{Deserialize, Deserializer};
use toml::{Spanned, Value};

use super::check::Check;
use super::limits;

/// The host's own listeners, and the limits for their clients.
#[derive(Debug, Clone)]
pub struct Listeners {
    /// The address of the gateway, which serves the routes of all services.
    pub gateway: SocketAddr,
    /// The address of the admin listener. Must be loopback.
    pub admin: SocketAddr,
    /// How many connections may be open on all public listeners together.
    /// More connections wait in the kernel's queue.
    pub connections: usize,
    /// How many connections one client may have open. The host closes further ones.
    /// A client is an IPv4 address or a /64 of IPv6.
    pub connections_each: usize,
    /// How many requests may run at the same time on all public listeners.
    /// More are refused with 503.
    pub requests: usize,
    /// How many requests of one client may run at the same time.
    pub requests_each: usize,
    /// How many bytes of request bodies may be in memory. More are refused with 503.
    pub bodies_bytes: usize,
    /// How many bytes of one client's request bodies may be in memory.
    pub bodies_each_bytes: usize,
    /// How many bytes of responses may be in memory because clients have not read them.
    /// While there are more, requests are refused with 503.
    pub responses_bytes: usize,
    /// How many bytes of responses to one client may be in memory.
    pub responses_each_bytes: usize,
    /// How many streams of all services may run at the same time: requests and responses that are not complete at once.
    /// The host keeps as many more instances for them. More are refused with 503.
    pub streams: usize,
    /// How many streams of one client may run at the same time.
    pub streams_each: usize,
    /// How long a client may take for the head of a request.
    ///
    /// Also limits a TLS handshake, the wait for the first request of a connection, and a client that reads nothing of its
    /// response.
    pub header_time: Duration,
    /// How long a connection may be idle between a response and the next request.
    pub idle_time: Duration,
    /// How long a shutdown waits for running requests.
    pub shutdown_time: Duration,
    /// The certificate of the gateway and of the services' own listeners.
    /// Without it they do not use TLS. The admin listener never does.
    pub tls: Option<Tls>,
    /// The origins whose pages may read responses, exactly as a browser sends them.
    pub cors: Vec<String>,
    /// Headers that these pages may send to every route, in lower case.
    /// They may also send those that the route reads.
    pub cors_headers: Vec<String>,
    /// Hosts that loopback listeners answer beside localhost, in lower case.
    ///
    /// `*` stands for every host, except on the admin listener.
    pub hosts: Vec<String>,
    /// Whether the gateway shows the API explorer.
    pub docs: bool,
}

/// The files of a certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate and its chain to a root, in PEM.
    pub certificate: PathBuf,
    /// Its private key, in PEM. Only its owner may use the file.
    pub key: PathBuf,
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenersTable {
    #[serde(deserialize_with = "address")]
    gateway: SocketAddr,
    #[serde(deserialize_with = "address")]
    admin: SocketAddr,
    #[serde(default = "default_connections")]
    connections: usize,
    connections_each: Option<usize>,
    #[serde(default = "default_requests")]
    requests: usize,
    requests_each: Option<usize>,
    #[serde(default = "default_bodies")]
    bodies: ByteSize,
    bodies_each: Option<ByteSize>,
    #[serde(default = "default_responses")]
    responses: ByteSize,
    responses_each: Option<ByteSize>,
    #[serde(default = "default_streams")]
    streams: usize,
    streams_each: Option<usize>,
    #[serde(default = "default_header_time", deserialize_with = "limits::duration")]
    header_time: Duration,
    #[serde(default = "default_idle_time", deserialize_with = "limits::duration")]
    idle_time: Duration,
    #[serde(default = "default_shutdown_time", deserialize_with = "limits::duration")]
    shutdown_time: Duration,
    tls: Option<TlsTable>,
    #[serde(default)]
    cors: Vec<Spanned<String>>,
    #[serde(default)]
    cors_headers: Vec<Spanned<String>>,
    #[serde(default)]
    hosts: Vec<Spanned<String>>,
    #[serde(default = "default_docs")]
    pub(super) docs: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsTable {
    certificate: PathBuf,
    key: PathBuf,
}

fn default_connections() -> usize {
    16_384
}

fn default_requests() -> usize {
    8192
}

fn default_bodies() -> ByteSize {
    ByteSize::mib(256)
}

fn default_responses() -> ByteSize {
    ByteSize::mib(512)
}

fn default_streams() -> usize {
    512
}

fn default_header_time() -> Duration {
    Duration::from_secs(30)
}

fn default_idle_time() -> Duration {
    Duration::from_secs(75)
}

fn default_docs() -> bool {
    true
}

fn default_shutdown_time() -> Duration {
    Duration::from_secs(10)
}

impl ListenersTable {
    /// The host's own listeners: each with its key, its address, and its name in messages.
    pub(super) fn addresses(&self) -> [(&'static str, SocketAddr, &'static str); 2] {
        [("listeners.gateway", self.gateway, "the gateway"), ("listeners.admin", self.admin, "the admin listener")]
    }

    /// Checks the table. Reports faults, and returns `None` if there are any.
    pub(super) fn check(&self, check: &Check) -> Option<Listeners> {
        let Self { gateway, admin, header_time, idle_time, shutdown_time, tls, .. } = self;
        let mut is_sound = self.check_names(check);
        let mut refuse = |key: &str, message: &str| {
            is_sound = false;
            check.report_at(key, message);
        };
        if !admin.ip().is_loopback() {
            let message =
                format!("listeners.admin is {admin}: the admin listener must be on loopback, such as 127.0.0.1:8010");
            refuse("listeners.admin", &message);
        }
        let connections = Limited::new("connections", self.connections, self.connections_each, 16);
        let requests = Limited::new("requests", self.requests, self.requests_each, 8);
        let bodies = Limited::bytes("bodies", self.bodies, self.bodies_each);
        let responses = Limited::bytes("responses", self.responses, self.responses_each);
        let streams = Limited::new("streams", self.streams, self.streams_each, 8);
        for limited in [&connections, &requests, &bodies, &responses, &streams] {
            if let Err((key, message)) = limited.check() {
                refuse(&key, &message);
            }
        }
        if streams.total > MOST_STREAMS {
            refuse("listeners.streams", &format!("listeners.streams must be from 1 to {MOST_STREAMS}"));
        }
        let tls = tls.as_ref().map(|tls| Tls { certificate: check.path(&tls.certificate), key: check.path(&tls.key) });
        is_sound.then(|| Listeners {
            gateway: *gateway,
            admin: *admin,
            connections: connections.total,
            connections_each: connections.each,
            requests: requests.total,
            requests_each: requests.each,
            bodies_bytes: bodies.total,
            bodies_each_bytes: bodies.each,
            responses_bytes: responses.total,
            responses_each_bytes: responses.each,
            streams: streams.total,
            streams_each: streams.each,
            header_time: *header_time,
            idle_time: *idle_time,
            shutdown_time: *shutdown_time,
            tls,
            cors: self.cors.iter().map(|origin| origin.get_ref().clone()).collect(),
            cors_headers: lower(&self.cors_headers),
            hosts: lower(&self.hosts),
            docs: self.docs,
        })
    }

    /// Reports malformed origins, headers and hosts. Returns whether there are none.
    fn check_names(&self, check: &Check) -> bool {
        type List<'a> = (&'static str, &'a [Spanned<String>], fn(&str) -> bool, &'static str);
        let lists: [List<'_>; 3] = [
            (
                "cors",
                &self.cors,
                is_origin,
                "is not an origin: write scheme, host, and the port unless it is the scheme's own, such as \"https://shop.example\"",
            ),
            (
                "cors_headers",
                &self.cors_headers,
                |name| HeaderName::try_from(name).is_ok(),
                "is not the name of a header: write one such as \"x-shop-client\"",
            ),
            (
                "hosts",
                &self.hosts,
                is_host,
                "is not a host: write a name or an address without scheme and port, such as \"shop.example\", or \"*\" for every host",
            ),
        ];
        let mut is_sound = true;
        for (key, names, is_good, why) in lists {
            for wrong in names.iter().filter(|name| !is_good(name.get_ref())) {
                is_sound = false;
                check.report(Some(wrong.span()), &format!("{key} names `{}`, which {why}", wrong.get_ref()));
            }
        }
        is_sound
    }
}

fn lower(names: &[Spanned<String>]) -> Vec<String> {
    names.iter().map(|name| name.get_ref().to_ascii_lowercase()).collect()
}

/// Whether a text is `*`, or a host that a `Host` header without a port can name.
fn is_host(text: &str) -> bool {
    text == "*" || text.parse::<Authority>().is_ok_and(|authority| authority.host() == text && !text.contains('*'))
}

/// The highest allowed `streams`, because each reserves the address space of an instance.
const MOST_STREAMS: usize = 10_000;

/// A limit for all clients together, and one for each client.
struct Limited {
    name: &'static str,
    total: usize,
    each: usize,
    is_bytes: bool,
}

/// The smallest limit in bytes. A smaller one could not hold one usual request.
const SMALLEST_BYTES: usize = 1 << 20;

impl Limited {
    /// Without `each`, the limit for one client is the total divided by `part`.
    fn new(name: &'static str, total: usize, each: Option<usize>, part: usize) -> Self {
        Self { name, total, each: each.unwrap_or((total / part).max(1)), is_bytes: false }
    }

    fn bytes(name: &'static str, total: ByteSize, each: Option<ByteSize>) -> Self {
        let bytes = |size: ByteSize| usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
        Self { is_bytes: true, ..Self::new(name, bytes(total), each.map(bytes), 8) }
    }

    /// Checks the limit of all clients and that of each client.
    ///
    /// # Errors
    /// The wrong key and a message.
    fn check(&self) -> Result<(), (String, String)> {
        let Self { name, total, each, is_bytes } = *self;
        let key = format!("listeners.{name}");
        if !is_bytes && !(1..=1_000_000).contains(&total) {
            let message = format!("{key} must be from 1 to 1000000");
            return Err((key, message));
        }
        if is_bytes && total < SMALLEST_BYTES {
            let message = format!("{key} must be at least 1 MiB");
            return Err((key, message));
        }
        if !(1..=total).contains(&each) {
            return Err((format!("{key}_each"), format!("{key}_each must be from 1 to {key}")));
        }
        Ok(())
    }
}

/// Reads an IP address and a port.
pub(super) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let written = Value::deserialize(deserializer)?;
    let text = written.as_str().unwrap_or_default();
    text.parse().map_err(|_| {
        // Suggest the same port, because the usual mistake is a name instead of an address.
        let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).unwrap_or(8000);
        serde::de::Error::custom(format!(
            "{written} is not an address: write an IP address and a port, such as \"127.0.0.1:{port}\" or \"[::1]:{port}\""
        ))
    })
}

pub(super) fn some_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    address(deserializer).map(Some)
}

/// Whether a browser could send this text as `Origin`.
///
/// Browsers write scheme and host in lower case, and omit the default port (RFC 6454, section 6.2).
fn is_origin(text: &str) -> bool {
    let Some((scheme @ ("http" | "https"), authority)) = text.split_once("://") else { return false };
    let implied = if scheme == "http" { ":80" } else { ":443" };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.:[]".contains(&byte);
    let is_whole = |uri: Uri| {
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16());
        !host.is_empty() && (authority == host || port.is_some_and(|port| authority == format!("{host}:{port}")))
    };
    authority.bytes().all(plain) && !authority.ends_with(implied) && text.parse::<Uri>().is_ok_and(is_whole)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::manifest::{Manifest, ManifestError};

    fn listeners(lines: &str) -> Result<Listeners, ManifestError> {
        let services = "[services.one]\ncomponent = \"one.wasm\"\nmounts = [\"/one\"]\n";
        let addresses = "gateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"";
        let text = format!("[listeners]\n{addresses}\n{lines}\n{services}");
        Manifest::parse(Path::new("c.toml"), &text).map(|manifest| manifest.listeners)
    }

    #[test]
    fn one_client_may_use_a_part_of_each_total_by_default() {
        let defaults = listeners("").unwrap();
        assert_eq!((defaults.connections, defaults.connections_each), (16_384, 1024));
        assert_eq!((defaults.requests, defaults.requests_each), (8192, 1024));
        assert_eq!((defaults.bodies_bytes, defaults.bodies_each_bytes), (256 << 20, 32 << 20));
        assert_eq!((defaults.responses_bytes, defaults.responses_each_bytes), (512 << 20, 64 << 20));
        let few = listeners("connections = 4\nrequests = 1\nbodies = \"8 MiB\"").unwrap();
        assert_eq!((few.connections_each, few.requests_each, few.bodies_each_bytes), (1, 1, 1 << 20));
        let proxied = listeners("connections_each = 16384\nbodies_each = \"256 MiB\"").unwrap();
        assert_eq!((proxied.connections_each, proxied.bodies_each_bytes), (16_384, 256 << 20));
    }

    #[test]
    fn a_limit_of_zero_or_above_the_total_is_refused() {
        for (lines, key) in [
            ("connections = 0", "listeners.connections must"),
            ("requests = 1000001", "listeners.requests must"),
            ("connections = 4\nconnections_each = 5", "listeners.connections_each"),
            ("requests_each = 0", "listeners.requests_each"),
            ("bodies = \"1 KiB\"", "listeners.bodies must"),
            ("responses = \"1 MiB\"\nresponses_each = \"2 MiB\"", "listeners.responses_each"),
        ] {
            let refused = listeners(lines).unwrap_err();
            assert!(refused.faults[0].line.is_some() && refused.faults[0].message.contains(key), "{lines}: {refused}");
        }
    }

    #[test]
    fn header_time_and_idle_time_are_separate() {
        let times = |lines: &str| listeners(lines).map(|read| (read.header_time.as_secs(), read.idle_time.as_secs()));
        assert_eq!(times("").unwrap(), (30, 75));
        assert_eq!(times("idle_time = \"5m\"").unwrap(), (30, 300));
        assert!(times("idle_time = \"0s\"").is_err());
    }

    #[test]
    fn only_texts_that_a_browser_sends_are_origins() {
        for origin in ["https://shop.example", "http://localhost:3000", "https://[2001:db8::1]:8443", "http://10.0.0.1"]
        {
            assert!(is_origin(origin), "{origin}");
        }
        for other in [
            "*",
            "null",
            "",
            "https://",
            "shop.example",
            "https://shop.example/",
            "https://shop.example/path",
            "https://Shop.example",
            "https://*.shop.example",
            "https://shop.example:443",
            "http://shop.example:80",
            "https://shop.example:",
            "https://user@shop.example",
            "ftp://shop.example",
            "https://shop.example:99999",
            "https://shop.example https://other.example",
        ] {
            assert!(!is_origin(other), "{other}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_without_a_port() {
        for host in ["shop.example", "Shop.Example", "10.0.0.1", "[2001:db8::1]", "localhost", "*"] {
            assert!(is_host(host), "{host}");
        }
        for other in
            ["", "https://shop.example", "shop.example:443", "shop.example/", "me@shop.example", "*.example", "a b"]
        {
            assert!(!is_host(other), "{other}");
        }
    }
}
