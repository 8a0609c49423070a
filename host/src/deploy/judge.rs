//! The verdict: whether a new revision is clearly worse than the previous one. A pure function of traffic counts.
//!
//! Each route is judged separately, so that many good answers of one method do not hide the failures of a rare one. The shares of
//! failed requests are compared with Wilson's score interval (Wilson 1927; Brown, Cai and DasGupta 2001). The new revision is
//! worse if its lower bound is above the old revision's upper bound. Minimum counts keep chance out: of failed requests, and for
//! latency of requests. For latency there is also a minimum difference.

use std::time::Duration;

use crate::revision::RouteTraffic;

/// Half width of the interval in standard deviations: covers 99 % of a normal distribution.
const Z: f64 = 2.576;

/// With fewer failed requests there is no verdict on failures.
const LEAST_BAD: u64 = 3;

/// With fewer timed requests of either revision there is no verdict on latency.
const LEAST_TIMED: u64 = 50;

/// With fewer 404 answers there is no verdict on a route that answers only 404.
const LEAST_NOT_FOUND: u64 = 20;

/// How many times slower the new median must be to count as worse.
const SLOWER: f64 = 4.0;

/// By how many microseconds the new median must be slower to count as worse.
const SLOWER_US: f64 = 5_000.0;

/// How often one request may have waited for a free thread of a busy host.
const LATE_TURNS: f64 = 4.0;

/// The share of failed requests that is assumed for a previous revision without traffic.
const UNKNOWN_SHARE: f64 = 0.02;

/// Why the new revision fails more often or is slower. None if it is not clearly worse.
///
/// `lag` is how late a timer of the host fired meanwhile. A busier host delays every answer, which does not count against the revision.
pub(super) fn worse(old: &[RouteTraffic], new: &[RouteTraffic], lag: Duration) -> Option<String> {
    new.iter().find_map(|new| {
        let old = old.iter().find(|old| old.route == new.route);
        fails_more(old, new).or_else(|| is_slower(old?, new, lag))
    })
}

/// Which route of the new revision answers 404 to everything, although it found something before. None if there is no such route.
///
/// Only paths without parameters count. On other paths clients can ask for things that do not exist, and could so force a revert.
pub(super) fn finds_nothing(old: &[RouteTraffic], new: &[RouteTraffic]) -> Option<String> {
    let finds_nothing = |new: &&RouteTraffic| new.not_found >= LEAST_NOT_FOUND && new.not_found == new.good;
    new.iter().filter(|new| !new.route.contains('{')).filter(finds_nothing).find_map(|new| {
        let old = old.iter().find(|old| old.route == new.route)?;
        let (found, before) = (old.good.saturating_sub(old.not_found), old.good + old.bad);
        let (lower, _) = wilson(found, before);
        let all = new.good + new.bad;
        let (_, upper) = wilson(0, all);
        (found > 0 && upper < lower).then(|| {
            format!(
                "{} answered 404 to all of {all} requests, the previous revision found something in {found} of {before}",
                new.route
            )
        })
    })
}

fn fails_more(old: Option<&RouteTraffic>, new: &RouteTraffic) -> Option<String> {
    let all = new.good + new.bad;
    let before = old.filter(|old| old.good + old.bad > 0);
    let (_, upper) = before.map_or((0.0, UNKNOWN_SHARE), |old| wilson(old.bad, old.good + old.bad));
    let (lower, _) = wilson(new.bad, all);
    if new.bad < LEAST_BAD || lower <= upper {
        return None;
    }
    let before =
        before.map_or_else(String::new, |old| format!(", the previous revision {} of {}", old.bad, old.good + old.bad));
    Some(format!("{} failed {} of {all} requests{before}", new.route, new.bad))
}

/// Whether both revisions have had enough timed requests for a verdict on latency.
pub(super) fn compares_latency(old: &RouteTraffic, new: &RouteTraffic) -> bool {
    old.timed() >= LEAST_TIMED && new.timed() >= LEAST_TIMED
}

fn is_slower(old: &RouteTraffic, new: &RouteTraffic, lag: Duration) -> Option<String> {
    if !compares_latency(old, new) {
        return None;
    }
    let (before, after) = (old.median_us()?, new.median_us()?);
    // A request waits for a free thread each time it begins, is interrupted or returns from its database.
    let own = after - LATE_TURNS * lag.as_secs_f64() * 1e6;
    (own >= before * SLOWER && own - before >= SLOWER_US).then(|| {
        format!(
            "{} takes {:.1} ms, the previous revision took {:.1} ms (medians)",
            new.route,
            after / 1e3,
            before / 1e3
        )
    })
}

/// Wilson's score interval for the true share, given `bad` of `all`.
#[allow(clippy::cast_precision_loss, reason = "counts of requests in a watch are far below 2^52")]
fn wilson(bad: u64, all: u64) -> (f64, f64) {
    if all == 0 {
        return (0.0, 1.0);
    }
    let (n, share) = (all as f64, bad as f64 / all as f64);
    let centre = share + Z * Z / (2.0 * n);
    let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((centre - spread) / scale).max(0.0), ((centre + spread) / scale).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_LAG: Duration = Duration::ZERO;

    fn of(route: &str, good: u64, bad: u64, latency_ms: u64) -> RouteTraffic {
        RouteTraffic::of(route, good, bad, Duration::from_millis(latency_ms))
    }

    #[test]
    fn failing_a_third_is_worse_within_twenty_requests() {
        let old = [of("GET /orders", 1000, 0, 2)];
        assert_eq!(
            worse(&old, &[of("GET /orders", 14, 6, 2)], NO_LAG).unwrap_or_default(),
            "GET /orders failed 6 of 20 requests, the previous revision 0 of 1000"
        );
    }

    #[test]
    fn other_methods_do_not_hide_the_failures_of_one() {
        let old = [of("GET /orders", 1000, 0, 2), of("POST /orders", 50, 0, 2)];
        assert!(worse(&old, &[of("GET /orders", 1000, 0, 2), of("POST /orders", 0, 5, 2)], NO_LAG).is_some());
    }

    #[test]
    fn a_few_failures_or_as_many_as_before_are_not_worse() {
        let calm = [of("GET /orders", 1000, 0, 2)];
        assert_eq!(worse(&calm, &[of("GET /orders", 0, 2, 2)], NO_LAG), None);
        assert_eq!(worse(&calm, &[of("GET /orders", 1000, 3, 2)], NO_LAG), None);
        let failing = [of("GET /orders", 50, 50, 2)];
        assert_eq!(worse(&failing, &[of("GET /orders", 40, 60, 2)], NO_LAG), None);
    }

    #[test]
    fn five_times_slower_is_worse_and_twice_is_not() {
        let old = [of("GET /orders", 100, 0, 2)];
        assert!(worse(&old, &[of("GET /orders", 60, 0, 10)], NO_LAG).is_some());
        assert_eq!(worse(&old, &[of("GET /orders", 60, 0, 4)], NO_LAG), None);
        assert_eq!(worse(&old, &[of("GET /orders", 40, 0, 10)], NO_LAG), None);
    }

    #[test]
    fn a_path_that_only_answers_404_now_is_worse() {
        let at = |route: &str, good: u64, not_found: u64| {
            let mut traffic = of(route, good, 0, 2);
            traffic.not_found = not_found;
            [traffic]
        };
        let of = |good, not_found| at("GET /orders", good, not_found);
        assert_eq!(
            finds_nothing(&of(1000, 0), &of(20, 20)).unwrap_or_default(),
            "GET /orders answered 404 to all of 20 requests, the previous revision found something in 1000 of 1000"
        );
        assert_eq!(finds_nothing(&of(1000, 0), &of(19, 19)), None, "too few requests");
        assert_eq!(finds_nothing(&of(1000, 0), &of(1000, 999)), None, "one request had another answer");
        assert_eq!(finds_nothing(&of(1000, 1000), &of(1000, 1000)), None, "the old revision found nothing either");
        assert_eq!(finds_nothing(&[], &of(1000, 1000)), None, "the route had no traffic before");
        assert_eq!(finds_nothing(&of(1000, 950), &of(40, 40)), None, "the route rarely finds something");
        assert!(finds_nothing(&of(1000, 950), &of(400, 400)).is_some());
    }

    #[test]
    fn a_404_on_a_path_with_parameters_does_not_count() {
        let at = |good: u64, not_found: u64| {
            let mut traffic = of("GET /products/{id}", good, 0, 2);
            traffic.not_found = not_found;
            [traffic]
        };
        assert_eq!(finds_nothing(&at(1000, 100), &at(1000, 1000)), None);
    }

    #[test]
    fn latency_of_a_busy_host_does_not_count() {
        let old = [of("GET /orders", 100, 0, 2)];
        let later = [of("GET /orders", 60, 0, 20)];
        assert!(worse(&old, &later, Duration::from_millis(1)).is_some());
        assert_eq!(worse(&old, &later, Duration::from_millis(5)), None);
    }

    #[test]
    fn a_route_without_earlier_traffic_is_judged_alone() {
        assert!(worse(&[], &[of("GET /new", 1, 9, 2)], NO_LAG).is_some());
        assert_eq!(worse(&[], &[of("GET /new", 100, 1, 2)], NO_LAG), None);
    }
}
