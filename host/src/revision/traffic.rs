//! Counts of a revision's requests for each route. The watch window of a deploy compares them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::route::Route;

/// Classes of the latency histogram. Their upper bounds grow by the square root of two, from 16 µs to about 100 s.
const CLASSES: usize = 46;
/// Upper bound of the first class, in microseconds.
const FIRST_CLASS_US: f64 = 16.0;

/// The result of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The guest answered with 2xx, 3xx or 4xx, except as below.
    Answered,
    /// The guest answered with 404, 405 or 410. That alone is not counted as a fault, because a client may ask for anything.
    NotFound,
    /// The response cache answered. Its latency is not counted, because the guest did not run.
    CacheHit,
    /// The guest trapped, ran out of time, or answered 5xx.
    Bad,
    /// A dependency failed (database, password queue, another service), or no instance slot became free. Not counted against the
    /// revision.
    NotCounted,
}

/// The counters of one route.
#[derive(Debug)]
struct Counts {
    good: AtomicU64,
    not_found: AtomicU64,
    bad: AtomicU64,
    latencies: [AtomicU64; CLASSES],
}

impl Default for Counts {
    fn default() -> Self {
        let (good, not_found, bad) = Default::default();
        Self { good, not_found, bad, latencies: std::array::from_fn(|_| AtomicU64::new(0)) }
    }
}

/// A snapshot of the counters of one route, since the revision was linked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTraffic {
    /// Method and pattern.
    pub route: String,
    /// Requests with a 2xx, 3xx or 4xx response, including those from the cache.
    pub good: u64,
    /// The `good` requests that were answered with 404, 405 or 410.
    pub not_found: u64,
    /// Requests whose guest trapped, timed out or answered 5xx.
    pub bad: u64,
    latencies: Vec<u64>,
}

impl RouteTraffic {
    /// The median latency of the timed requests in microseconds, rounded up by a factor of at most 1.42.
    ///
    /// None if no request was timed.
    pub fn median_us(&self) -> Option<f64> {
        let all = self.timed();
        let mut seen = 0;
        for (class, count) in self.latencies.iter().enumerate() {
            seen += count;
            if all > 0 && seen * 2 >= all {
                let exponent = i32::try_from(class).unwrap_or(i32::MAX);
                return Some(FIRST_CLASS_US * std::f64::consts::SQRT_2.powi(exponent));
            }
        }
        None
    }

    /// The `good` requests whose latency was measured: all but cache hits.
    pub fn timed(&self) -> u64 {
        self.latencies.iter().sum()
    }

    /// The requests since an earlier snapshot of the same revision.
    pub fn since(&self, before: &Self) -> Self {
        let latencies = self.latencies.iter().zip(&before.latencies).map(|(now, before)| now - before);
        Self {
            route: self.route.clone(),
            good: self.good - before.good,
            not_found: self.not_found - before.not_found,
            bad: self.bad - before.bad,
            latencies: latencies.collect(),
        }
    }

    #[cfg(test)]
    pub(crate) fn of(route: &str, good: u64, bad: u64, latency: Duration) -> Self {
        let counts = Counts::default();
        counts.latencies[class(latency)].store(good, Ordering::Relaxed);
        Self { route: route.to_owned(), good, not_found: 0, bad, latencies: read(&counts.latencies) }
    }
}

/// The request counters of one revision.
#[derive(Debug, Default)]
pub struct Traffic {
    routes: RwLock<HashMap<RouteKey, Arc<Counts>>>,
}

/// Method and pattern. A key by the address of the route would change with every deployment.
type RouteKey = (Option<hyper::Method>, Arc<str>);

impl Traffic {
    /// Counts one request.
    pub fn count(&self, route: &Route, outcome: Outcome, latency: Duration) {
        let counts = self.counts(route);
        let add = |count: &AtomicU64| count.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Outcome::Answered | Outcome::NotFound => {
                add(&counts.latencies[class(latency)]);
                if outcome == Outcome::NotFound {
                    add(&counts.not_found);
                }
                add(&counts.good);
            }
            Outcome::CacheHit => drop(add(&counts.good)),
            Outcome::Bad => drop(add(&counts.bad)),
            Outcome::NotCounted => {}
        }
    }

    /// The counters of all routes that had requests.
    pub fn snapshot(&self) -> Vec<RouteTraffic> {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let all = routes.iter().map(|((method, pattern), counts)| RouteTraffic {
            route: format!("{} {pattern}", method.as_ref().map_or("*", hyper::Method::as_str)),
            not_found: counts.not_found.load(Ordering::Relaxed),
            good: counts.good.load(Ordering::Relaxed),
            bad: counts.bad.load(Ordering::Relaxed),
            latencies: read(&counts.latencies),
        });
        all.collect()
    }

    fn counts(&self, route: &Route) -> Arc<Counts> {
        let key = (route.method.clone(), route.pattern.clone());
        if let Some(counts) = self.routes.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return counts.clone();
        }
        self.routes.write().unwrap_or_else(PoisonError::into_inner).entry(key).or_default().clone()
    }
}

fn class(latency: Duration) -> usize {
    let us = latency.as_secs_f64() * 1e6;
    let class = (us / FIRST_CLASS_US).max(1.0).log2() * 2.0;
    // `max` and the argument's range keep the value between 0 and about 150.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let class = class.ceil() as usize;
    class.min(CLASSES - 1)
}

fn read(latencies: &[AtomicU64; CLASSES]) -> Vec<u64> {
    latencies.iter().map(|count| count.load(Ordering::Relaxed)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_median_is_right_within_its_class() {
        for latency_us in [1_u64, 20, 700, 12_345, 3_000_000] {
            let traffic = RouteTraffic::of("GET /", 9, 0, Duration::from_micros(latency_us));
            let median = traffic.median_us().unwrap();
            let expected = (latency_us as f64).max(FIRST_CLASS_US);
            assert!(median >= expected * 0.999 && median <= expected * 1.42, "{latency_us} gave {median}");
        }
    }

    #[test]
    fn dependency_failures_are_not_counted_and_cache_hits_are_not_timed() {
        let traffic = Traffic::default();
        let route = Route {
            service: "orders".into(),
            method: None,
            pattern: "/orders".into(),
            strip: None,
            access: crate::route::Access::User,
            headers: None,
            passes_credentials: false,
        };
        traffic.count(&route, Outcome::Answered, Duration::from_millis(1));
        traffic.count(&route, Outcome::NotFound, Duration::from_millis(1));
        traffic.count(&route, Outcome::Bad, Duration::from_millis(1));
        traffic.count(&route, Outcome::NotCounted, Duration::from_millis(1));
        traffic.count(&route, Outcome::CacheHit, Duration::from_millis(1));
        let [only] = &traffic.snapshot()[..] else { panic!("one route") };
        assert_eq!((only.route.as_str(), only.good, only.not_found, only.bad, only.timed()), ("* /orders", 3, 1, 1, 2));
    }
}
