//! A new revision, the one that it is compared with, and what both answered since the comparison began.

use std::time::Duration;

use serde::Serialize;

use super::{Served, judge};
use crate::revision::RouteTraffic;

/// A new revision, and the one that it is compared with and may be reverted to.
#[derive(Clone)]
pub(super) struct Comparison {
    /// The id of the history line that activated the new revision, or began its canary.
    pub(super) line: i64,
    pub(super) new: Served,
    pub(super) old: Served,
    /// The traffic before the watch, from an earlier time as the active revision. It is subtracted.
    new_before: Vec<RouteTraffic>,
    old_before: Vec<RouteTraffic>,
}

/// The requests of both revisions on one route, as the watch compares them.
#[derive(Debug, Clone, Serialize)]
pub struct ComparedRoute {
    /// Method and pattern.
    pub route: String,
    /// The revision before. None if it had no request on this route.
    pub old: Option<Answers>,
    /// The new revision.
    pub new: Answers,
    /// Whether both revisions have had enough requests to compare their latency.
    pub compares_latency: bool,
    /// Why the new revision is clearly worse on this route. None if it is not, so far.
    pub worse: Option<String>,
}

/// How one revision answered the requests of a route.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Answers {
    /// All requests that count.
    pub requests: u64,
    /// Those whose guest failed or answered 5xx.
    pub bad: u64,
    /// Those that were answered with 404, 405 or 410.
    pub not_found: u64,
    /// Those whose latency was measured.
    pub timed: u64,
    /// Their median latency in microseconds.
    pub median_us: Option<f64>,
}

impl From<&RouteTraffic> for Answers {
    fn from(traffic: &RouteTraffic) -> Self {
        let RouteTraffic { good, bad, not_found, .. } = *traffic;
        Self { requests: good + bad, bad, not_found, timed: traffic.timed(), median_us: traffic.median_us() }
    }
}

impl Comparison {
    /// A comparison that begins now. `old_before` is the traffic of the old revision that does not count.
    pub(super) fn new(line: i64, new: Served, old: Served, old_before: Vec<RouteTraffic>) -> Self {
        Self { new_before: new.revision.traffic().snapshot(), old_before, line, new, old }
    }

    pub(super) fn service(&self) -> &str {
        self.new.revision.service()
    }

    /// Why the new revision is clearly worse. None if it is not.
    pub(super) fn worse(&self, lag: Duration, is_settled: bool) -> Option<String> {
        let (old, new) = self.traffic();
        judge::worse(&old, &new, lag).or_else(|| judge::finds_nothing(&old, &new).filter(|_| is_settled))
    }

    /// How many requests the new revision answered.
    pub(super) fn answered(&self) -> u64 {
        let traffic = self.new.revision.traffic().snapshot();
        traffic.iter().map(|RouteTraffic { good, bad, .. }| good + bad).sum()
    }

    /// What is compared, for each route on which the new revision answered.
    pub(super) fn routes(&self, lag: Duration) -> Vec<ComparedRoute> {
        let (old, new) = self.traffic();
        let mut routes: Vec<ComparedRoute> = new.iter().map(|new| compare(&old, new, lag)).collect();
        routes.sort_by(|one, other| one.route.cmp(&other.route));
        routes
    }

    fn traffic(&self) -> (Vec<RouteTraffic>, Vec<RouteTraffic>) {
        let old = since(&self.old_before, self.old.revision.traffic().snapshot());
        (old, since(&self.new_before, self.new.revision.traffic().snapshot()))
    }
}

fn compare(old: &[RouteTraffic], new: &RouteTraffic, lag: Duration) -> ComparedRoute {
    let before = old.iter().find(|old| old.route == new.route);
    let alone = std::slice::from_ref(new);
    ComparedRoute {
        route: new.route.clone(),
        old: before.map(Answers::from),
        new: new.into(),
        compares_latency: before.is_some_and(|old| judge::compares_latency(old, new)),
        worse: judge::worse(old, alone, lag).or_else(|| judge::finds_nothing(old, alone)),
    }
}

/// The traffic since an earlier snapshot.
fn since(before: &[RouteTraffic], now: Vec<RouteTraffic>) -> Vec<RouteTraffic> {
    let find = |now: &RouteTraffic| before.iter().find(|before| before.route == now.route);
    now.into_iter().map(|now| find(&now).map_or_else(|| now.clone(), |before| now.since(before))).collect()
}
