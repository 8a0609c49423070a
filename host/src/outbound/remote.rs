//! What the host knows about each remote host of a service: its circuit breaker and its metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::StatusCode;
use prometheus_client::metrics::histogram::Histogram;

use super::allow::{AllowedHost, Target};
use super::breaker::Breaker;
use super::error::OutboundError;

/// Remote hosts of one service that have a breaker and metrics of their own. A wildcard in `allow` may name any number of hosts. Those
/// beyond the limit share the breaker and the metrics of their entry.
const MAX_REMOTES: usize = 256;

/// Upper bounds of the latency histogram, in seconds: from 5 ms to a minute.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

/// How a request to a remote host ended, for the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// A status below 400.
    Answered,
    /// A status from 400 to 499.
    ClientError,
    /// A status of 500 and above.
    ServerError,
    /// No connection: lookup, TCP or TLS failed, or the address is not allowed.
    Unreachable,
    /// No response in time.
    TimedOut,
    /// The connection broke, or the response was not valid or too large.
    Broken,
    /// Not sent: the circuit is open, or too many requests run.
    NotSent,
}

impl Ending {
    /// All endings.
    pub const ALL: [Self; 7] = [
        Self::Answered,
        Self::ClientError,
        Self::ServerError,
        Self::Unreachable,
        Self::TimedOut,
        Self::Broken,
        Self::NotSent,
    ];

    /// Its word in the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::ClientError => "client-error",
            Self::ServerError => "server-error",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timeout",
            Self::Broken => "broken",
            Self::NotSent => "not-sent",
        }
    }

    /// The ending of a request with this status.
    pub(super) fn of(status: StatusCode) -> Self {
        match status.as_u16() {
            500.. => Self::ServerError,
            400.. => Self::ClientError,
            _ => Self::Answered,
        }
    }

    /// The ending of a request with this error. None if it says nothing about the remote host.
    pub(super) fn of_error(error: &OutboundError) -> Option<Self> {
        Some(match error {
            OutboundError::Denied | OutboundError::Method | OutboundError::Request(_) => return None,
            OutboundError::Open | OutboundError::Crowded => Self::NotSent,
            OutboundError::Prohibited(_)
            | OutboundError::Lookup(_)
            | OutboundError::Connect(_)
            | OutboundError::Tls(_)
            | OutboundError::Certificate(_) => Self::Unreachable,
            OutboundError::TimedOut(_) => Self::TimedOut,
            OutboundError::TooLarge(_) | OutboundError::Coded | OutboundError::Broken(_) => Self::Broken,
        })
    }
}

/// One remote host, as one service uses it.
#[derive(Debug)]
pub struct Remote {
    name: String,
    pub(super) breaker: Breaker,
    endings: [AtomicU64; Ending::ALL.len()],
    latency: Histogram,
}

impl Remote {
    fn new(name: String) -> Self {
        Self { name, breaker: Breaker::default(), endings: Default::default(), latency: Histogram::new(BUCKETS) }
    }

    /// Scheme, host and port, or an entry of `allow`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many requests ended this way.
    pub fn count(&self, ending: Ending) -> u64 {
        self.endings[ending as usize].load(Ordering::Relaxed)
    }

    /// Time until the head of the response, of all requests that got one.
    pub fn latency(&self) -> &Histogram {
        &self.latency
    }

    /// Whether the circuit breaker refuses requests now.
    pub fn is_open(&self) -> bool {
        self.breaker.is_open()
    }

    pub(super) fn end(&self, ending: Ending) {
        self.endings[ending as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answer(&self, status: StatusCode, duration: Duration) {
        self.end(Ending::of(status));
        self.latency.observe(duration.as_secs_f64());
    }
}

/// A shared remote host, for a [`Pass`](super::breaker::Pass).
#[derive(Debug, Clone)]
pub(super) struct SharedRemote(pub(super) Arc<Remote>);

impl AsRef<Breaker> for SharedRemote {
    fn as_ref(&self) -> &Breaker {
        &self.0.breaker
    }
}

/// The remote hosts that a service has sent requests to.
#[derive(Debug, Default)]
pub(super) struct Remotes(RwLock<BTreeMap<String, Arc<Remote>>>);

impl Remotes {
    /// The remote host of a target that this entry allows.
    pub(super) fn get(&self, target: &Target, entry: &AllowedHost) -> Arc<Remote> {
        let name = target.to_string();
        if let Some(remote) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&name) {
            return remote.clone();
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let name = if all.len() < MAX_REMOTES { name } else { entry.to_string() };
        all.entry(name.clone()).or_insert_with(|| Arc::new(Remote::new(name))).clone()
    }

    pub(super) fn all(&self) -> Vec<Arc<Remote>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_beyond_the_limit_share_the_breaker_and_metrics_of_their_entry() {
        let (remotes, entry) = (Remotes::default(), "https://*.example".parse().unwrap());
        for number in 0..2 * MAX_REMOTES {
            let target = Target::of(&format!("https://h{number}.example/").parse().unwrap()).unwrap();
            remotes.get(&target, &entry).end(Ending::Answered);
        }
        let all = remotes.all();
        assert_eq!(all.len(), MAX_REMOTES + 1);
        let shared = all.iter().find(|remote| remote.name() == "https://*.example").unwrap();
        assert_eq!(shared.count(Ending::Answered), MAX_REMOTES as u64);
    }
}
