//! What the host denied to the guests of one revision: requests, sockets and the names of hosts.
//!
//! A guest learns of a denial through the error of its call, and handles it or not. The host counts each denied call. It logs the first
//! one of each kind, so that a guest that tries again and again does not fill the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Guest;
use crate::printable::excerpt;

/// Maximum bytes of a host name that a log line shows.
const HOST_BYTES: usize = 253;

/// Why no change of the manifest helps.
const NO_GRANT: &str = "this host has no grant for the network, so no line of the manifest would allow it";

/// A call that the host denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// A request through `wasi:http`.
    Request,
    /// A TCP or UDP socket through `wasi:sockets`.
    Socket,
    /// A lookup of a host's name through `wasi:sockets`.
    Lookup,
}

impl Denial {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Request, Self::Socket, Self::Lookup];

    /// Its word in the metrics and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
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

    /// Counts a denied request to this host. Logs the first one.
    pub(super) fn request(&self, host: &str) {
        self.log(Denial::Request, || {
            let host = excerpt(host, HOST_BYTES);
            let remedy = match host.strip_suffix(".internal") {
                Some(callee) => format!(
                    "if {callee} is a service of this host, list it in `calls` of [services.{}] in the manifest",
                    self.service
                ),
                None => NO_GRANT.to_owned(),
            };
            format!("denied a request to {host}: {remedy}")
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

impl Guest {
    /// Counts a call for a socket or a host's name, which the empty WASI context denies. Probes and `describe` are not counted.
    pub(super) fn deny(&mut self, denial: Denial) -> &mut Self {
        if let Some(denials) = self.outgoing.denials() {
            denials.network(denial);
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
        assert_eq!(Denial::ALL.map(|denial| denials.count(denial)), [1, 2, 0]);
    }
}
