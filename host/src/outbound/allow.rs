//! Which remote hosts a service may send requests to: the manifest's `allow`.
//!
//! An entry is a scheme, a host and perhaps a port, such as `https://api.pay.example`. `*.` stands for one or several labels before a
//! name, not for the name alone. Without a port, the entry means the port of its scheme.

use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;
use std::str::FromStr;

use super::target::{Host, Target, default_port, parse, write_address, write_port};

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
    /// Its name has letters beyond ASCII.
    #[error("has letters that no name of a host has: write the name's ASCII form, which begins with `xn--`")]
    Unicode,
    /// It names a service of this host.
    #[error("names a service of this host: list the service in `calls`")]
    Internal,
    /// It allows every host, or every host below a top-level domain.
    #[error("would allow the hosts of strangers: name a domain, such as \"https://*.mail.example\"")]
    Everything,
}

impl AllowedHost {
    pub(super) fn is_https(&self) -> bool {
        self.is_https
    }

    pub(super) fn is_wildcard(&self) -> bool {
        matches!(self.host, HostPattern::Below(_))
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

/// The entry that allows this target: the host's own before a wildcard.
pub(super) fn find<'a>(allowed: &'a [AllowedHost], target: &Target) -> Option<&'a AllowedHost> {
    allowed.iter().filter(|entry| entry.allows(target)).min_by_key(|entry| entry.is_wildcard())
}

impl FromStr for AllowedHost {
    type Err = AllowError;

    fn from_str(text: &str) -> Result<Self, AllowError> {
        if !text.is_ascii() {
            return Err(AllowError::Unicode);
        }
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
        assert_eq!("https://é.example".parse::<AllowedHost>(), Err(AllowError::Unicode));
        assert!("https://xn--9ca.example".parse::<AllowedHost>().is_ok());
        assert_eq!("https://*:8443".parse::<AllowedHost>(), Err(AllowError::Everything));
        assert_eq!("http://a.internal".parse::<AllowedHost>(), Err(AllowError::Internal));
    }
}
