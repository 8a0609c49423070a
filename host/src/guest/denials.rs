//! What the host denied to the guests of one revision: requests, sockets and the names of hosts.
//!
//! A guest learns of a denial through the error of its call, and handles it or not. The host counts each denied call. It logs the first
//! one of each kind, so that a guest that tries again and again does not fill the log. Denied requests are also in the audit log.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hyper::Method;

use super::Guest;
use crate::audit::ServiceAudit;
use crate::outbound::{AllowedHost, OutboundError, RevisionSecrets};
use crate::printable::excerpt;

/// Maximum bytes of a host name with its scheme and port that a log line shows.
const ORIGIN_BYTES: usize = 270;

/// Maximum bytes of a method that a log line shows.
const METHOD_BYTES: usize = 20;

/// Lines in the audit log about the denied requests of one request.
const AUDIT_LINES: usize = 16;

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
        self.log(Denial::Request, || format!("denied a request to {origin}: {}", remedy(&self.service, origin, error)));
    }

    /// Counts a request to a listed host with a denied address. Logs the first one.
    fn address(&self, origin: &str, address: IpAddr) {
        self.log(Denial::Address, || {
            let service = &self.service;
            format!(
                "denied a request to {origin}, because its address {address} is not public: to allow it, list the host by its full \
                 name in `allow` and its network in `private` of [services.{service}.outbound]"
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

/// How the manifest can allow a request to this scheme, host and port.
fn remedy(service: &str, origin: &str, error: &OutboundError) -> String {
    if matches!(error, OutboundError::Method) {
        return error.to_string();
    }
    if let Some(callee) = origin.split_once("://").and_then(|(_, host)| host.strip_suffix(".internal")) {
        return format!(
            "if {callee} is a service of this host, list it in `calls` of [services.{service}] in the manifest"
        );
    }
    if origin.parse::<AllowedHost>().is_err() {
        return "no line of the manifest can allow a host that is written in this way".to_owned();
    }
    format!("to allow it, list \"{origin}\" in `allow` of [services.{service}.outbound]")
}

/// Records the denied requests of one request.
#[derive(Debug, Clone)]
pub struct RequestDenials {
    revision: Arc<Denials>,
    audit: ServiceAudit,
    secrets: Option<Arc<RevisionSecrets>>,
    recorded: Arc<AtomicUsize>,
}

impl RequestDenials {
    /// `revision` counts them. `audit` is the audit log in the name of the service and of the request. `secrets` are those that the guest
    /// sees, and may write into the name of a host.
    pub fn new(revision: Arc<Denials>, audit: ServiceAudit, secrets: Option<Arc<RevisionSecrets>>) -> Self {
        Self { revision, audit, secrets, recorded: Arc::default() }
    }

    /// The scheme, host and port of a request for a log.
    fn shown(&self, origin: &str) -> String {
        let masked = self.secrets.as_ref().map(|secrets| secrets.masked(origin.as_bytes(), false));
        let text = masked.as_deref().map_or(Cow::Borrowed(origin), String::from_utf8_lossy);
        excerpt(&text, ORIGIN_BYTES)
    }

    /// Writes a denied request to the audit log, or only counts it, so that one request does not fill the log's limit of its service.
    fn record(&self, asked: &str) {
        if self.recorded.fetch_add(1, Ordering::Relaxed) < AUDIT_LINES {
            self.audit.refuse(asked);
        } else {
            self.audit.miss();
        }
    }

    /// A request that the manifest does not allow. `origin` is its scheme, host and port.
    pub(super) fn request(&self, method: &Method, origin: &str, error: &OutboundError) {
        let (method, origin) = (excerpt(method.as_str(), METHOD_BYTES), self.shown(origin));
        self.record(&format!("{method} {origin}"));
        self.revision.request(&origin, error);
    }

    /// A request to a listed host whose address is not public.
    pub(super) fn address(&self, method: &Method, origin: &str, address: IpAddr) {
        let (method, origin) = (excerpt(method.as_str(), METHOD_BYTES), self.shown(origin));
        self.record(&format!("{method} {origin} at {address}"));
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
    use crate::audit::Audit;
    use crate::clock::Clock;

    #[test]
    fn the_first_denial_of_each_kind_is_described_and_all_are_counted() {
        let denials = Denials::new("orders".into());
        let first = denials.add(Denial::Socket, || "denied a socket".to_owned()).unwrap();
        assert_eq!(first, "orders: denied a socket. The metric `comptoir_denied_calls` counts the others");
        assert_eq!(denials.add(Denial::Socket, || panic!("only the first is described")), None);
        assert!(denials.add(Denial::Request, || "denied a request".to_owned()).is_some());
        assert_eq!(Denial::ALL.map(|denial| denials.count(denial)), [1, 0, 2, 0]);
    }

    #[test]
    fn the_log_advises_only_what_the_manifest_accepts() {
        for (origin, advice) in [
            ("https://api.pay.example", "list \"https://api.pay.example\" in `allow` of [services.orders.outbound]"),
            ("http://auth.internal", "list it in `calls` of [services.orders]"),
            ("http://2130706433", "no line of the manifest can allow"),
            ("https://pay.example.", "no line of the manifest can allow"),
        ] {
            let remedy = remedy("orders", origin, &OutboundError::Denied);
            assert!(remedy.contains(advice), "{origin}: {remedy}");
        }
        let remedy = remedy("orders", "https://api.pay.example", &OutboundError::Method);
        assert_eq!(remedy, "the host never sends requests of this method");
    }

    #[tokio::test]
    async fn one_request_writes_16_denials_to_the_audit_log_and_a_long_method_hides_no_host() {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::open(folder.path(), Clock::default(), 1 << 20).unwrap();
        let service = ServiceAudit::new(audit.clone(), "orders".into());
        let denials = RequestDenials::new(Arc::new(Denials::new("orders".into())), service, None);
        let method = Method::from_bytes(&[b'X'; 1000]).unwrap();
        for _ in 0..100 {
            denials.clone().request(&method, "https://evil.example", &OutboundError::Denied);
        }
        audit.flush().await;
        let log = std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
        assert_eq!(log.lines().filter(|line| line.contains("https://evil.example")).count(), AUDIT_LINES, "{log}");
        assert_eq!(denials.revision.count(Denial::Request), 100);
    }
}
