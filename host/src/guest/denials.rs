//! What the host denied to the guests of one revision: requests, sockets and the names of hosts.
//!
//! A guest learns of a denial through the error of its call, and handles it or not. The host counts each denied call. It logs the first
//! one of each kind, so that a guest that tries again and again does not fill the log. Denied requests are also in the audit log.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::Method;

use super::Guest;
use crate::audit::ServiceAudit;
use crate::outbound::{AllowedHost, OutboundError, RevisionSecrets};
use crate::printable::excerpt;

/// Maximum bytes of a host name with its scheme and port that a log line shows.
const ORIGIN_BYTES: usize = 270;

/// Maximum bytes of a method that a log line shows.
const METHOD_BYTES: usize = 20;

/// Why no change of the manifest helps.
const NO_GRANT: &str = "this host has no grant for the network, so no line of the manifest would allow it";

/// A call that the host denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// A request through `wasi:http` to a host that the manifest does not list.
    Request,
    /// A request to a listed host whose address is not public.
    Address,
    /// A TCP or UDP socket through `wasi:sockets`.
    Socket,
    /// A lookup of a host's name through `wasi:sockets`.
    Lookup,
}

impl Denial {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Request, Self::Address, Self::Socket, Self::Lookup];

    /// Its word in the metrics and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Address => "address",
            Self::Socket => "socket",
            Self::Lookup => "lookup",
        }
    }
}

/// Counts the denied calls of one revision.
#[derive(Debug)]
pub struct Denials {
    service: Arc<str>,
    counts: [AtomicU64; Denial::ALL.len()],
}

impl Denials {
    /// No denied calls of this service yet.
    pub fn new(service: Arc<str>) -> Self {
        Self { service, counts: Default::default() }
    }

    /// How many calls of this kind were denied.
    pub fn count(&self, denial: Denial) -> u64 {
        self.counts[denial as usize].load(Ordering::Relaxed)
    }

    /// Counts a denied request to this scheme, host and port. Logs the first one.
    fn request(&self, origin: &str, error: &OutboundError) {
        self.log(Denial::Request, || {
            if matches!(error, OutboundError::Method) {
                return format!("denied a request to {origin}: {error}");
            }
            let callee = origin.split_once("://").and_then(|(_, host)| host.strip_suffix(".internal"));
            let remedy = match callee {
                Some(callee) => format!(
                    "if {callee} is a service of this host, list it in `calls` of [services.{}] in the manifest",
                    self.service
                ),
                None if origin.parse::<AllowedHost>().is_err() => {
                    "no line of the manifest can allow a host that is written in this way".to_owned()
                }
                None => format!("to allow it, list \"{origin}\" in `allow` of [services.{}.outbound]", self.service),
            };
            format!("denied a request to {origin}: {remedy}")
        });
    }

    /// Counts a request to a listed host with a denied address. Logs the first one.
    fn address(&self, origin: &str, address: IpAddr) {
        self.log(Denial::Address, || {
            let service = &self.service;
            format!(
                "denied a request to {origin}, because its address {address} is not public: to allow it, list its network in `private` of \
                 [services.{service}.outbound]"
            )
        });
    }

    /// Counts a denied call of `wasi:sockets`. Logs the first one.
    fn network(&self, denial: Denial) {
        let what = if denial == Denial::Lookup { "the lookup of a host's name" } else { "a socket" };
        self.log(denial, || format!("denied {what}: {NO_GRANT}"));
    }

    fn log(&self, denial: Denial, describe: impl FnOnce() -> String) {
        if let Some(text) = self.add(denial, describe) {
            tracing::warn!(service = &*self.service, kind = denial.name(), "{text}");
        }
    }

    /// Counts a denied call. Returns the text of its log line if it is the first one of its kind.
    fn add(&self, denial: Denial, describe: impl FnOnce() -> String) -> Option<String> {
        let is_first = self.counts[denial as usize].fetch_add(1, Ordering::Relaxed) == 0;
        is_first
            .then(|| format!("{}: {}. The metric `comptoir_denied_calls` counts the others", self.service, describe()))
    }
}

/// Records the denied requests of one request.
#[derive(Debug, Clone)]
pub struct RequestDenials {
    /// Counts them.
    pub revision: Arc<Denials>,
    /// The audit log, in the name of the service and of the request.
    pub audit: ServiceAudit,
    /// The secrets that the guest sees, and may write into the name of a host.
    pub secrets: Option<Arc<RevisionSecrets>>,
}

impl RequestDenials {
    /// The scheme, host and port of a request for a log.
    fn shown(&self, origin: &str) -> String {
        let masked = self.secrets.as_ref().map(|secrets| secrets.masked(origin.as_bytes(), false));
        let text = masked.as_deref().map_or(Cow::Borrowed(origin), String::from_utf8_lossy);
        excerpt(&text, ORIGIN_BYTES)
    }

    /// A request that the manifest does not allow. `origin` is its scheme, host and port.
    pub(super) fn request(&self, method: &Method, origin: &str, error: &OutboundError) {
        let (method, origin) = (excerpt(method.as_str(), METHOD_BYTES), self.shown(origin));
        self.audit.refuse(&format!("{method} {origin}"));
        self.revision.request(&origin, error);
    }

    /// A request to a listed host whose address is not public.
    pub(super) fn address(&self, method: &Method, origin: &str, address: IpAddr) {
        let (method, origin) = (excerpt(method.as_str(), METHOD_BYTES), self.shown(origin));
        self.audit.refuse(&format!("{method} {origin} at {address}"));
        self.revision.address(&origin, address);
    }
}

impl Guest {
    /// Counts a call for a socket or a host's name, which the empty WASI context denies. Probes and `describe` are not counted.
    pub(super) fn deny(&mut self, denial: Denial) -> &mut Self {
        if let Some(denials) = self.outgoing.denials() {
            denials.revision.network(denial);
        }
        self.mark_uncacheable()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_denial_of_each_kind_is_described_and_all_are_counted() {
        let denials = Denials::new("orders".into());
        let first = denials.add(Denial::Socket, || "denied a socket".to_owned()).unwrap();
        assert_eq!(first, "orders: denied a socket. The metric `comptoir_denied_calls` counts the others");
        assert_eq!(denials.add(Denial::Socket, || panic!("only the first is described")), None);
        assert!(denials.add(Denial::Request, || "denied a request".to_owned()).is_some());
        assert_eq!(Denial::ALL.map(|denial| denials.count(denial)), [1, 0, 2, 0]);
    }
}
