//! The watch: compares new revisions with the previous ones, and reverts those that do clearly worse.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::comparison::Comparison;
use super::probe::{self, ProbeFailure};
use super::record::{Action, Outcome};
use super::report::{DeployError, shortened};
use super::switch::Plan;
use super::{Deployer, Served};
use crate::revision::RouteTraffic;

/// How often the watch compares the traffic.
const LOOK: Duration = Duration::from_millis(100);

/// How long there may be no request before the host runs the probes again. Without traffic nothing else would show a failure.
const QUIET: Duration = Duration::from_secs(1);

/// The first wait before a failed revert is tried again. Each wait is twice as long as the one before.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// The longest wait before a failed revert is tried again.
const LAST_RETRY: Duration = Duration::from_secs(60);

/// How many probe runs in a row must fail before a revision is reverted.
const FAILED_PROBES: usize = 2;

/// How long a route may answer only 404 before that counts, unless the watch is shorter. Clients can cause 404 answers: without this
/// time, a few of them could revert a good revision in its first moments.
const SETTLE: Duration = Duration::from_secs(5);

/// New revisions that are watched together and reverted together.
pub(super) struct Watch {
    comparisons: Vec<Comparison>,
    phase: Phase,
    /// From this time on, a route that only answers 404 counts.
    settled: Instant,
}

/// Whether the new revisions are active or a canary.
#[derive(Clone, Copy)]
enum Phase {
    /// They are active, and kept if the watch finds no fault until this time.
    Active(Instant),
    /// They are a canary, which runs until the operator ends it.
    Canary,
}

impl Watch {
    /// A watch of active revisions, each with its history line and previous revision. They are compared with all traffic of the previous
    /// revisions, because those answer no requests any more.
    pub(super) fn active(comparisons: Vec<(i64, Served, Served)>, time: Duration) -> Self {
        Self::new(comparisons, Phase::Active(Instant::now() + time), |_| Vec::new())
    }

    /// A watch of a canary. Its candidates are compared with what the active revisions answer at the same time.
    pub(super) fn canary(comparisons: Vec<(i64, Served, Served)>) -> Self {
        Self::new(comparisons, Phase::Canary, |old| old.revision.traffic().snapshot())
    }

    fn new(
        comparisons: Vec<(i64, Served, Served)>,
        phase: Phase,
        old_before: fn(&Served) -> Vec<RouteTraffic>,
    ) -> Self {
        let comparisons = comparisons.into_iter().map(|(line, new, old)| {
            let old_before = old_before(&old);
            Comparison::new(line, new, old, old_before)
        });
        let mut settled = Instant::now() + SETTLE;
        if let Phase::Active(end) = phase {
            settled = settled.min(end);
        }
        Self { comparisons: comparisons.collect(), phase, settled }
    }

    /// Why one of the new revisions is clearly worse. None if none of them is.
    fn worse(&self, lag: Duration) -> Option<String> {
        let is_settled = Instant::now() >= self.settled;
        self.comparisons.iter().find_map(|comparison| comparison.worse(lag, is_settled))
    }

    fn lines(&self) -> Vec<i64> {
        self.comparisons.iter().map(|comparison| comparison.line).collect()
    }

    /// Drops revisions that another deploy or rollback has replaced. Returns whether any revision is left to watch.
    fn drop_replaced(&mut self, deployer: &Deployer) -> bool {
        match self.phase {
            Phase::Active(_) => {
                self.comparisons.retain(|comparison| deployer.is_watched(comparison.service(), comparison.line));
                !self.comparisons.is_empty()
            }
            Phase::Canary => deployer.has_traffic(&self.lines()),
        }
    }

    /// When the watch window ends. None for a canary.
    fn ends(&self) -> Option<Instant> {
        match self.phase {
            Phase::Active(end) => Some(end),
            Phase::Canary => None,
        }
    }

    fn is_over(&self) -> bool {
        self.ends().is_some_and(|end| Instant::now() >= end)
    }
}

/// How late the latest checks of the watch were: a measure of how busy the host is.
#[derive(Default)]
struct Lags(VecDeque<Duration>);

impl Lags {
    /// How many checks count: those of the last five seconds.
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

/// Watches until the watch window ends, or until the revisions are reverted or replaced.
pub(super) async fn run(deployer: Arc<Deployer>, mut watch: Watch) {
    let (mut answered, mut quiet_since, mut failed_probes) = (0, Instant::now(), 0);
    let mut lags = Lags::default();
    let listed = deployer.live.watch(&watch.comparisons, watch.ends());
    while !watch.is_over() {
        let looked = Instant::now();
        tokio::time::sleep(LOOK).await;
        lags.add(looked.elapsed().saturating_sub(LOOK));
        if !watch.drop_replaced(&deployer) {
            return;
        }
        listed.update(&watch.comparisons, lags.median());
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

/// Tries to revert until it succeeds or cannot succeed any more, because a disk may be full for some seconds.
///
/// Returns false if another deploy was faster and the watch must continue with the revisions that are left.
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
        if !watch.drop_replaced(deployer) {
            return true;
        }
    }
}

/// The result of one attempt to revert.
enum RevertResult {
    Done,
    /// Another deploy or rollback activated other revisions meanwhile.
    Replaced,
    /// The old revisions cannot serve any more, for example because another service now has one of their routes.
    Impossible,
    /// It failed, and the new revisions stay active.
    Failed,
}

impl Deployer {
    async fn probe_again(&self, watch: &Watch) -> Result<(), ProbeFailure> {
        for comparison in &watch.comparisons {
            probe::all(&comparison.new, self.setup().manifest.deploy.probe_time).await?;
        }
        Ok(())
    }

    /// Ends a watch that found no fault: the new revisions are kept.
    fn keep(&self, watch: &Watch) {
        let kept = |line| Outcome { line, result: "kept", detail: String::new() };
        // In one transaction, so that a restart never watches only a part of a set.
        let ended = self.record.end_all(&watch.lines().into_iter().map(kept).collect::<Vec<_>>());
        for comparison in &watch.comparisons {
            let (service, revision) = (comparison.service(), &comparison.new.revision.digest()[..12]);
            match &ended {
                Ok(()) => tracing::info!(service, revision, "{service}: kept the new revision"),
                Err(error) => tracing::error!(service, %error, "{service}: cannot record the end of the watch"),
            }
        }
    }

    /// Tries once to revert, because a new revision is clearly worse.
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
                    tracing::warn!(
                        service,
                        from,
                        to,
                        reason,
                        "{service}: reverted a new revision that did clearly worse"
                    );
                    self.announce_revert(service, from, to, reason);
                }
                Err(DeployError::NoCanary | DeployError::Changed { .. }) => return RevertResult::Replaced,
                Err(error @ DeployError::Refused(_)) => {
                    tracing::error!(service, from, to, reason, %error, "{service}: a new revision does clearly worse, and cannot be reverted: deploy one that works");
                    return RevertResult::Impossible;
                }
                Err(error) => {
                    tracing::error!(service, from, to, reason, %error, "{service}: a new revision does clearly worse, but the revert failed and will be tried again");
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
        switched.await?;
        self.note_reverted_tables(watch, reason);
        Ok(())
    }

    /// Notes for the operator that a service does not have the manifest's table any more, because its reload was reverted.
    fn note_reverted_tables(&self, watch: &Watch, reason: &str) {
        let changed = |comparison: &&Comparison| !Arc::ptr_eq(&comparison.new.resources, &comparison.old.resources);
        for comparison in watch.comparisons.iter().filter(changed) {
            let name = comparison.service();
            let note = format!(
                "the manifest's new settings of `{name}` are not active, because {reason}: correct [services.{name}] and run \
                 `comptoir reload`. A restart would activate them"
            );
            self.notes().insert(name.to_owned(), shortened(&note));
        }
    }
}
