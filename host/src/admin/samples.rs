//! The traffic of each service over the last 15 minutes, in samples of five seconds. Kept in memory only.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::Admin;
use crate::telemetry::{LatencyCounts, Totals};

/// The time between two samples.
pub(super) const SAMPLE_TIME: Duration = Duration::from_secs(5);

/// The samples of each service: 15 minutes.
const SAMPLES: usize = 180;

/// What happened since the sample before.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Sample {
    /// When it was taken, in seconds since 1970-01-01 UTC.
    pub(super) at: u64,
    /// Requests per second.
    requests: f64,
    /// Requests with a 5xx status, per second.
    errors: f64,
    /// The latency of half of the requests, in microseconds. None without requests.
    p50_us: Option<f64>,
    /// The latency of 99 in 100 requests, in microseconds.
    p99_us: Option<f64>,
    /// Instances in use when the sample was taken.
    instances: usize,
}

/// The samples of all services. Those of a removed service are dropped.
#[derive(Default)]
pub(super) struct Samples(Mutex<Taken>);

#[derive(Default)]
struct Taken {
    last: Option<Instant>,
    services: BTreeMap<Arc<str>, Ring>,
}

#[derive(Default)]
struct Ring {
    totals: Totals,
    samples: VecDeque<Sample>,
}

impl Samples {
    /// Adds a sample for each service: its counts since the host started, and its instances in use.
    fn take(&self, at: u64, now: Instant, services: Vec<(Arc<str>, Totals, usize)>) {
        let mut taken = self.locked();
        let passed = taken.last.replace(now).map(|last| now.saturating_duration_since(last).as_secs_f64());
        let mut before = std::mem::take(&mut taken.services);
        for (name, totals, instances) in services {
            let mut ring = before.remove(&name).unwrap_or_default();
            if let Some(passed) = passed.filter(|passed| *passed > 0.0) {
                if ring.samples.len() >= SAMPLES {
                    ring.samples.pop_front();
                }
                ring.samples.push_back(sample(at, passed, &ring.totals, &totals, instances));
            }
            ring.totals = totals;
            taken.services.insert(name, ring);
        }
    }

    /// The samples of each service, the oldest first.
    pub(super) fn all(&self) -> BTreeMap<String, Vec<Sample>> {
        let taken = self.locked();
        taken.services.iter().map(|(name, ring)| (name.to_string(), ring.samples.iter().copied().collect())).collect()
    }

    /// The newest sample of a service.
    pub(super) fn latest(&self, service: &str) -> Option<Sample> {
        self.locked().services.get(service)?.samples.back().copied()
    }

    fn locked(&self) -> MutexGuard<'_, Taken> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of five seconds are far below 2^52")]
fn sample(at: u64, passed: f64, before: &Totals, now: &Totals, instances: usize) -> Sample {
    let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / passed;
    let latencies: LatencyCounts = now.latencies.since(&before.latencies);
    Sample {
        at,
        requests: rate(before.requests, now.requests),
        errors: rate(before.errors, now.errors),
        p50_us: latencies.quantile_us(0.5),
        p99_us: latencies.quantile_us(0.99),
        instances,
    }
}

impl Admin {
    /// Takes a sample every five seconds. Never ends.
    pub async fn sample_forever(self: Arc<Self>) {
        loop {
            self.take_sample();
            tokio::time::sleep(SAMPLE_TIME).await;
        }
    }

    fn take_sample(&self) {
        let (serving, totals) = (self.deployer.current().load_full(), self.metrics.totals());
        let services = serving.stable().services().iter().map(|(name, served)| {
            (name.clone(), totals.get(name).copied().unwrap_or_default(), served.revision.slots().in_use())
        });
        let manifest = self.deployer.manifest();
        self.metrics.recent.retain(|service| manifest.services.contains_key(service));
        self.samples.take(self.platform.clock.unix_seconds(), Instant::now(), services.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(samples: &Samples, start: Instant, second: u64, requests: u64, errors: u64) {
        let totals = Totals { requests, errors, ..Totals::default() };
        samples.take(second, start + Duration::from_secs(second), vec![("orders".into(), totals, 2)]);
    }

    #[test]
    fn a_sample_holds_the_rates_since_the_one_before() {
        let (samples, start) = (Samples::default(), Instant::now());
        take(&samples, start, 0, 1000, 10);
        assert_eq!(samples.latest("orders"), None, "the requests before the first look have no known time");
        take(&samples, start, 5, 1100, 11);
        let sample = samples.latest("orders").unwrap();
        assert_eq!((sample.at, sample.instances, sample.p50_us), (5, 2, None));
        assert!((sample.requests - 20.0).abs() < 1e-9 && (sample.errors - 0.2).abs() < 1e-9, "{sample:?}");
    }

    #[test]
    fn samples_are_bounded_and_go_with_their_service() {
        let (samples, start) = (Samples::default(), Instant::now());
        (0..=2 * SAMPLES as u64).for_each(|number| take(&samples, start, number, number, 0));
        let all = samples.all();
        assert_eq!((all["orders"].len(), all["orders"][0].at), (SAMPLES, SAMPLES as u64 + 1));
        samples.take(1000, start + Duration::from_secs(1000), Vec::new());
        assert!(samples.all().is_empty());
    }
}
