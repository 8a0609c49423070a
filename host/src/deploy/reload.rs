//! A reload: brings another manifest into service while the host serves.
//!
//! If a service is new, has another table or names a new component, it goes through the steps of a deploy, on a setup of its own.
//! Then one switch activates all of them with the manifest, or nothing changes. As with a deploy, only a migration is left behind
//! if a later step fails.
//!
//! The watch compares changed services with their revisions before, and reverts all of them together. Their tables of the manifest go
//! back too. Services that the reload added or removed stay so.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures::future::join_all;
use serde::Serialize;
use thiserror::Error;
use tokio::sync::OwnedMutexGuard;

use super::canary;
use super::digest::sha256;
use super::lane::Setup;
use super::record::{Action, Attempt};
use super::report::{DeployError, Refused, Report, Step, Steps, shortened};
use super::switch::{NextSetup, Plan, collision};
use super::watch::{self, Watch};
use super::{Deployer, Deployment, Opened, Served, Vacancy, precheck};
use crate::manifest::{Changes, Manifest, ManifestError};
use crate::revision::Slots;

/// Why a reload changed nothing.
#[derive(Debug, Error)]
pub enum ReloadError {
    /// The manifest has faults, or what it names has: files, components, signatures, ports, certificates.
    #[error(transparent)]
    Manifest(ManifestError),
    /// The manifest changes keys that only a start reads.
    #[error(transparent)]
    Unchangeable(ManifestError),
    /// A service was refused at one of the steps of a deploy, or a deploy or a canary is running.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// Something that the manifest needs cannot be used: a database, a port or the operator's login.
    #[error("{0}")]
    Unusable(String),
}

/// What a reload changed, or would change.
#[derive(Debug, Clone, Serialize)]
pub struct Reloaded {
    /// False if the reload only checked the manifest.
    pub applied: bool,
    /// The differences of the manifests.
    #[serde(flatten)]
    pub changes: Changes,
    /// The services that have another revision now.
    pub revisions: Vec<Report>,
    /// Where the host listens now, by listener: `gateway`, `admin`, and the services with a listener of their own.
    pub listeners: BTreeMap<String, String>,
}

/// A manifest that is ready to be activated. No deploy can run while this exists. Dropping it changes nothing.
pub struct PreparedReload {
    setup: Arc<Setup>,
    activate: Vec<Prepared>,
    vacant: BTreeMap<Arc<str>, Vacancy>,
    /// The deployment for which it was prepared.
    before: Arc<Deployment>,
    after: Arc<Deployment>,
    _busy: Vec<OwnedMutexGuard<()>>,
}

/// A revision that the reload activates.
struct Prepared {
    attempt: Attempt,
    served: Served,
    note: Option<String>,
    steps: Steps,
}

/// What a service has after the reload.
enum Next {
    /// The same revision as before.
    Same(Served),
    New(Box<Prepared>),
    Vacant(Vacancy),
}

impl PreparedReload {
    /// The deployment that the reload leads to.
    pub fn deployment(&self) -> &Arc<Deployment> {
        &self.after
    }
}

impl Deployer {
    /// Prepares every service of a manifest, without activating anything. `opened` has what its services need and the
    /// host does not have yet.
    ///
    /// # Errors
    /// A deploy or a canary is running, or one service was refused.
    pub async fn prepare_reload(&self, manifest: Manifest, opened: Opened) -> Result<PreparedReload, DeployError> {
        let setup = self.setup();
        let busy = setup.lanes.keys().map(|name| self.begin_work(name)).collect::<Result<_, _>>()?;
        let serving = self.current.load_full();
        if let Some(running) = serving.canary() {
            return Err(canary::busy(running));
        }
        let (before, next) = (serving.stable().clone(), Arc::new(setup.next(manifest, opened)));
        let draft = self.under(next.clone());
        let prepared = join_all(next.lanes.keys().map(|name| draft.prepare_service(name, &setup, &before))).await;
        let (mut services, mut vacant, mut activate) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for (name, prepared) in next.lanes.keys().zip(prepared) {
            let name: Arc<str> = name.as_str().into();
            match prepared? {
                Next::Same(served) => drop(services.insert(name, served)),
                Next::New(prepared) => {
                    services.insert(name, prepared.served.clone());
                    activate.push(*prepared);
                }
                Next::Vacant(vacancy) => drop(vacant.insert(name, vacancy)),
            }
        }
        check_instances(&next.manifest, &services)?;
        let all_vacant = vacant.clone();
        // On a blocking thread, because tables of a thousand routes take a while to build.
        let after = tokio::task::spawn_blocking(move || Deployment::new(services, all_vacant, &[])).await;
        let after = after.map_err(|_| DeployError::Stopping)?.map_err(|conflict| collision(&conflict))?;
        Ok(PreparedReload { setup: next, activate, vacant, before, after: Arc::new(after), _busy: busy })
    }

    /// The same deployer with another setup.
    fn under(&self, setup: Arc<Setup>) -> Self {
        Self {
            setup: ArcSwap::new(setup),
            platform: self.platform.clone(),
            record: self.record.clone(),
            compiler: self.compiler.clone(),
            progress: self.progress.clone(),
            current: self.current.clone(),
            notes: self.notes.clone(),
            switching: self.switching.clone(),
            stopped: self.stopped.clone(),
            is_development: self.is_development.clone(),
            live: self.live.clone(),
        }
    }

    /// Prepares one service, on the deployer of the next setup. `before` are the setup and the deployment until now.
    async fn prepare_service(&self, name: &str, setup: &Setup, before: &Deployment) -> Result<Next, DeployError> {
        let table = &self.setup().manifest.services[name];
        let old_table = setup.manifest.services.get(name);
        let is_same = old_table.is_some_and(|old| old.is_same(table));
        let shipped = self.read_again(name).await;
        let Some(active) = self.record.active(name)? else { return self.prepare_first(name, shipped?).await };
        if old_table.is_none_or(|old| old.component != table.component) {
            shipped.as_ref().map_err(Clone::clone)?;
        }
        let digest = shipped.as_deref().ok().map(sha256);
        let known = digest.as_deref().map(|digest| self.record.knows(name, digest)).transpose()?;
        if let (Some(false), Ok(bytes)) = (known, &shipped) {
            return self.prepare_newer(name, bytes, active).await;
        }
        let (served, vacancy) = (before.services().get(name), before.vacant().get(name));
        if let (true, Some(served)) = (is_same, served) {
            self.sign_active(name, &active, digest.as_ref() == Some(&active)).await?;
            return Ok(Next::Same(served.clone()));
        }
        let note = digest.as_deref().map(|digest| self.inactive_file(name, digest, &active)).transpose()?.flatten();
        let shipped = shipped.ok().filter(|_| digest.as_ref() == Some(&active));
        match (self.prepare_again(name, &active, shipped, note).await, vacancy) {
            // It had no revision before the reload either, and its table is the same.
            (
                Err(DeployError::Refused(_) | DeployError::ChangedMigration(_) | DeployError::Crowded(_)),
                Some(vacancy),
            ) if is_same => Ok(Next::Vacant(vacancy.clone())),
            (prepared, _) => Ok(Next::New(Box::new(prepared?))),
        }
    }

    /// Prepares a service that had no revision on this data folder yet.
    async fn prepare_first(&self, name: &str, bytes: Arc<[u8]>) -> Result<Next, DeployError> {
        self.take_signature_beside(name, &bytes).await?;
        let (mut steps, origin) = (Steps::default(), self.origin(name));
        let served = self.stage(name, &bytes, &origin, &mut steps).await?;
        self.migrate(&served, false).await?;
        steps.done(Step::Migrated, None);
        self.probe(&served).await?;
        steps.done(Step::Probed, None);
        let attempt =
            self.attempt(name, Action::Reload, None, served.revision.digest(), "the manifest added the service");
        Ok(Next::New(Box::new(Prepared { attempt, served, note: None, steps })))
    }

    /// Prepares the manifest's component, which the history does not know.
    async fn prepare_newer(&self, name: &str, bytes: &Arc<[u8]>, active: String) -> Result<Next, DeployError> {
        self.record_texts_of_active(name, &active).await?;
        let mut steps = Steps::default();
        let served = self.start_newer(name, bytes, &self.origin(name)).await?;
        steps.done(Step::Probed, None);
        let reason = "the manifest's component is new";
        let attempt = self.attempt(name, Action::Reload, Some(active), served.revision.digest(), reason);
        Ok(Next::New(Box::new(Prepared { attempt, served, note: None, steps })))
    }

    /// Prepares the active component with the service's new table.
    async fn prepare_again(
        &self,
        name: &str,
        active: &str,
        shipped: Option<Arc<[u8]>>,
        note: Option<String>,
    ) -> Result<Prepared, DeployError> {
        let mut steps = Steps::default();
        let served = self.start_again(name, active, shipped).await?;
        steps.done(Step::Migrated, None);
        self.probe(&served).await?;
        steps.done(Step::Probed, None);
        let reason = "the manifest changed the service";
        let attempt = self.attempt(name, Action::Reload, Some(active.to_owned()), active, reason);
        Ok(Prepared { attempt, served, note, steps })
    }

    pub(super) fn origin(&self, name: &str) -> String {
        self.setup().manifest.services[name].component.display().to_string()
    }

    pub(super) async fn read_again(&self, name: &str) -> Result<Arc<[u8]>, Refused> {
        let (setup, owned) = (self.setup(), name.to_owned());
        let read = move || precheck::read(&setup.manifest, &owned, &setup.manifest.services[&owned].component);
        let stopping =
            |_| Refused { service: name.to_owned(), step: Step::Received, reason: "the host is stopping".to_owned() };
        tokio::task::spawn_blocking(read).await.map_err(stopping)?.map(Arc::from)
    }

    /// Activates a prepared manifest in one step, and watches the services that it changed. Returns their reports.
    ///
    /// # Errors
    /// A revision was reverted meanwhile, or the record cannot be written. Nothing has changed then.
    pub async fn commit_reload(self: &Arc<Self>, prepared: PreparedReload) -> Result<Vec<Report>, DeployError> {
        let PreparedReload { setup, activate, vacant, before, after: _, _busy } = prepared;
        let attempts = activate.iter().map(|new| (new.attempt.clone(), new.served.clone())).collect();
        let reload = NextSetup { setup, vacant };
        let switched = self.switch_with_lines(attempts, |serving, activate| {
            check_unchanged(serving.stable(), &before)?;
            Ok(Plan { reload: Some(reload), ..Plan::activate(serving, activate) })
        });
        let (lines, mut reports, mut changes) = (switched.await?, Vec::new(), Vec::new());
        for (line, Prepared { attempt, served, note, mut steps }) in lines.into_iter().zip(activate) {
            steps.done(Step::Active, None);
            let old = before.services().get(attempt.service.as_str());
            let report = self.report(line, old, &served);
            reports.push(Report { active_since: Some(self.now()), steps: steps.take(), ..report });
            self.notes().extend(note.map(|note| (attempt.service.clone(), shortened(&note))));
            changes.extend(old.map(|old| (line, served, old.clone())));
        }
        if !changes.is_empty() {
            tokio::spawn(watch::run(self.clone(), Watch::active(changes, self.setup().manifest.deploy.watch)));
        }
        Ok(reports)
    }
}

/// Refuses a revision whose instance takes more of the host's instances than the manifest leaves to its service: its requests would wait
/// forever.
fn check_instances(manifest: &Manifest, served: &BTreeMap<Arc<str>, Served>) -> Result<(), Refused> {
    let limits: Vec<_> = manifest.services.values().map(|service| service.limits.concurrency).collect();
    let parts = Slots::max_host_instances_of(manifest.instances as usize, &limits);
    for (name, max) in manifest.services.keys().zip(parts) {
        let takes = served.get(name.as_str()).map_or(0, |served| served.revision.host_instances());
        if takes as usize > max {
            let reason = format!(
                "an instance takes {takes} of the host's instances, but the new manifest leaves at most {max}: raise \
                 `instances` and restart"
            );
            return Err(Refused { service: name.clone(), step: Step::Linked, reason });
        }
    }
    Ok(())
}

/// Refuses to replace a deployment that is not the expected one, because the host has just reverted a revision.
fn check_unchanged(now: &Arc<Deployment>, expected: &Arc<Deployment>) -> Result<(), DeployError> {
    if Arc::ptr_eq(now, expected) {
        return Ok(());
    }
    let other = now.services().iter().find(|(name, served)| {
        expected.services().get(*name).is_none_or(|expected| !Arc::ptr_eq(&expected.revision, &served.revision))
    });
    let (service, active) =
        other.map(|(name, served)| (name.to_string(), served.revision.digest().to_owned())).unwrap_or_default();
    Err(DeployError::Changed { service, active })
}
