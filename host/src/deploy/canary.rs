//! Canaries: starts, widens, promotes and aborts them, and resumes them after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::{Action, Change, Outcome};
use super::report::{DeployError, Refused, Report, Step, Steps};
use super::serving::{Canary, Candidate, Rollout, Serving, Share};
use super::switch::{Plan, collision};
use super::watch::{self, Watch};
use super::{Deployer, Served, Vacancy};
use crate::route::RouteConflict;

/// Refuses a deploy that would change the running canary. `canary` is the share that the deploy asks for, or None if the revision is to
/// become active.
///
/// # Errors
/// The deploy would change a canary or a set that is running.
pub(super) fn may_deploy(
    serving: &Serving,
    service: &str,
    canary: Option<Share>,
    set: Option<&str>,
) -> Result<(), DeployError> {
    let Some(running) = serving.canary() else { return Ok(()) };
    let free = match canary {
        // A canary with callers must not change under them. With a share of 0% it has none, and accepts more candidates.
        Some(_) => running.share() == Share::NOBODY && running.set() == set,
        None => !running.candidates().contains_key(service),
    };
    if free { Ok(()) } else { Err(busy(running)) }
}

/// The error for orders that have to wait until this canary ends.
pub(super) fn busy(running: &Canary) -> DeployError {
    let services = services(running);
    if running.set().is_some() { DeployError::SetRunning(services) } else { DeployError::CanaryRunning(services) }
}

fn services(canary: &Canary) -> String {
    canary.candidates().keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn lines(canary: &Canary) -> Vec<i64> {
    canary.candidates().values().map(|candidate| candidate.line).collect()
}

/// The running canary, if its candidates have exactly these history lines.
fn canary_of<'a>(serving: &'a Serving, expected: &[i64]) -> Result<&'a Canary, DeployError> {
    serving.canary().filter(|canary| lines(canary) == expected).ok_or(DeployError::NoCanary)
}

fn outcomes(lines: &[i64], result: &'static str, detail: &str) -> Vec<Outcome> {
    lines.iter().map(|line| Outcome { line: *line, result, detail: detail.to_owned() }).collect()
}

impl Deployer {
    /// Starts a canary with this revision, or adds it to the candidates of a canary with a share of 0%.
    pub(super) async fn begin_canary(
        self: &Arc<Self>,
        line: i64,
        served: Served,
        share: Share,
        set: Option<String>,
    ) -> Result<(), DeployError> {
        self.store(&served).await?;
        let switched = self.switch(|serving| {
            let name: Arc<str> = served.revision.service().into();
            may_deploy(serving, &name, Some(share), set.as_deref())?;
            let mut candidates = serving.canary().map(|canary| canary.candidates().clone()).unwrap_or_default();
            let mut ending = outcomes(&[line], "canary", "");
            if let Some(replaced) = candidates.insert(name, Candidate { line, served }) {
                ending.extend(outcomes(&[replaced.line], "replaced", ""));
            }
            let canary = Some(Rollout { share, set, candidates });
            Ok(Plan { activate: Vec::new(), outcomes: ending, canary, reload: None })
        });
        switched.await?;
        self.watch_canary();
        Ok(())
    }

    /// Changes the canary's share of the callers. A larger share only adds callers.
    ///
    /// # Errors
    /// No canary is running, it is a set, or the record cannot be written.
    pub async fn set_canary_share(self: &Arc<Self>, share: Share) -> Result<(), DeployError> {
        let mut had_callers = false;
        let switched = self.switch(|serving| {
            let canary = serving.canary().ok_or(DeployError::NoCanary)?;
            if canary.set().is_some() {
                return Err(busy(canary));
            }
            had_callers = canary.share() > Share::NOBODY;
            let rollout = Rollout { share, ..canary.rollout().clone() };
            Ok(Plan { activate: Vec::new(), outcomes: Vec::new(), canary: Some(rollout), reload: None })
        });
        switched.await?;
        tracing::info!(%share, "canary: changed the share of the callers");
        if !had_callers {
            self.watch_canary();
        }
        Ok(())
    }

    /// Activates all candidates in one step, and watches them. A candidate that is already active stays so. A set can only be promoted by
    /// its name, because nobody else knows whether it is complete.
    ///
    /// # Errors
    /// No canary is running, a deploy of one of its services is running, a signature has expired, or the record cannot be written.
    /// Nothing has changed then.
    pub async fn promote(self: &Arc<Self>, reason: &str, set: Option<&str>) -> Result<Vec<Report>, DeployError> {
        let mut steps = Steps::default();
        let serving = self.current.load_full();
        let canary = serving.canary().ok_or(DeployError::NoCanary)?;
        if canary.set() != set {
            return Err(if set.is_some() { DeployError::NoCanary } else { busy(canary) });
        }
        let candidate_lines = lines(canary);
        let mut working = Vec::new();
        let (mut attempts, mut unchanged) = (Vec::new(), Vec::new());
        for (name, Candidate { line, served }) in canary.candidates() {
            working.push(self.begin_work(name)?);
            self.check_signature_expiry(name, served.revision.digest())?;
            let active = self.check_replaces(name, None)?;
            if active.as_deref() == Some(served.revision.digest()) {
                unchanged.push(*line);
                continue;
            }
            let attempt = self.attempt(name, Action::Promote, active, served.revision.digest(), reason);
            attempts.push((attempt, served.clone()));
        }
        let mut olds = BTreeMap::new();
        let switched = self.switch_with_lines(attempts, |serving, activate| {
            canary_of(serving, &candidate_lines)?;
            olds.clone_from(serving.stable().services());
            let promoted: Vec<i64> = candidate_lines.iter().filter(|line| !unchanged.contains(line)).copied().collect();
            let mut ending = outcomes(&promoted, "promoted", "");
            ending.extend(outcomes(&unchanged, "unchanged", "it is already active"));
            Ok(Plan { activate, outcomes: ending, canary: None, reload: None })
        });
        let mut new_lines = switched.await?.into_iter();
        steps.done(Step::Active, None);
        let steps = steps.take();
        let mut reports = Vec::new();
        let mut changes = Vec::new();
        for (name, Candidate { line, served }) in canary.candidates() {
            let old = olds.get(name);
            if unchanged.contains(line) {
                reports.push(Report { changed: false, ..self.report(*line, old, served) });
                continue;
            }
            let line = new_lines.next().unwrap_or_default();
            let report = self.report(line, old, served);
            reports.push(Report { active_since: Some(self.now()), steps: steps.clone(), ..report });
            changes.extend(old.map(|old| (line, served.clone(), old.clone())));
        }
        tokio::spawn(watch::run(self.clone(), Watch::active(changes, self.setup().manifest.deploy.watch)));
        Ok(reports)
    }

    /// Aborts the canary. The active revisions answer all callers again. Returns the services that had a candidate.
    ///
    /// # Errors
    /// No canary is running, it is not the set that `set` names, or the record cannot be written.
    pub async fn abort(&self, reason: &str, set: Option<&str>) -> Result<Vec<String>, DeployError> {
        let serving = self.current.load_full();
        let matches_set = |canary: &&Canary| set.is_none_or(|set| canary.set() == Some(set));
        let canary = serving.canary().filter(matches_set).ok_or(DeployError::NoCanary)?;
        self.end_canary(&lines(canary), "aborted", reason).await?;
        Ok(canary.candidates().keys().map(ToString::to_string).collect())
    }

    /// Ends the canary whose candidates have these history lines.
    pub(super) async fn end_canary(
        &self,
        candidate_lines: &[i64],
        result: &'static str,
        reason: &str,
    ) -> Result<(), DeployError> {
        let switched = self.switch(|serving| {
            canary_of(serving, candidate_lines)?;
            let outcomes = outcomes(candidate_lines, result, reason);
            Ok(Plan { activate: Vec::new(), outcomes, canary: None, reload: None })
        });
        switched.await.map(drop)
    }

    /// Whether the canary with these history lines still runs with a share above 0%. False if the host is stopping.
    pub(super) fn has_traffic(&self, candidate_lines: &[i64]) -> bool {
        !self.is_stopped()
            && canary_of(&self.current.load(), candidate_lines).is_ok_and(|canary| canary.share() > Share::NOBODY)
    }

    /// Starts to watch the canary, if its share is above 0%.
    pub(super) fn watch_canary(self: &Arc<Self>) {
        let serving = self.current.load_full();
        let Some(canary) = serving.canary().filter(|canary| canary.share() > Share::NOBODY) else { return };
        let old = |name: &Arc<str>| serving.stable().services().get(name).cloned();
        let changes = canary.candidates().iter();
        let changes = changes.filter_map(|(name, new)| Some((new.line, new.served.clone(), old(name)?))).collect();
        tokio::spawn(watch::run(self.clone(), Watch::canary(changes)));
    }

    /// Stages the canary that ran when the host stopped. If that fails, aborts the canary as part of `change`.
    pub(super) async fn last_canary(&self, change: &mut Change) -> Result<Option<Rollout>, DeployError> {
        let Some(record) = self.record.canary()? else { return Ok(None) };
        let mut candidates = BTreeMap::new();
        for (name, digest, line) in &record.candidates {
            match self.last_candidate(name, digest).await {
                Ok(served) => candidates.insert(Arc::from(name.as_str()), Candidate { line: *line, served }),
                Err(error) => {
                    tracing::error!(service = name, %error, "{name}: aborted the canary, because this candidate cannot start: the active revisions answer all callers");
                    let candidate_lines: Vec<i64> = record.candidates.iter().map(|(.., line)| *line).collect();
                    change.outcomes.extend(outcomes(&candidate_lines, "aborted", &error.to_string()));
                    return Ok(None);
                }
            };
        }
        let (share, set) = (Share::from_basis_points(record.share), record.set.clone());
        change.canary = Some(record);
        Ok(Some(Rollout { share, set, candidates }))
    }

    /// The deployments after a start. Aborts a canary whose routes collide with those of a service.
    pub(super) async fn with_last_canary(
        &self,
        services: BTreeMap<Arc<str>, Served>,
        vacant: BTreeMap<Arc<str>, Vacancy>,
        change: &mut Change,
    ) -> Result<Serving, DeployError> {
        let conflict = |conflict: RouteConflict| DeployError::from(collision(&conflict));
        let Some(rollout) = self.last_canary(change).await? else {
            return Serving::new(services, vacant, None, &[]).map_err(conflict);
        };
        let candidate_lines: Vec<i64> = rollout.candidates.values().map(|candidate| candidate.line).collect();
        match Serving::new(services.clone(), vacant.clone(), Some(rollout), &[]) {
            Ok(serving) => Ok(serving),
            Err(error) => {
                tracing::error!(%error, "aborted the canary, because its routes collide with those of a service");
                change.outcomes.extend(outcomes(&candidate_lines, "aborted", &error.to_string()));
                change.canary = None;
                Serving::new(services, vacant, None, &[]).map_err(conflict)
            }
        }
    }

    async fn last_candidate(&self, name: &str, digest: &str) -> Result<Served, DeployError> {
        self.lane(name)?;
        let gone = || Refused {
            service: name.to_owned(),
            step: Step::Received,
            reason: format!("its component {digest} is missing from the data folder"),
        };
        let bytes = self.record.load(digest).ok_or_else(gone)?;
        let served = self.stage(name, &bytes.into(), digest, &mut Steps::default()).await?;
        self.migrate(&served, true).await?;
        Ok(served)
    }
}
