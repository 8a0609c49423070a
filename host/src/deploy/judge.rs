//! Whether a new revision does clearly worse than the one before. Pure: numbers in, a verdict out.
//!
//! Each route is judged by itself, so that a fault of one rare method is not hidden by many good answers of another. The share
//! of bad answers is compared by the bounds of Wilson's score interval (Wilson 1927; Brown, Cai and DasGupta 2001): the new
//! revision is worse when even its lower bound lies above the upper bound of the old one. Two guards keep chance out: a
//! least number of bad answers, and for latency a least number of answers and a least difference.

use std::time::Duration;

use crate::revision::RouteTraffic;

/// Standard deviations of the interval: 99 % of a normal distribution, on both sides.
const Z: f64 = 2.576;

/// Bad answers below which nothing is said.
const LEAST_BAD: u64 = 3;

/// Answers of either revision below which nothing is said about latency.
const LEAST_TIMED: u64 = 50;

/// Answers of 404 below which nothing is said of a route that answers nothing else.
const LEAST_NOT_FOUND: u64 = 20;

/// How many times slower the median must be, and by how many microseconds.
const SLOWER: f64 = 4.0;
const SLOWER_US: f64 = 5_000.0;

/// How many turns of a busy host one answer may have waited for.
const LATE_TURNS: f64 = 4.0;

/// A share of bad answers that a revision without any history is taken to have.
const UNKNOWN_SHARE: f64 = 0.02;

/// Why the new revision is clearly worse, or none. `lag` is by how much a timer of the host came late in the meantime: a host
/// that is busier than before makes every answer later, and that is not the revision's doing.
pub(super) fn worse(old: &[RouteTraffic], new: &[RouteTraffic], lag: Duration) -> Option<String> {
    new.iter().find_map(|new| {
        let old = old.iter().find(|old| old.route == new.route);
        fails_more(old, new).or_else(|| is_slower(old?, new, lag))
    })
}

/// Why the new revision has a route that answers 404 to everything, or none. That is no failure by itself, and no revision either.
///
/// Only paths without parameters count: on any other, a client can ask for what does not exist, and could make the host revert.
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
                "{} found nothing in all of {all} requests, the one before something in {found} of {before}",
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
        before.map_or_else(String::new, |old| format!(", the one before {} of {}", old.bad, old.good + old.bad));
    Some(format!("{} failed {} of {all} requests{before}", new.route, new.bad))
}

fn is_slower(old: &RouteTraffic, new: &RouteTraffic, lag: Duration) -> Option<String> {
    if old.timed() < LEAST_TIMED || new.timed() < LEAST_TIMED {
        return None;
    }
    let (before, after) = (old.median_us()?, new.median_us()?);
    // An answer waits for its turn about as often as it begins, is interrupted or comes back from its database.
    let own = after - LATE_TURNS * lag.as_secs_f64() * 1e6;
    (own >= before * SLOWER && own - before >= SLOWER_US).then(|| {
        format!("{} takes {:.1} ms where the one before took {:.1} ms (medians)", new.route, after / 1e3, before / 1e3)
    })
}

/// The interval in which the true share lies, given `bad` of `all`.
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
    fn a_revision_that_fails_a_third_is_worse_within_twenty_requests() {
        let old = [of("GET /orders", 1000, 0, 2)];
        assert_eq!(
            worse(&old, &[of("GET /orders", 14, 6, 2)], NO_LAG).unwrap_or_default(),
            "GET /orders failed 6 of 20 requests, the one before 0 of 1000"
        );
    }

    #[test]
    fn a_fault_of_one_method_is_not_hidden_by_the_others() {
        let old = [of("GET /orders", 1000, 0, 2), of("POST /orders", 50, 0, 2)];
        assert!(worse(&old, &[of("GET /orders", 1000, 0, 2), of("POST /orders", 0, 5, 2)], NO_LAG).is_some());
    }

    #[test]
    fn a_few_failures_or_failures_as_before_are_not_worse() {
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
    fn a_path_that_had_something_and_is_not_found_any_more_is_worse() {
        let at = |route: &str, good: u64, not_found: u64| {
            let mut traffic = of(route, good, 0, 2);
            traffic.not_found = not_found;
            [traffic]
        };
        let of = |good, not_found| at("GET /orders", good, not_found);
        assert_eq!(
            finds_nothing(&of(1000, 0), &of(20, 20)).unwrap_or_default(),
            "GET /orders found nothing in all of 20 requests, the one before something in 1000 of 1000"
        );
        assert_eq!(finds_nothing(&of(1000, 0), &of(19, 19)), None, "too few to say");
        assert_eq!(finds_nothing(&of(1000, 0), &of(1000, 999)), None, "one had another answer");
        assert_eq!(finds_nothing(&of(1000, 1000), &of(1000, 1000)), None, "it never had anything");
        assert_eq!(finds_nothing(&[], &of(1000, 1000)), None, "nobody used it before");
        assert_eq!(finds_nothing(&of(1000, 950), &of(40, 40)), None, "something may still come");
        assert!(finds_nothing(&of(1000, 950), &of(400, 400)).is_some());
    }

    #[test]
    fn clients_who_ask_for_what_does_not_exist_make_no_revision_worse() {
        let at = |good: u64, not_found: u64| {
            let mut traffic = of("GET /products/{id}", good, 0, 2);
            traffic.not_found = not_found;
            [traffic]
        };
        assert_eq!(finds_nothing(&at(1000, 100), &at(1000, 1000)), None);
    }

    #[test]
    fn a_host_that_became_busy_is_not_the_revisions_fault() {
        let old = [of("GET /orders", 100, 0, 2)];
        let later = [of("GET /orders", 60, 0, 20)];
        assert!(worse(&old, &later, Duration::from_millis(1)).is_some());
        assert_eq!(worse(&old, &later, Duration::from_millis(5)), None);
    }

    #[test]
    fn a_route_that_nobody_used_before_is_judged_on_its_own() {
        assert!(worse(&[], &[of("GET /new", 1, 9, 2)], NO_LAG).is_some());
        assert_eq!(worse(&[], &[of("GET /new", 100, 1, 2)], NO_LAG), None);
    }
}
