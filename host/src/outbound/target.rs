//! The remote host of a request.
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

/// The remote host of a request, in the one form in which it is compared and connected to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Target {
    pub(super) is_https: bool,
    pub(super) host: Host,
    pub(super) port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Host {
    Address(IpAddr),
    /// In lower case.
    Name(String),
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

pub(super) fn write_address(address: IpAddr, formatter: &mut Formatter<'_>) -> fmt::Result {
    match address {
        IpAddr::V4(address) => write!(formatter, "{address}"),
        IpAddr::V6(address) => write!(formatter, "[{address}]"),
    }
}

pub(super) fn write_port(is_https: bool, port: u16, formatter: &mut Formatter<'_>) -> fmt::Result {
    if port == default_port(is_https) { Ok(()) } else { write!(formatter, ":{port}") }
}

pub(super) fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

/// Host and port of an authority. None if it has any other form.
pub(super) fn parse(authority: &str) -> Option<(Host, Option<u16>)> {
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

    #[test]
    fn a_request_gets_a_new_uri_with_its_own_path() {
        let uri: Uri = "https://API.pay.example:443/v1/a%20b?c=d".parse().unwrap();
        let target = Target::of(&uri).unwrap();
        assert_eq!(target.uri(uri.path_and_query()).unwrap(), "https://api.pay.example/v1/a%20b?c=d");
        assert_eq!(target.uri(None).unwrap(), "https://api.pay.example/");
    }
}
