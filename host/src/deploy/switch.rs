//! The switch: the only place that moves the pointer, for deploys, sets, canaries, rollbacks and reverts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::lane::Setup;
use super::record::{Action, Activation, Attempt, CanaryRecord, Change, Outcome};
use super::report::{DeployError, Refused, Step};
use super::serving::{Rollout, Serving};
use super::{Deployer, Served, Vacancy};
use crate::revision::Revision;
use crate::route::RouteConflict;

/// What a switch changes. Decided while no other switch can run.
pub(super) struct Plan {
    /// The revisions that become active, each with the id of its history line.
    pub(super) activate: Vec<(i64, Served)>,
    /// Results for the history lines that the switch ends.
    pub(super) outcomes: Vec<Outcome>,
    /// The canary after the switch, if any.
    pub(super) canary: Option<Rollout>,
    /// The manifest after the switch, if it is a reload.
    pub(super) reload: Option<NextSetup>,
}

/// What a reload changes beside the active revisions.
pub(super) struct NextSetup {
    /// The new manifest. Services that it does not have are removed.
    pub(super) setup: Arc<Setup>,
    /// All services without an active revision.
    pub(super) vacant: BTreeMap<Arc<str>, Vacancy>,
}

impl Plan {
    /// A plan that activates revisions and keeps the canary.
    pub(super) fn activate(serving: &Serving, activate: Vec<(i64, Served)>) -> Self {
        let canary = serving.canary().map(|canary| canary.rollout().clone());
        Self { activate, outcomes: Vec::new(), canary, reload: None }
    }
}

impl Deployer {
    /// Changes the active revisions: first on the disk, then for requests. Returns the replaced revisions in the order of the plan.
    ///
    /// # Errors
    /// The plan was refused, two services claim the same route, or the record cannot be written. Nothing has changed then.
    pub(super) async fn switch(
        &self,
        plan: impl FnOnce(&Serving) -> Result<Plan, DeployError>,
    ) -> Result<Vec<Option<Served>>, DeployError> {
        let _switching = self.switching.lock().await;
        let serving = self.current.load_full();
        let Plan { activate, outcomes, canary, reload } = plan(&serving)?;
        let mut services = serving.stable().services().clone();
        let mut vacant = serving.stable().vacant().clone();
        if let Some(reload) = &reload {
            services.retain(|name, _| reload.setup.lanes.contains_key(&**name));
            vacant.clone_from(&reload.vacant);
        }
        let mut replaced = Vec::new();
        for (_, served) in &activate {
            replaced.push(services.insert(served.revision.service().into(), served.clone()));
        }
        let together = if activate.len() > 1 { activate.first().map(|(line, _)| *line) } else { None };
        let activated = activate.iter().zip(&replaced);
        let activated = activated.map(|(new, before)| activation(new, before.as_ref(), together)).collect();
        let change = Change { activated, outcomes, canary: canary.as_ref().map(canary_record) };
        let after = reload.as_ref().map_or_else(|| self.setup(), |reload| reload.setup.clone());
        let kept = all_kept(&after, &activate, &replaced);
        // On a blocking thread, because tables of a thousand routes take a while to build.
        let next = tokio::task::spawn_blocking(move || Serving::new(services, vacant, canary, &kept)).await;
        let next = next.map_err(|_| DeployError::Stopping)?.map_err(|conflict| collision(&conflict))?;
        let record = self.record.clone();
        let written = tokio::task::spawn_blocking(move || record.commit(&change)).await;
        written.map_err(|_| DeployError::Stopping)??;
        let next = Arc::new(next);
        self.current.store(next.clone());
        self.follow_setup(reload.map(|reload| reload.setup), &activate);
        drain_streams(&serving, &next);
        for ((line, served), before) in activate.iter().zip(&replaced) {
            self.note_activation(*line, served, before.clone());
        }
        self.live.change();
        self.prune().await;
        Ok(replaced)
    }

    /// Removes the stored components that no service and no rollback needs any more.
    pub(super) async fn prune(&self) {
        let record = self.record.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || record.prune()).await {
            tracing::warn!(%error, "cannot remove old components from the data folder");
        }
    }

    /// Makes the manifest agree with the active revisions: after a reload, and after a revert of a revision that a reload made.
    fn follow_setup(&self, reloaded: Option<Arc<Setup>>, activated: &[(i64, Served)]) {
        let before = self.setup();
        let mut setup = reloaded.unwrap_or_else(|| before.clone());
        for (_, served) in activated {
            if let Some(next) = setup.with_resources(served.revision.service(), &served.resources) {
                setup = Arc::new(next);
            }
        }
        if Arc::ptr_eq(&before, &setup) {
            return;
        }
        self.setup.store(setup.clone());
        setup.divide_instances(&before);
        self.notes().retain(|name, _| setup.lanes.contains_key(name));
        for (name, old) in &before.lanes {
            if setup.lanes.get(name).is_none_or(|new| !Arc::ptr_eq(&new.resources, &old.resources)) {
                old.resources.clear();
            }
        }
    }

    /// Clears the caches of the service, keeps the replaced revision compiled, and drops the oldest ones beyond the limit. A revision that
    /// was made with another table of the manifest is not kept: a rollback goes back to its component, not to its table.
    fn note_activation(&self, line: i64, served: &Served, before: Option<Served>) {
        let setup = self.setup();
        let Some(lane) = setup.lanes.get(served.revision.service()) else { return };
        lane.state.line.store(line, Ordering::Relaxed);
        self.notes().remove(served.revision.service());
        lane.resources.clear();
        let (name, revision) = (served.revision.service(), &served.revision.digest()[..12]);
        if let Some(before) = &before {
            let before_it = &before.revision.digest()[..12];
            tracing::info!(service = name, revision, "{name}: revision {revision} is active, in place of {before_it}");
        } else {
            tracing::info!(service = name, revision, "{name}: revision {revision} is active");
        }
        let kept = lane.kept_after(served, before, setup.manifest.deploy.keep);
        *lane.state.kept() = kept;
    }

    /// Begins a history line for each attempt, then switches. If the switch fails, the lines record why.
    pub(super) async fn switch_with_lines(
        &self,
        attempts: Vec<(Attempt, Served)>,
        plan: impl FnOnce(&Serving, Vec<(i64, Served)>) -> Result<Plan, DeployError>,
    ) -> Result<Vec<i64>, DeployError> {
        let mut begun = Vec::new();
        let switched = async {
            for (attempt, served) in attempts {
                begun.push((self.record.begin(&attempt)?, served.clone()));
                self.store(&served).await?;
            }
            self.switch(|serving| plan(serving, begun.clone())).await
        };
        let switched = switched.await;
        let lines: Vec<i64> = begun.iter().map(|(line, _)| *line).collect();
        let Err(error) = switched else { return Ok(lines) };
        let detail = error.to_string();
        let outcomes = lines.into_iter().map(|line| Outcome { line, result: "refused", detail: detail.clone() });
        if let Err(unrecorded) = self.record.end_all(&outcomes.collect::<Vec<_>>()) {
            tracing::error!(error = %unrecorded, "cannot record in the history that a change was refused");
        }
        Err(error)
    }

    pub(super) fn attempt(&self, name: &str, action: Action, from: Option<String>, to: &str, reason: &str) -> Attempt {
        let by = if matches!(action, Action::Start | Action::Revert | Action::Fallback) { "host" } else { "operator" };
        let text = |text: &str| text.to_owned();
        let signer = self.signer(name, to);
        Attempt { service: text(name), action, from, to: text(to), by: text(by), reason: text(reason), signer }
    }
}

/// The previous revisions of all services that stay compiled after a switch.
fn all_kept(setup: &Setup, activate: &[(i64, Served)], replaced: &[Option<Served>]) -> Vec<Served> {
    let mut kept = Vec::new();
    for (name, lane) in &setup.lanes {
        let activated = activate.iter().zip(replaced).find(|((_, served), _)| served.revision.service() == *name);
        kept.extend(match activated {
            Some(((_, served), before)) => lane.kept_after(served, before.clone(), setup.manifest.deploy.keep),
            None => lane.state.kept().clone(),
        });
    }
    kept
}

/// Lets the streams of replaced revisions end in time, and those of revisions that serve again continue.
fn drain_streams(before: &Serving, after: &Serving) {
    let serves = |revision: &Arc<Revision>| after.all().any(|served| Arc::ptr_eq(&served.revision, revision));
    for served in before.all().filter(|served| !serves(&served.revision)) {
        served.revision.drain_streams(true);
    }
    after.all().for_each(|served| served.revision.drain_streams(false));
}

/// The refusal of services whose routes collide.
pub(super) fn collision(conflict: &RouteConflict) -> Refused {
    Refused { service: conflict.service().unwrap_or("*").to_owned(), step: Step::Active, reason: conflict.to_string() }
}

fn activation((line, served): &(i64, Served), before: Option<&Served>, together: Option<i64>) -> Activation {
    Activation {
        line: *line,
        service: served.revision.service().to_owned(),
        digest: served.revision.digest().to_owned(),
        before: before.map(|before| before.revision.digest().to_owned()),
        together,
    }
}

fn canary_record(rollout: &Rollout) -> CanaryRecord {
    let candidates = rollout.candidates.iter();
    let candidates = candidates
        .map(|(name, candidate)| (name.to_string(), candidate.served.revision.digest().to_owned(), candidate.line));
    CanaryRecord { share: rollout.share.basis_points(), set: rollout.set.clone(), candidates: candidates.collect() }
}
