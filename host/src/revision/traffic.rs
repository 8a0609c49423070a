//! How a revision does, route by route: what a deploy is judged by.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::route::Route;

/// Latencies are counted in classes whose bounds grow by the square root of two, from 16 µs to about 100 s.
const CLASSES: usize = 46;
const FIRST_CLASS_US: f64 = 16.0;

/// What became of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered with 2xx, 3xx or 4xx.
    Answered,
    /// It was answered with 404, 405 or 410: the component has nothing there. That is no fault of the service's by itself.
    NotFound,
    /// It was answered with 2xx or 3xx out of the memory of answers: how long that took says nothing about the revision.
    Remembered,
    /// The guest trapped, ran out of time, or answered 5xx.
    Bad,
    /// Its database or another service failed it: this says nothing about the revision.
    NotItsFault,
}

/// The requests of one route.
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

/// The requests of one route, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteTraffic {
    /// Method and pattern.
    pub route: String,
    /// Requests that were answered well.
    pub good: u64,
    /// Those of them that were answered with 404, 405 or 410.
    pub not_found: u64,
    /// Requests that went wrong.
    pub bad: u64,
    latencies: Vec<u64>,
}

impl RouteTraffic {
    /// The latency that half of the good answers stayed under, in microseconds, within a factor of 1.41.
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

    /// The good answers whose latency is known.
    pub fn timed(&self) -> u64 {
        self.latencies.iter().sum()
    }

    /// What came after an earlier moment of the same revision.
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

/// The requests of one revision.
#[derive(Debug, Default)]
pub struct Traffic {
    routes: RwLock<HashMap<RouteKey, Arc<Counts>>>,
}

/// A route by the address of its pattern would differ between deployments, so by its text.
type RouteKey = (Option<hyper::Method>, Arc<str>);

impl Traffic {
    /// Counts a request.
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
            Outcome::Remembered => drop(add(&counts.good)),
            Outcome::Bad => drop(add(&counts.bad)),
            Outcome::NotItsFault => {}
        }
    }

    /// All routes that had requests.
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
    // Not negative and far below the bound of a usize: `max` and `min` see to it.
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
    fn what_is_not_the_services_fault_is_not_counted_and_what_was_remembered_is_not_timed() {
        let traffic = Traffic::default();
        let route = Route {
            service: "orders".into(),
            method: None,
            pattern: "/orders".into(),
            access: crate::route::Access::User,
            headers: None,
        };
        traffic.count(&route, Outcome::Answered, Duration::from_millis(1));
        traffic.count(&route, Outcome::NotFound, Duration::from_millis(1));
        traffic.count(&route, Outcome::Bad, Duration::from_millis(1));
        traffic.count(&route, Outcome::NotItsFault, Duration::from_millis(1));
        traffic.count(&route, Outcome::Remembered, Duration::from_millis(1));
        let [only] = &traffic.snapshot()[..] else { panic!("one route") };
        assert_eq!((only.route.as_str(), only.good, only.not_found, only.bad, only.timed()), ("* /orders", 3, 1, 1, 2));
    }
}
