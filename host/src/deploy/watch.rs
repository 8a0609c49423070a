//! The watch of new revisions: compared with those before, and taken back when they do clearly worse.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::probe::{self, ProbeFailure};
use super::record::{Action, Outcome};
use super::report::DeployError;
use super::switch::Plan;
use super::{Deployer, Served, judge};
use crate::revision::RouteTraffic;

/// How often the numbers are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// How long there may be no request before the probes are made again: no traffic is no success.
const QUIET: Duration = Duration::from_secs(1);

/// How long a revert that failed waits before it is tried again: at first, and at most. Each wait is twice the one before.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(60);

/// Probes that must fail one after the other to take a revision back.
const FAILED_PROBES: usize = 2;

/// How long callers have for a first success, unless the watch is shorter. Clients can cause refusals: without this, some in the
/// first moments of a good revision would take it back.
const SETTLE: Duration = Duration::from_secs(5);

/// New revisions that are watched together, and taken back together.
pub(super) struct Watch {
    comparisons: Vec<Comparison>,
    phase: Phase,
    /// From then on a route without any success counts.
    settled: Instant,
}

/// A revision that may be taken back for another.
struct Comparison {
    /// The line of the history that put it in charge, or began its trial.
    line: i64,
    new: Served,
    old: Served,
    /// What they had answered before, in an earlier time in charge.
    new_before: Vec<RouteTraffic>,
    old_before: Vec<RouteTraffic>,
}

/// Who reaches the new revisions.
#[derive(Clone, Copy)]
enum Phase {
    /// Everybody. They are kept when nothing was found until then.
    Active(Instant),
    /// A share of the callers, for as long as the operator wants.
    Canary,
}

impl Comparison {
    fn service(&self) -> &str {
        self.new.revision.service()
    }

    /// Why the new revision is clearly worse, or none.
    fn worse(&self, lag: Duration, is_settled: bool) -> Option<String> {
        let old = since(&self.old_before, self.old.revision.traffic().snapshot());
        let new = since(&self.new_before, self.new.revision.traffic().snapshot());
        judge::worse(&old, &new, lag).or_else(|| judge::finds_nothing(&old, &new).filter(|_| is_settled))
    }

    /// Requests that the new revision answered.
    fn answered(&self) -> u64 {
        let traffic = self.new.revision.traffic().snapshot();
        traffic.iter().map(|RouteTraffic { good, bad, .. }| good + bad).sum()
    }
}

/// What was answered since an earlier moment.
fn since(before: &[RouteTraffic], now: Vec<RouteTraffic>) -> Vec<RouteTraffic> {
    let find = |now: &RouteTraffic| before.iter().find(|before| before.route == now.route);
    now.into_iter().map(|now| find(&now).map_or_else(|| now.clone(), |before| now.since(before))).collect()
}

impl Watch {
    /// Of revisions that are in charge: each with its line and the revision before it, whose whole life is compared with,
    /// because it answers nothing any more.
    pub(super) fn active(comparisons: Vec<(i64, Served, Served)>, time: Duration) -> Self {
        Self::new(comparisons, Phase::Active(Instant::now() + time), |_| Vec::new())
    }

    /// Of candidates: each is compared with what the revision in charge answers at the same time.
    pub(super) fn canary(comparisons: Vec<(i64, Served, Served)>) -> Self {
        Self::new(comparisons, Phase::Canary, |old| old.revision.traffic().snapshot())
    }

    fn new(
        comparisons: Vec<(i64, Served, Served)>,
        phase: Phase,
        old_before: fn(&Served) -> Vec<RouteTraffic>,
    ) -> Self {
        let comparisons = comparisons.into_iter().map(|(line, new, old)| Comparison {
            new_before: new.revision.traffic().snapshot(),
            old_before: old_before(&old),
            line,
            new,
            old,
        });
        let mut settled = Instant::now() + SETTLE;
        if let Phase::Active(end) = phase {
            settled = settled.min(end);
        }
        Self { comparisons: comparisons.collect(), phase, settled }
    }

    /// Why one of the new revisions is clearly worse, or none.
    fn worse(&self, lag: Duration) -> Option<String> {
        let is_settled = Instant::now() >= self.settled;
        self.comparisons.iter().find_map(|comparison| comparison.worse(lag, is_settled))
    }

    fn lines(&self) -> Vec<i64> {
        self.comparisons.iter().map(|comparison| comparison.line).collect()
    }

    /// Forgets what was replaced by somebody else. Whether anything is left to watch.
    fn forget_replaced(&mut self, deployer: &Deployer) -> bool {
        match self.phase {
            Phase::Active(_) => {
                self.comparisons.retain(|comparison| deployer.is_watched(comparison.service(), comparison.line));
                !self.comparisons.is_empty()
            }
            Phase::Canary => deployer.has_traffic(&self.lines()),
        }
    }

    fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Active(end) if Instant::now() >= end)
    }
}

/// By how much the latest looks came late: how busy the host is.
#[derive(Default)]
struct Lags(VecDeque<Duration>);

impl Lags {
    /// How many looks count: those of five seconds.
    const COUNT: usize = 50;

    fn add(&mut self, lag: Duration) {
        self.0.truncate(Self::COUNT - 1);
        self.0.push_front(lag);
    }

    fn median(&self) -> Duration {
        let mut sorted: Vec<Duration> = self.0.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied().unwrap_or_default()
    }
}

/// Watches until the time is over, or the revisions are taken back or replaced.
pub(super) async fn run(deployer: Arc<Deployer>, mut watch: Watch) {
    let (mut answered, mut quiet_since, mut failed_probes) = (0, Instant::now(), 0);
    let mut lags = Lags::default();
    while !watch.is_over() {
        let looked = Instant::now();
        tokio::time::sleep(LOOK).await;
        lags.add(looked.elapsed().saturating_sub(LOOK));
        if !watch.forget_replaced(&deployer) {
            return;
        }
        let mut reason = watch.worse(lags.median());
        let all = watch.comparisons.iter().map(Comparison::answered).sum();
        if all != answered {
            (answered, quiet_since) = (all, Instant::now());
        } else if quiet_since.elapsed() >= QUIET {
            match deployer.probe_again(&watch).await {
                Err(ProbeFailure::Revision(why)) => {
                    failed_probes += 1;
                    reason = reason.or(Some(why)).filter(|_| failed_probes >= FAILED_PROBES);
                }
                Err(ProbeFailure::Dependency(_)) => {}
                Ok(()) => failed_probes = 0,
            }
            quiet_since = Instant::now();
        }
        if let Some(reason) = reason
            && revert_until_done(&deployer, &mut watch, &reason).await
        {
            return;
        }
    }
    deployer.keep(&watch);
}

/// Reverts until it succeeds, because a disk may be full for seconds, or until it cannot succeed any more. False if somebody was faster, so that there is something else to watch.
async fn revert_until_done(deployer: &Deployer, watch: &mut Watch, reason: &str) -> bool {
    let mut wait = FIRST_RETRY;
    loop {
        match deployer.try_revert(watch, reason).await {
            RevertResult::Done => return true,
            RevertResult::Replaced => return false,
            RevertResult::Impossible => return true,
            RevertResult::Failed => {}
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LAST_RETRY);
        if !watch.forget_replaced(deployer) {
            return true;
        }
    }
}

/// What came of an attempt to revert.
enum RevertResult {
    Done,
    /// Somebody activated other revisions meanwhile.
    Replaced,
    /// The old revisions cannot serve any more, because another service took one of their routes.
    Impossible,
    /// The revisions go on serving.
    Failed,
}

impl Deployer {
    async fn probe_again(&self, watch: &Watch) -> Result<(), ProbeFailure> {
        for comparison in &watch.comparisons {
            probe::all(&comparison.new, self.manifest.deploy.probe_time).await?;
        }
        Ok(())
    }

    /// The end of a watch that found nothing.
    fn keep(&self, watch: &Watch) {
        let kept = |line| Outcome { line, result: "kept", detail: String::new() };
        // All or none: a restart in between must not watch a part of a set.
        let ended = self.record.end_all(&watch.lines().into_iter().map(kept).collect::<Vec<_>>());
        for comparison in &watch.comparisons {
            let (service, revision) = (comparison.service(), &comparison.new.revision.digest()[..12]);
            match &ended {
                Ok(()) => tracing::info!(service, revision, "the new revision is kept"),
                Err(error) => tracing::error!(service, %error, "the end of a watch was not recorded"),
            }
        }
    }

    /// Reverts once, because a watch found a new revision clearly worse.
    async fn try_revert(&self, watch: &Watch, reason: &str) -> RevertResult {
        let reverted = match watch.phase {
            Phase::Canary => self.end_canary(&watch.lines(), "reverted", reason).await,
            Phase::Active(_) => self.revert(watch, reason).await,
        };
        for comparison in &watch.comparisons {
            let (service, from) = (comparison.service(), &comparison.new.revision.digest()[..12]);
            let to = &comparison.old.revision.digest()[..12];
            match &reverted {
                Ok(()) => {
                    tracing::warn!(service, from, to, reason, "a new revision did worse and was taken back");
                    self.announce_revert(service, from, to, reason);
                }
                Err(DeployError::NoCanary | DeployError::Changed { .. }) => return RevertResult::Replaced,
                Err(error @ DeployError::Refused(_)) => {
                    tracing::error!(service, from, to, reason, %error, "a new revision does worse, and cannot be reverted: deploy one that can serve");
                    return RevertResult::Impossible;
                }
                Err(error) => {
                    tracing::error!(service, from, to, reason, %error, "a new revision does worse, but the revert failed: it is tried again");
                }
            }
        }
        if reverted.is_ok() { RevertResult::Done } else { RevertResult::Failed }
    }

    async fn revert(&self, watch: &Watch, reason: &str) -> Result<(), DeployError> {
        let attempts = watch.comparisons.iter().map(|comparison| {
            let from = Some(comparison.new.revision.digest().to_owned());
            let to = comparison.old.revision.digest();
            (self.attempt(comparison.service(), Action::Revert, from, to, reason), comparison.old.clone())
        });
        let switched = self.switch_with_lines(attempts.collect(), |serving, activate| {
            for comparison in &watch.comparisons {
                if !self.is_watched(comparison.service(), comparison.line) {
                    let active = self.check_replaces(comparison.service(), None)?.unwrap_or_default();
                    return Err(DeployError::Changed { service: comparison.service().to_owned(), active });
                }
            }
            let outcome = |line: &i64| Outcome { line: *line, result: "reverted", detail: reason.to_owned() };
            let outcomes = watch.lines().iter().map(outcome).collect();
            Ok(Plan { outcomes, ..Plan::activate(serving, activate) })
        });
        switched.await.map(drop)
    }
}
