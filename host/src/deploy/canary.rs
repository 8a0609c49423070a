//! New revisions tried on a share of the callers: begun, widened, promoted, aborted, and found again after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::{Action, Change, Ended};
use super::report::{DeployError, Refused, Report, Step, Steps};
use super::serving::{Canary, Candidate, Rollout, Serving, Share};
use super::switch::Plan;
use super::watch::{self, Probation};
use super::{Deployer, Served};

/// Whether a service may be deployed now: put in charge where `canary` is none, or else tried on that share.
pub(super) fn may_deploy(serving: &Serving, service: &str, canary: Option<Share>) -> Result<(), DeployError> {
    let Some(running) = serving.canary() else { return Ok(()) };
    let free = match canary {
        // What is tried already must not change under those who try it; what nobody tries yet may still be changed.
        Some(_) => running.share() == Share::NOBODY,
        None => !running.candidates().contains_key(service),
    };
    if free { Ok(()) } else { Err(DeployError::CanaryRunning(services(running))) }
}

fn services(canary: &Canary) -> String {
    canary.candidates().keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn lines(canary: &Canary) -> Vec<i64> {
    canary.candidates().values().map(|candidate| candidate.line).collect()
}

/// The canary that has these lines, and no other.
fn same<'a>(serving: &'a Serving, expected: &[i64]) -> Result<&'a Canary, DeployError> {
    serving.canary().filter(|canary| lines(canary) == expected).ok_or(DeployError::NoCanary)
}

fn ended(lines: &[i64], result: &'static str, detail: &str) -> Vec<Ended> {
    lines.iter().map(|line| Ended { line: *line, result, detail: detail.to_owned() }).collect()
}

impl Deployer {
    /// Puts a revision beside what serves, alone or with the others that nobody tries yet.
    pub(super) async fn begin_canary(
        self: &Arc<Self>,
        line: i64,
        served: Served,
        share: Share,
    ) -> Result<(), DeployError> {
        self.store(&served).await?;
        let switched = self.switch(|serving| {
            let name: Arc<str> = served.revision.service().into();
            may_deploy(serving, &name, Some(share))?;
            let mut candidates = serving.canary().map(|canary| canary.candidates().clone()).unwrap_or_default();
            let mut end = ended(&[line], "canary", "");
            if let Some(replaced) = candidates.insert(name, Candidate { line, served }) {
                end.extend(ended(&[replaced.line], "replaced", ""));
            }
            Ok(Plan { activate: Vec::new(), end, canary: Some(Rollout { share, candidates }) })
        });
        switched.await?;
        self.watch_canary();
        Ok(())
    }

    /// Gives the canary to another share of the callers. A larger one only adds callers.
    ///
    /// # Errors
    /// No canary runs, or the record cannot be written.
    pub async fn set_canary_share(self: &Arc<Self>, share: Share) -> Result<(), DeployError> {
        let mut was_tried = false;
        let switched = self.switch(|serving| {
            let canary = serving.canary().ok_or(DeployError::NoCanary)?;
            was_tried = canary.share() > Share::NOBODY;
            let rollout = Rollout { share, ..canary.rollout().clone() };
            Ok(Plan { activate: Vec::new(), end: Vec::new(), canary: Some(rollout) })
        });
        switched.await?;
        tracing::info!(%share, "the canary has another share of the callers");
        if !was_tried {
            self.watch_canary();
        }
        Ok(())
    }

    /// Puts all candidates in charge in one move, and goes on watching them.
    ///
    /// # Errors
    /// No canary runs, a deploy of one of its services does, the time of a candidate's signature is over, or the record cannot be
    /// written. Then all is as before.
    pub async fn promote(self: &Arc<Self>, reason: &str) -> Result<Vec<Report>, DeployError> {
        let mut steps = Steps::default();
        let serving = self.current.load_full();
        let canary = serving.canary().ok_or(DeployError::NoCanary)?;
        let tried = lines(canary);
        let mut busy = Vec::new();
        let mut entries = Vec::new();
        for (name, Candidate { served, .. }) in canary.candidates() {
            busy.push(self.begin_work(name)?);
            self.check_noted_time(name, served.revision.digest())?;
            let active = self.check_replaces(name, None)?;
            let entry = self.entry(name, Action::Promote, Some(active), served.revision.digest(), reason);
            entries.push((entry, served.clone()));
        }
        let mut olds = BTreeMap::new();
        let switched = self.switch_with_lines(entries, |serving, activate| {
            same(serving, &tried)?;
            olds.clone_from(serving.stable().services());
            Ok(Plan { activate, end: ended(&tried, "promoted", ""), canary: None })
        });
        let new_lines = switched.await?;
        steps.done(Step::Active, None);
        let steps = steps.into_taken();
        let mut reports = Vec::new();
        let mut changes = Vec::new();
        for (line, (name, candidate)) in new_lines.into_iter().zip(canary.candidates()) {
            let old = olds.get(name);
            let report = self.report(line, old, &candidate.served);
            reports.push(Report { active_since: Some(self.now()), steps: steps.clone(), ..report });
            changes.extend(old.map(|old| (line, candidate.served.clone(), old.clone())));
        }
        tokio::spawn(watch::run(self.clone(), Probation::in_charge(changes, self.manifest.deploy.watch)));
        Ok(reports)
    }

    /// Ends the canary: everybody is served by what is in charge. Gives the services whose candidates are gone.
    ///
    /// # Errors
    /// No canary runs, or the record cannot be written.
    pub async fn abort(&self, reason: &str) -> Result<Vec<String>, DeployError> {
        let serving = self.current.load_full();
        let canary = serving.canary().ok_or(DeployError::NoCanary)?;
        self.end_canary(&lines(canary), "aborted", reason).await?;
        Ok(canary.candidates().keys().map(ToString::to_string).collect())
    }

    /// Ends the canary that has these lines.
    pub(super) async fn end_canary(
        &self,
        tried: &[i64],
        result: &'static str,
        reason: &str,
    ) -> Result<(), DeployError> {
        let switched = self.switch(|serving| {
            same(serving, tried)?;
            Ok(Plan { activate: Vec::new(), end: ended(tried, result, reason), canary: None })
        });
        switched.await.map(drop)
    }

    /// Whether a canary with these lines runs and somebody is part of it, and the host does not stop.
    pub(super) fn is_tried(&self, tried: &[i64]) -> bool {
        !self.is_stopped() && same(&self.current.load(), tried).is_ok_and(|canary| canary.share() > Share::NOBODY)
    }

    /// Begins to watch the canary, if anybody is part of it.
    pub(super) fn watch_canary(self: &Arc<Self>) {
        let serving = self.current.load_full();
        let Some(canary) = serving.canary().filter(|canary| canary.share() > Share::NOBODY) else { return };
        let old = |name: &Arc<str>| serving.stable().services().get(name).cloned();
        let changes = canary.candidates().iter();
        let changes = changes.filter_map(|(name, new)| Some((new.line, new.served.clone(), old(name)?))).collect();
        tokio::spawn(watch::run(self.clone(), Probation::canary(changes)));
    }

    /// The canary that ran when the host ended, made again. One that cannot be is aborted by the change that this adds to.
    pub(super) async fn last_canary(&self, change: &mut Change) -> Result<Option<Rollout>, DeployError> {
        let Some(record) = self.record.canary()? else { return Ok(None) };
        let mut candidates = BTreeMap::new();
        for (name, digest, line) in &record.candidates {
            match self.last_candidate(name, digest).await {
                Ok(served) => candidates.insert(Arc::from(name.as_str()), Candidate { line: *line, served }),
                Err(error) => {
                    tracing::error!(service = name, %error, "the canary ends here: everybody is served by what is in charge");
                    let tried: Vec<i64> = record.candidates.iter().map(|(.., line)| *line).collect();
                    change.ended.extend(ended(&tried, "aborted", &error.to_string()));
                    return Ok(None);
                }
            };
        }
        let share = Share::from_basis_points(record.share);
        change.canary = Some(record);
        Ok(Some(Rollout { share, candidates }))
    }

    async fn last_candidate(&self, name: &str, digest: &str) -> Result<Served, DeployError> {
        self.lane(name)?;
        let gone = || Refused {
            service: name.to_owned(),
            step: Step::Received,
            reason: format!("its component {digest} is not in the data folder any more"),
        };
        let bytes = self.record.load(digest).ok_or_else(gone)?;
        let served = self.stage(name, &bytes.into(), digest, &mut Steps::default()).await?;
        self.migrate(&served, true).await?;
        Ok(served)
    }
}
