//! A new revision's probation: compared with the one before, and taken back when it does clearly worse.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::probe::{self, Unfit};
use super::record::{Action, Entry};
use super::report::DeployError;
use super::{Deployer, Served, judge};
use crate::revision::RouteTraffic;

/// How often the numbers are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long there may be no request before the probes are made again: no traffic is no success.
const QUIET: Duration = Duration::from_secs(1);

/// Probes that must fail one after the other to take a revision back.
const FAILED_PROBES: usize = 2;

/// What is watched.
pub(super) struct Probation {
    service: String,
    /// The line of the history that put it in charge.
    line: i64,
    new: Served,
    old: Served,
    /// What the new one had answered when it was put in charge, from an earlier time in charge.
    base: Vec<RouteTraffic>,
}

impl Probation {
    pub(super) fn new(service: &str, line: i64, new: Served, old: Served) -> Self {
        let base = new.revision.traffic().snapshot();
        Self { service: service.to_owned(), line, new, old, base }
    }

    /// What the new revision did on probation.
    fn traffic(&self) -> Vec<RouteTraffic> {
        let before = |now: &RouteTraffic| self.base.iter().find(|before| before.route == now.route);
        let all = self.new.revision.traffic().snapshot().into_iter();
        all.map(|now| before(&now).map_or_else(|| now.clone(), |before| now.since(before))).collect()
    }
}

/// Watches until the time is over, or the revision is taken back or replaced.
pub(super) async fn run(deployer: Arc<Deployer>, probation: Probation) {
    let rules = deployer.manifest.deploy.clone();
    // What the old revision did lately is what it did in all; requests that it still answers now count as well.
    let end = Instant::now() + rules.watch;
    let (mut answered, mut quiet_since, mut failed_probes) = (0, Instant::now(), 0);
    while Instant::now() < end {
        tokio::time::sleep(LOOK).await;
        if !deployer.is_on_probation(&probation.service, probation.line) {
            return;
        }
        let new = probation.traffic();
        if let Some(reason) = judge::worse(&probation.old.revision.traffic().snapshot(), &new) {
            return deployer.take_back(&probation, &reason).await;
        }
        let all = new.iter().map(|RouteTraffic { good, bad, .. }| good + bad).sum::<u64>();
        if all != answered {
            (answered, quiet_since) = (all, Instant::now());
        } else if quiet_since.elapsed() >= QUIET {
            match probe::all(&probation.new, rules.probe_time).await {
                Err(Unfit::Itself(reason)) => {
                    failed_probes += 1;
                    if failed_probes >= FAILED_PROBES {
                        return deployer.take_back(&probation, &reason).await;
                    }
                }
                Err(Unfit::Surroundings(_)) => {}
                Ok(_) => failed_probes = 0,
            }
            quiet_since = Instant::now();
        }
    }
    deployer.keep(&probation).await;
}

impl Deployer {
    /// The end of a watch that found nothing.
    async fn keep(&self, probation: &Probation) {
        if let Err(error) = self.record.end(probation.line, "kept", "") {
            tracing::error!(service = probation.service, %error, "the end of a watch was not recorded");
        }
        let (service, digest) = (&*probation.service, probation.new.revision.digest());
        tracing::info!(service, revision = &digest[..12], "the new revision is kept");
    }

    /// The end of a watch that found the new revision clearly worse.
    async fn take_back(&self, probation: &Probation, reason: &str) {
        let Probation { service, line, new, old, .. } = probation;
        let _busy = self.lanes[service].busy.lock().await;
        let digest = new.revision.digest();
        if !self.is_on_probation(service, *line) {
            return;
        }
        let entry = Entry {
            by: "host".to_owned(),
            ..self.entry(service, Action::Revert, Some(digest.to_owned()), old.revision.digest(), reason)
        };
        let reverted = async {
            let revert = self.record.begin(&entry).map_err(DeployError::from)?;
            self.switch(revert, service, old.clone(), Some((*line, reason))).await
        };
        let (from, to) = (&digest[..12], &old.revision.digest()[..12]);
        match reverted.await {
            Ok(()) => tracing::warn!(%service, from, to, reason, "a new revision did worse and was taken back"),
            Err(error) => {
                tracing::error!(%service, from, to, reason, %error, "a new revision does worse, but could not be taken back");
            }
        }
    }
}
