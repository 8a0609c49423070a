//! The host names that a listener on loopback answers to.
//!
//! A page in a browser on this machine can let its own name resolve to a loopback address (DNS rebinding). The browser then
//! treats the host as the page's own origin and lets it read responses. Such requests carry the page's name in `Host`. So a
//! listener on loopback answers only loopback names and those that the manifest lists. A listener on another address is public
//! and does not check the name.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::header::HOST;
use hyper::http::request::Parts;

use super::Door;
use crate::error::Error;
use crate::head::authority;
use crate::manifest::Manifest;

/// In the manifest's list, allows every name.
const ANY: &str = "*";

/// The host names that are answered: loopback names and those that the manifest lists.
#[derive(Debug)]
pub struct Hosts {
    listed: Box<[String]>,
}

impl Hosts {
    /// Allows these names besides loopback names. Ignores `*`, because the admin listener never answers to every name.
    pub fn new(listed: &[String]) -> Self {
        let bare = |name: &String| name.strip_suffix('.').unwrap_or(name).to_owned();
        Self { listed: listed.iter().filter(|name| *name != ANY).map(bare).collect() }
    }

    /// Refuses a request for another host. A request without a host passes, because no browser sends one.
    ///
    /// # Errors
    /// `Error::ForeignHost`.
    pub fn check(&self, head: &Parts) -> Result<(), Error> {
        match authority(head) {
            Some(authority) if self.include(authority.host()) => Ok(()),
            None if !head.headers.contains_key(HOST) => Ok(()),
            _ => Err(Error::ForeignHost),
        }
    }

    fn include(&self, host: &str) -> bool {
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        is_loopback(&name) || self.listed.contains(&name)
    }
}

fn is_loopback(name: &str) -> bool {
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

/// The gateway's listeners on loopback, which check the host name.
#[derive(Debug)]
pub(super) struct LoopbackDoors {
    hosts: Hosts,
    gateway: bool,
    services: BTreeSet<Arc<str>>,
}

impl LoopbackDoors {
    /// The manifest's listeners on loopback. None if the manifest allows every name.
    pub(super) fn new(manifest: &Manifest) -> Self {
        let checks = !manifest.listeners.hosts.iter().any(|name| name == ANY);
        let on_loopback =
            manifest.services.iter().filter(|(_, service)| service.listen.is_some_and(|at| at.ip().is_loopback()));
        Self {
            hosts: Hosts::new(&manifest.listeners.hosts),
            gateway: checks && manifest.listeners.gateway.ip().is_loopback(),
            services: on_loopback.filter(|_| checks).map(|(name, _)| name.as_str().into()).collect(),
        }
    }

    /// Refuses a request for a foreign host if its listener checks the name.
    ///
    /// # Errors
    /// `Error::ForeignHost`.
    pub(super) fn check(&self, door: &Door, head: &Parts) -> Result<(), Error> {
        let checks = match door {
            Door::Gateway => self.gateway,
            Door::Service(name) => self.services.contains(name),
        };
        if checks { self.hosts.check(head) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use hyper::Request;

    use super::*;

    fn check(host: &str) -> Result<(), Error> {
        let hosts = Hosts::new(&["shop.example".to_owned(), "*".to_owned()]);
        hosts.check(&Request::get("/").header(HOST, host).body(()).unwrap().into_parts().0)
    }

    #[test]
    fn loopback_and_listed_names_are_answered() {
        for host in [
            "localhost",
            "LocalHost:8000",
            "localhost.",
            "shop.localhost:1",
            "127.0.0.1",
            "127.8.9.10:8000",
            "[::1]:8000",
            "[::ffff:127.0.0.1]",
            "shop.example",
            "Shop.Example:443",
        ] {
            assert_eq!(check(host), Ok(()), "{host}");
        }
        assert_eq!(
            Hosts::new(&[]).check(&Request::get("/").body(()).unwrap().into_parts().0),
            Ok(()),
            "no host at all"
        );
    }

    #[test]
    fn other_names_are_refused() {
        for host in [
            "",
            "evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "evil.example:8000",
            "128.0.0.1",
            "0.0.0.0",
            "10.0.0.1",
            "[::2]",
            "[::]",
            "sub.shop.example",
            "*",
            "two words",
        ] {
            assert_eq!(check(host), Err(Error::ForeignHost), "{host}");
        }
    }

    #[test]
    fn only_loopback_listeners_check_and_none_if_every_host_is_allowed() {
        let refuses = |gateway: &str, hosts: &str| {
            let text = format!(
                "[listeners]\ngateway = \"{gateway}:0\"\nadmin = \"127.0.0.1:0\"\nhosts = {hosts}\n[services.one]\n\
                 component = \"one.wasm\"\nmounts = [\"/one\"]\nlisten = \"[::1]:0\"\n[services.two]\n\
                 component = \"two.wasm\"\nmounts = [\"/two\"]\nlisten = \"0.0.0.0:0\"\n"
            );
            let doors = LoopbackDoors::new(&Manifest::parse(Path::new("c.toml"), &text).unwrap());
            let foreign = Request::get("/").header(HOST, "evil.example").body(()).unwrap().into_parts().0;
            let service = |name: &str| Door::Service(name.into());
            [Door::Gateway, service("one"), service("two")].map(|door| doors.check(&door, &foreign).is_err())
        };
        assert_eq!(refuses("127.0.0.1", "[]"), [true, true, false]);
        assert_eq!(refuses("0.0.0.0", "[]"), [false, true, false]);
        assert_eq!(refuses("127.0.0.1", "[\"*\"]"), [false, false, false]);
    }
}
