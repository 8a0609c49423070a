//! A latency histogram whose counts the host reads again, for quantiles.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use prometheus_client::encoding::{MetricEncoder, NoLabelSet};

/// Upper bounds of the histogram, in seconds: from 50 µs to 10 s.
const BUCKETS: [f64; 14] =
    [0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];

/// The name of the histogram of requests.
pub(super) const DURATION: &str = "comptoir_request_duration_seconds";

/// One bucket more: for latencies over all bounds.
const COUNTS: usize = BUCKETS.len() + 1;

/// How often each latency was measured. Counting takes no lock.
#[derive(Debug, Default)]
pub(super) struct Latency {
    counts: [AtomicU64; COUNTS],
    sum_ns: AtomicU64,
    /// The latest sampled request of each bucket.
    exemplars: Mutex<BTreeMap<usize, Exemplar>>,
}

/// A request whose trace shows why it took so long.
#[derive(Debug, Clone)]
struct Exemplar {
    trace_id: String,
    seconds: f64,
    /// In seconds since 1970-01-01 UTC.
    at: f64,
}

/// The exemplar of each bucket, in OpenMetrics' text.
pub(super) type BucketExemplars = [Option<String>; COUNTS];

/// The counts of a histogram at one moment, for each bucket alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LatencyCounts([u64; COUNTS]);

impl Latency {
    pub(super) fn count(&self, duration: Duration) {
        self.counts[bucket(duration)].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Remembers a sampled request that was counted.
    pub(super) fn add_exemplar(&self, duration: Duration, trace_id: String) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let exemplar = Exemplar { trace_id, seconds: duration.as_secs_f64(), at: now.as_secs_f64() };
        self.exemplars.lock().unwrap_or_else(PoisonError::into_inner).insert(bucket(duration), exemplar);
    }

    /// The exemplars in OpenMetrics' text, for each bucket alone. None if no request was sampled.
    pub(super) fn exemplars(&self) -> Option<BucketExemplars> {
        let exemplars = self.exemplars.lock().unwrap_or_else(PoisonError::into_inner);
        let text =
            |Exemplar { trace_id, seconds, at }: &Exemplar| format!("# {{trace_id=\"{trace_id}\"}} {seconds} {at:.3}");
        (!exemplars.is_empty()).then(|| std::array::from_fn(|bucket| exemplars.get(&bucket).map(text)))
    }

    pub(super) fn read(&self) -> LatencyCounts {
        LatencyCounts(self.counts.each_ref().map(|count| count.load(Ordering::Relaxed)))
    }

    pub(super) fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), std::fmt::Error> {
        let LatencyCounts(counts) = self.read();
        let bounds = BUCKETS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let sum = Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed)).as_secs_f64();
        encoder.encode_histogram::<NoLabelSet>(sum, counts.iter().sum(), &buckets, None)
    }
}

fn bucket(duration: Duration) -> usize {
    let seconds = duration.as_secs_f64();
    BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len())
}

impl LatencyCounts {
    /// Adds the counts of another histogram.
    pub fn add(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, other)| *count += other);
    }

    /// The counts since an earlier moment.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self(std::array::from_fn(|bucket| self.0[bucket].saturating_sub(before.0[bucket])))
    }

    /// The latency in microseconds that this share of the requests did not exceed. Within a bucket the latencies count as evenly spread, as
    /// in Prometheus. None if there was no request.
    #[allow(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    pub fn quantile_us(&self, share: f64) -> Option<f64> {
        let all: u64 = self.0.iter().sum();
        let wanted = share * all as f64;
        let mut seen = 0.0;
        for (bucket, count) in self.0.iter().map(|count| *count as f64).enumerate().filter(|(_, count)| *count > 0.0) {
            if seen + count >= wanted {
                let lower = bucket.checked_sub(1).map_or(0.0, |below| BUCKETS[below]);
                let upper = BUCKETS.get(bucket).copied().unwrap_or(lower);
                return Some((lower + (upper - lower) * ((wanted - seen) / count)) * 1e6);
            }
            seen += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_lies_in_the_bucket_of_its_latency() {
        assert_eq!(LatencyCounts::default().quantile_us(0.5), None);
        let latency = Latency::default();
        (0..99).for_each(|_| latency.count(Duration::from_micros(700)));
        latency.count(Duration::from_secs(60));
        let counts = latency.read();
        let (median, last) = (counts.quantile_us(0.5).unwrap(), counts.quantile_us(1.0).unwrap());
        assert!((500.0..=1000.0).contains(&median), "{median}");
        assert!((last - 10e6).abs() < 1.0, "a latency over all bounds counts as the largest: {last}");
        assert!(counts.quantile_us(0.99).unwrap() < 1001.0);
    }

    #[test]
    fn only_what_came_later_counts() {
        let latency = Latency::default();
        latency.count(Duration::from_secs(1));
        let before = latency.read();
        assert_eq!(latency.read().since(&before).quantile_us(0.5), None);
        latency.count(Duration::from_micros(10));
        assert!(latency.read().since(&before).quantile_us(0.99).unwrap() <= 50.0);
    }
}
