//! Which remote hosts a service may send requests to: the manifest's `allow`.
//!
//! An entry is a scheme, a host and perhaps a port, such as `https://api.pay.example`. `*.` stands for one or several labels before a
//! name, not for the name alone. Without a port, the entry means the port of its scheme.
//!
//! A request is compared in one form only: the scheme, the host in lower case and the port. What has another form is refused instead
//! of interpreted: userinfo, a dot at the end of a name, a number that only some programs take for an address.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use hyper::Uri;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};

/// The longest name of a host, in bytes (RFC 1035, 2.3.4).
const NAME_BYTES: usize = 253;

/// The names of this host's services end with this. They are called in process.
const INTERNAL: &str = ".internal";

/// One entry of `allow`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedHost {
    is_https: bool,
    host: HostPattern,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    Address(IpAddr),
    Name(String),
    /// The names below this one.
    Below(String),
}

/// Why a text is no entry of `allow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    /// It has another form than scheme, host and port.
    #[error(
        "is not a remote host: write scheme, host and perhaps a port, such as \"https://api.pay.example\" or \"https://*.mail.example:8443\""
    )]
    Form,
    /// It names a service of this host.
    #[error("names a service of this host: list the service in `calls`")]
    Internal,
    /// It allows every host, or every host below a top-level domain.
    #[error("would allow the hosts of strangers: name a domain, such as \"https://*.mail.example\"")]
    Everything,
}

/// The remote host of a request, in the one form in which it is compared and connected to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    is_https: bool,
    host: Host,
    port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    Address(IpAddr),
    /// In lower case.
    Name(String),
}

impl AllowedHost {
    pub(super) fn is_https(&self) -> bool {
        self.is_https
    }

    /// Whether every host that the other entry allows is allowed by this one.
    pub fn covers(&self, other: &Self) -> bool {
        let host = match (&self.host, &other.host) {
            (HostPattern::Below(domain), HostPattern::Name(name) | HostPattern::Below(name)) => {
                is_below(name, domain) || (self.host == other.host)
            }
            (own, other) => own == other,
        };
        host && self.is_https == other.is_https && self.port == other.port
    }

    fn allows(&self, target: &Target) -> bool {
        self.is_https == target.is_https && self.port == target.port && self.host.allows(&target.host)
    }
}

impl HostPattern {
    fn allows(&self, host: &Host) -> bool {
        match (self, host) {
            (Self::Address(allowed), Host::Address(address)) => allowed == address,
            (Self::Name(allowed), Host::Name(name)) => allowed == name,
            (Self::Below(domain), Host::Name(name)) => is_below(name, domain),
            _ => false,
        }
    }
}

fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.')).is_some_and(|rest| !rest.is_empty())
}

/// The entry that allows this target.
pub(super) fn find<'a>(allowed: &'a [AllowedHost], target: &Target) -> Option<&'a AllowedHost> {
    allowed.iter().find(|entry| entry.allows(target))
}

impl FromStr for AllowedHost {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        let (scheme, authority) = text.split_once("://").ok_or(AllowError::Form)?;
        let is_https = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(AllowError::Form),
        };
        if authority == "*" || authority.starts_with("*:") {
            return Err(AllowError::Everything);
        }
        let (is_wildcard, authority) = match authority.strip_prefix("*.") {
            Some(domain) => (true, domain),
            None => (false, authority),
        };
        let (host, port) = parse(authority).ok_or(AllowError::Form)?;
        let host = match host {
            Host::Name(name) if name.ends_with(INTERNAL) || name == INTERNAL[1..] => return Err(AllowError::Internal),
            Host::Name(name) if is_wildcard && !name.contains('.') => return Err(AllowError::Everything),
            Host::Name(name) if is_wildcard => HostPattern::Below(name),
            Host::Name(name) => HostPattern::Name(name),
            Host::Address(_) if is_wildcard => return Err(AllowError::Form),
            Host::Address(address) => HostPattern::Address(address),
        };
        Ok(Self { is_https, host, port: port.unwrap_or_else(|| default_port(is_https)) })
    }
}

impl Display for AllowedHost {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.is_https { "https://" } else { "http://" })?;
        match &self.host {
            HostPattern::Address(address) => write_address(*address, formatter)?,
            HostPattern::Name(name) => formatter.write_str(name)?,
            HostPattern::Below(domain) => write!(formatter, "*.{domain}")?,
        }
        write_port(self.is_https, self.port, formatter)
    }
}

impl Target {
    /// The remote host of a request. None if the URI has another form than scheme, host and port.
    pub(super) fn of(uri: &Uri) -> Option<Self> {
        let is_https = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let (host, port) = parse(uri.authority()?.as_str())?;
        Some(Self { is_https, host, port: port.unwrap_or_else(|| default_port(is_https)) })
    }

    /// The address in the URI, if it has one instead of a name.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.host {
            Host::Address(address) => Some(address),
            Host::Name(_) => None,
        }
    }

    /// The URI of a request to this host. Built from parts, so that no spelling of the guest is left before the path.
    pub(super) fn uri(&self, path_and_query: Option<&PathAndQuery>) -> Option<Uri> {
        let text = self.to_string();
        let authority = text.split_once("://")?.1;
        Uri::builder()
            .scheme(if self.is_https { Scheme::HTTPS } else { Scheme::HTTP })
            .authority(Authority::from_str(authority).ok()?)
            .path_and_query(path_and_query.map_or("/", PathAndQuery::as_str))
            .build()
            .ok()
    }
}

/// As in an origin: the port only if it is not the scheme's own.
impl Display for Target {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.is_https { "https://" } else { "http://" })?;
        match &self.host {
            Host::Address(address) => write_address(*address, formatter)?,
            Host::Name(name) => formatter.write_str(name)?,
        }
        write_port(self.is_https, self.port, formatter)
    }
}

fn write_address(address: IpAddr, formatter: &mut Formatter<'_>) -> fmt::Result {
    match address {
        IpAddr::V4(address) => write!(formatter, "{address}"),
        IpAddr::V6(address) => write!(formatter, "[{address}]"),
    }
}

fn write_port(is_https: bool, port: u16, formatter: &mut Formatter<'_>) -> fmt::Result {
    if port == default_port(is_https) { Ok(()) } else { write!(formatter, ":{port}") }
}

fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

/// Host and port of an authority. None if it has any other form.
fn parse(authority: &str) -> Option<(Host, Option<u16>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        return Some((Host::Address(address.into()), port(rest)?));
    }
    let split = authority.find(':').unwrap_or(authority.len());
    let (host, rest) = authority.split_at(split);
    let port = port(rest)?;
    if let Ok(address) = host.parse() {
        return Some((Host::Address(IpAddr::V4(address)), port));
    }
    is_name(host).then(|| (Host::Name(host.to_ascii_lowercase()), port))
}

/// The port after a host: nothing, or a colon and a number.
fn port(text: &str) -> Option<Option<u16>> {
    let Some(digits) = text.strip_prefix(':') else { return text.is_empty().then_some(None) };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let port: u16 = digits.parse().ok().filter(|_| is_number)?;
    (port != 0).then_some(Some(port))
}

/// Whether a text is the name of a host: labels of letters, digits, `-` and `_`, without a dot at the end.
///
/// The last label must not begin with a digit. Otherwise `2130706433` and `0x7f.1` are names, and resolvers take them for 127.0.0.1.
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= NAME_BYTES && text.split('.').all(is_label) && !last.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(entry: &str, url: &str) -> bool {
        let entry: AllowedHost = entry.parse().unwrap();
        url.parse().is_ok_and(|uri| Target::of(&uri).is_some_and(|target| entry.allows(&target)))
    }

    #[test]
    fn an_entry_allows_its_scheme_host_and_port_and_no_other() {
        for (entry, url) in [
            ("https://api.pay.example", "https://api.pay.example/v1?x=1"),
            ("https://api.pay.example", "https://API.Pay.Example:443/"),
            ("https://Api.Pay.Example:443", "https://api.pay.example"),
            ("http://10.1.2.3:8080", "http://10.1.2.3:8080/"),
            ("http://[fd00::1]", "http://[fd00:0::1]:80/"),
            ("https://*.mail.example:8443", "https://a.mail.example:8443/"),
            ("https://*.mail.example:8443", "https://a.b.mail.example:8443/"),
        ] {
            assert!(allows(entry, url), "{entry} {url}");
        }
        for (entry, url) in [
            ("https://api.pay.example", "http://api.pay.example/"),
            ("https://api.pay.example", "https://api.pay.example:8443/"),
            ("https://api.pay.example", "https://api.pay.example.evil.example/"),
            ("https://api.pay.example", "https://evil.example/api.pay.example"),
            ("https://*.mail.example", "https://mail.example/"),
            ("https://*.mail.example", "https://evilmail.example/"),
            ("https://*.mail.example", "https://.mail.example/"),
            ("http://10.1.2.3", "http://[::ffff:10.1.2.3]/"),
        ] {
            assert!(!allows(entry, url), "{entry} {url}");
        }
    }

    #[test]
    fn an_entry_covers_another_one_that_allows_no_more() {
        let covers = |entry: &str, other: &str| {
            entry.parse::<AllowedHost>().unwrap().covers(&other.parse::<AllowedHost>().unwrap())
        };
        for (entry, other) in [
            ("https://api.pay.example", "https://API.pay.example:443"),
            ("https://*.pay.example", "https://api.pay.example"),
            ("https://*.pay.example", "https://*.pay.example"),
            ("https://*.pay.example", "https://*.eu.pay.example"),
        ] {
            assert!(covers(entry, other), "{entry} {other}");
        }
        for (entry, other) in [
            ("https://api.pay.example", "https://*.pay.example"),
            ("https://*.pay.example", "https://pay.example"),
            ("https://*.eu.pay.example", "https://*.pay.example"),
            ("https://*.pay.example", "http://api.pay.example"),
            ("https://api.pay.example", "https://api.pay.example:8443"),
        ] {
            assert!(!covers(entry, other), "{entry} {other}");
        }
    }

    #[test]
    fn an_entry_prints_as_it_should_be_written() {
        for entry in
            ["https://api.pay.example", "http://*.mail.example:81", "http://127.0.0.1:8080", "https://[fd00::1]:1"]
        {
            assert_eq!(entry.parse::<AllowedHost>().unwrap().to_string(), entry);
        }
        assert_eq!("https://A.example:443".parse::<AllowedHost>().unwrap().to_string(), "https://a.example");
    }

    #[test]
    fn any_other_entry_is_refused() {
        for entry in [
            "",
            "api.pay.example",
            "ftp://a.example",
            "https://",
            "https://a.example/",
            "https://a.example/v1",
            "https://u@a.example",
            "https://a.example.",
            "https://a..example",
            "https://a.example:0",
            "https://a.example:+1",
            "https://a.example:99999",
            "https://a.example:",
            "https://*.10.0.0.1",
            "https://a.*.example",
            "https://*",
            "https://2130706433",
            "https://0x7f.1",
            "https://127.1",
            "https://[fe80::1%25eth0]",
            "https://é.example",
            "http://auth.internal",
            "http://*.internal",
            "*",
        ] {
            assert!(entry.parse::<AllowedHost>().is_err(), "{entry}");
        }
        assert_eq!("https://*.com".parse::<AllowedHost>(), Err(AllowError::Everything));
        assert_eq!("https://*:8443".parse::<AllowedHost>(), Err(AllowError::Everything));
        assert_eq!("http://a.internal".parse::<AllowedHost>(), Err(AllowError::Internal));
    }

    #[test]
    fn a_request_gets_a_new_uri_with_its_own_path() {
        let uri: Uri = "https://API.pay.example:443/v1/a%20b?c=d".parse().unwrap();
        let target = Target::of(&uri).unwrap();
        assert_eq!(target.uri(uri.path_and_query()).unwrap(), "https://api.pay.example/v1/a%20b?c=d");
        assert_eq!(target.uri(None).unwrap(), "https://api.pay.example/");
    }
}
