//! The move of the pointer: the one place where it happens, for deploys, sets, canaries, rollbacks and what is taken back.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::record::{Action, Activation, CanaryRecord, Change, Ended, Entry};
use super::report::{DeployError, Refused, Step};
use super::serving::{Rollout, Serving};
use super::{Deployer, Served};
use crate::route::RouteConflict;

/// What a switch changes, decided while no other switch runs.
pub(super) struct Plan {
    /// Revisions that become active, each with its line of the history.
    pub(super) activate: Vec<(i64, Served)>,
    /// Lines of the history that end with it.
    pub(super) end: Vec<Ended>,
    /// The canary after it.
    pub(super) canary: Option<Rollout>,
}

impl Plan {
    /// What puts revisions in charge and leaves everything else as it is.
    pub(super) fn activate(serving: &Serving, activate: Vec<(i64, Served)>) -> Self {
        let canary = serving.canary().map(|canary| canary.rollout().clone());
        Self { activate, end: Vec::new(), canary }
    }
}

impl Deployer {
    /// Changes what serves: on the disk first, then for requests. Gives the revisions that were replaced, in the plan's order.
    ///
    /// # Errors
    /// What the plan was refused for, two services that claim one route, a disk that does not take it. Nothing changed then.
    pub(super) async fn switch(
        &self,
        plan: impl FnOnce(&Serving) -> Result<Plan, DeployError>,
    ) -> Result<Vec<Option<Served>>, DeployError> {
        let _switching = self.switching.lock().await;
        let serving = self.current.load_full();
        let Plan { activate, end, canary } = plan(&serving)?;
        let mut services = serving.stable().services().clone();
        let mut replaced = Vec::new();
        for (_, served) in &activate {
            replaced.push(services.insert(served.revision.service().into(), served.clone()));
        }
        let together = if activate.len() > 1 { activate.first().map(|(line, _)| *line) } else { None };
        let activated = activate.iter().zip(&replaced);
        let activated = activated.map(|(new, before)| activation(new, before.as_ref(), together)).collect();
        let change = Change { activated, ended: end, canary: canary.as_ref().map(canary_record) };
        let vacant = serving.stable().vacant().clone();
        // Tables of a thousand routes take a while, in which others are answered.
        let next = tokio::task::spawn_blocking(move || Serving::new(services, vacant, canary)).await;
        let next = next.map_err(|_| DeployError::Stopping)?.map_err(|conflict| collision(&conflict))?;
        let record = self.record.clone();
        let written = tokio::task::spawn_blocking(move || record.commit(&change)).await;
        written.map_err(|_| DeployError::Stopping)??;
        self.current.store(Arc::new(next));
        for ((line, served), before) in activate.iter().zip(&replaced) {
            self.note_activation(*line, served, before.clone());
        }
        self.prune().await;
        Ok(replaced)
    }

    /// Removes the stored components that are not needed any more.
    pub(super) async fn prune(&self) {
        let record = self.record.clone();
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || record.prune()).await {
            tracing::warn!(%error, "components that are not needed any more were not removed");
        }
    }

    /// Keeps the revision before compiled, and forgets the oldest of those that are.
    fn note_activation(&self, line: i64, served: &Served, before: Option<Served>) {
        let name = served.revision.service();
        self.lanes[name].line.store(line, Ordering::Relaxed);
        self.notes().remove(name);
        if let Some(answers) = &self.lanes[name].answers {
            answers.forget();
        }
        if let Some(idle) = &self.lanes[name].idle {
            idle.forget();
        }
        let mut kept = self.kept(name);
        kept.retain(|kept| kept.revision.digest() != served.revision.digest());
        if let Some(before) = before {
            kept.push_front(before);
        }
        kept.truncate(self.manifest.deploy.keep);
    }

    /// Begins a line for each of these, and switches. If the switch fails, the lines say why.
    pub(super) async fn switch_with_lines(
        &self,
        entries: Vec<(Entry, Served)>,
        plan: impl FnOnce(&Serving, Vec<(i64, Served)>) -> Result<Plan, DeployError>,
    ) -> Result<Vec<i64>, DeployError> {
        let mut begun = Vec::new();
        let switched = async {
            for (entry, served) in entries {
                begun.push((self.record.begin(&entry)?, served.clone()));
                self.store(&served).await?;
            }
            self.switch(|serving| plan(serving, begun.clone())).await
        };
        let switched = switched.await;
        let lines: Vec<i64> = begun.iter().map(|(line, _)| *line).collect();
        let Err(error) = switched else { return Ok(lines) };
        let detail = error.to_string();
        let ended = lines.into_iter().map(|line| Ended { line, result: "refused", detail: detail.clone() });
        if let Err(unrecorded) = self.record.end_all(&ended.collect::<Vec<_>>()) {
            tracing::error!(error = %unrecorded, "the history does not say that a change was refused");
        }
        Err(error)
    }

    pub(super) fn entry(&self, name: &str, action: Action, from: Option<String>, to: &str, reason: &str) -> Entry {
        let by = if matches!(action, Action::Start | Action::Revert | Action::Fallback) { "host" } else { "operator" };
        let text = |text: &str| text.to_owned();
        let signer = self.signer(name, to);
        Entry { service: text(name), action, from, to: text(to), by: text(by), reason: text(reason), signer }
    }
}

/// Why services whose routes collide cannot serve together.
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
