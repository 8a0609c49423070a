//! What the host knows about each remote host of a service: its circuit breaker and its metrics.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::StatusCode;
use prometheus_client::metrics::histogram::Histogram;

use super::breaker::Breaker;
use super::error::OutboundError;
use super::target::Target;

/// Remote hosts of one service whose breakers and metrics the host keeps. A wildcard in `allow` may name any number of hosts. The host
/// forgets the one that was least recently used.
const MAX_REMOTES: usize = 256;

/// Upper bounds of the latency histogram, in seconds: from 5 ms to a minute.
const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0];

/// How a request to a remote host ended, for the metrics. An answer whose body then fails counts once more, by its failure.
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
            OutboundError::Denied | OutboundError::Method | OutboundError::GaveUp(_) | OutboundError::Request(_) => {
                return None;
            }
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
    /// When it was last used, in requests of the service.
    used: AtomicU64,
}

impl Remote {
    fn new(name: String, pause: Duration) -> Self {
        Self {
            name,
            breaker: Breaker::new(pause),
            endings: Default::default(),
            latency: Histogram::new(BUCKETS),
            used: AtomicU64::new(0),
        }
    }

    /// Scheme, host and port.
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
#[derive(Debug)]
pub(super) struct Remotes {
    all: RwLock<BTreeMap<String, Arc<Remote>>>,
    requests: AtomicU64,
    /// The first pause of their breakers.
    pause: Duration,
}

impl Remotes {
    pub(super) fn new(pause: Duration) -> Self {
        Self { all: RwLock::default(), requests: AtomicU64::new(0), pause }
    }

    /// The remote host of an allowed request.
    pub(super) fn get(&self, target: &Target) -> Arc<Remote> {
        let name = target.to_string();
        let known = self.all.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        let remote = known.unwrap_or_else(|| self.add(name));
        remote.used.store(self.requests.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        remote
    }

    /// Adds a remote host, and forgets another one if there are too many.
    fn add(&self, name: String) -> Arc<Remote> {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_REMOTES && !all.contains_key(&name) {
            let oldest = all.values().min_by_key(|remote| remote.used.load(Ordering::Relaxed));
            if let Some(oldest) = oldest.map(|remote| remote.name.clone()) {
                all.remove(&oldest);
            }
        }
        all.entry(name.clone()).or_insert_with(|| Arc::new(Remote::new(name, self.pause))).clone()
    }

    pub(super) fn all(&self) -> Vec<Arc<Remote>> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_hosts_the_least_recently_used_is_forgotten() {
        let remotes = Remotes::new(Duration::ZERO);
        let get = |number: usize| {
            remotes.get(&Target::of(&format!("https://h{number}.wild.example/").parse().unwrap()).unwrap())
        };
        for number in 0..2 * MAX_REMOTES {
            get(number).end(Ending::Answered);
            get(0);
        }
        assert_eq!(remotes.all().len(), MAX_REMOTES);
        assert_eq!(get(0).count(Ending::Answered), 1, "it was used all the time");
        let latest = 2 * MAX_REMOTES - 1;
        assert_eq!([latest, 1].map(|number| get(number).count(Ending::Answered)), [1, 0]);
    }
}
