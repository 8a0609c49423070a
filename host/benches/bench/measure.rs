//! Measuring one load on one server, and medians.

use std::time::Duration;

use anyhow::ensure;

use crate::load::{Load, Outcome, run};
use crate::server::Server;

/// How long and how often to measure.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// The duration of each measurement.
    pub time: Duration,
    /// How often each row is measured.
    pub rounds: usize,
    /// Use fewer connections and fewer services.
    pub quick: bool,
}

/// The result of measuring one row once.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// 2xx answers per second.
    pub rate: f64,
    /// Median latency in microseconds.
    pub p50: f64,
    /// 99th percentile of the latency in microseconds.
    pub p99: f64,
    /// Microseconds of processor time per request. None if the bench did not start the server.
    pub cpu: Option<f64>,
}

/// Measures a load on a server. Fails if an answer is not 2xx.
pub fn sample(load: Load, process: Option<&Server>, time: Duration) -> anyhow::Result<Sample> {
    let before = process.map(Server::cpu);
    let outcome = run(load, time)?;
    must_be_good(&outcome)?;
    let spent = process.zip(before).map(|(process, before)| process.cpu().saturating_sub(before));
    let cpu = spent.map(|spent| spent.as_secs_f64() * 1e6 / outcome.answers() as f64);
    Ok(Sample { rate: outcome.rate(), p50: outcome.within(500), p99: outcome.within(990), cpu })
}

/// Fails unless there are answers and all are 2xx.
pub fn must_be_good(outcome: &Outcome) -> anyhow::Result<()> {
    let Outcome { refused, failed, resets, lost, first_failure, .. } = outcome;
    ensure!(
        refused + failed + resets + lost == 0,
        "{refused} requests were refused, {failed} failed (the first: {first_failure:?}), {resets} connections broke, \
         {lost} requests were not answered"
    );
    ensure!(!outcome.latencies.is_empty(), "no request was answered");
    Ok(())
}

/// The median. Of an even number of values, the upper of the two in the middle.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints a line: what was measured, the number, and its target.
pub fn line(what: &str, number: &str, target: &str) {
    println!("{what:<58} {number:>16}   {target}");
}
