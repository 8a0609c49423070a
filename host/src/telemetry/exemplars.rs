//! Adds exemplars to the latencies of `/metrics`: the traces of requests that took so long.
//!
//! prometheus-client makes exemplars only in a histogram of its own, which takes two locks for each request. The host's histogram takes
//! none. So this adds them to the text.

use std::collections::HashMap;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::Labels;
use super::latency::{BucketExemplars, DURATION};

/// Adds the exemplars of these series to a page.
pub(super) fn add(page: String, exemplars: &[(Labels, BucketExemplars)]) -> String {
    if exemplars.is_empty() {
        return page;
    }
    let exemplars: HashMap<String, &BucketExemplars> =
        exemplars.iter().filter_map(|(labels, exemplars)| Some((text(labels)?, exemplars))).collect();
    let (mut with, mut buckets) = (String::with_capacity(page.len()), HashMap::<&str, usize>::new());
    for line in page.lines() {
        with.push_str(line);
        if let Some(labels) = labels(line) {
            // The buckets of a series follow each other, the smallest first.
            let bucket = buckets.entry(labels).or_default();
            if let Some(exemplar) = exemplars.get(labels).and_then(|exemplars| exemplars.get(*bucket)?.as_deref()) {
                with.push_str(&format!(" {exemplar}"));
            }
            *bucket += 1;
        }
        with.push('\n');
    }
    with
}

/// The labels in the line of a bucket, except its bound.
fn labels(line: &str) -> Option<&str> {
    let bucket = line.strip_prefix(DURATION)?.strip_prefix("_bucket{le=\"")?;
    let (_, labels) = bucket.split_once("\",")?;
    Some(labels.rsplit_once("} ")?.0)
}

/// The labels as the page has them.
fn text(labels: &Labels) -> Option<String> {
    let (mut registry, mut page) = (Registry::default(), String::new());
    let family = Family::<Labels, Gauge>::default();
    family.get_or_create(labels).set(0);
    registry.register("x", "x", family);
    prometheus_client::encoding::text::encode(&mut page, &registry).ok()?;
    let line = page.lines().find_map(|line| line.strip_prefix("x{"))?;
    Some(line.rsplit_once("} ")?.0.to_owned())
}
