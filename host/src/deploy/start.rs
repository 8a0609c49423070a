//! The start: activates the revisions that were active last, or components of the manifest that are new.
//!
//! A broken component does not keep other services from starting. If a service's active revision cannot start, the host falls back to an
//! earlier one (`fallback`). If no revision can start, the service is vacant: its paths answer 503. In two cases the start fails:
//!
//! - At a first start one component is broken. No caller depends on the host yet, and the operator is there to correct the mistake.
//! - No service can serve. A running host would only hide that.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::deployment::Vacancy;
use super::digest::sha256;
use super::record::{Action, Activation, Attempt, Change, Watched};
use super::report::{DeployError, Refused, Step, Steps, shortened};
use super::watch::{self, Watch};
use super::{Deployer, Served, precheck};
use futures::future::join_all;

/// The revision that a service starts with.
pub(super) struct Start {
    pub(super) served: Served,
    /// The history line to write. None if the revision was active before.
    pub(super) attempt: Option<Attempt>,
    /// A note for the operator, such as why an earlier revision serves.
    pub(super) note: Option<String>,
}

/// The revision that each service starts with, or why it cannot start.
pub(super) type Starts = BTreeMap<String, Result<Start, DeployError>>;

impl Deployer {
    /// Starts every service with its last active revision, or with the manifest's component if that is new.
    ///
    /// # Errors
    /// At a first start: a service cannot start. Later: no service can start, or the record cannot be used.
    pub async fn start_all(self: &Arc<Self>) -> Result<(), DeployError> {
        let setup = self.setup();
        let names: Vec<&String> = setup.manifest.services.keys().collect();
        let active: Vec<_> = names.iter().map(|name| self.record.active(name)).collect::<Result<_, _>>()?;
        let is_first = active.iter().all(Option::is_none);
        let started = join_all(names.iter().map(|name| self.start_or_fall_back(name))).await;
        let mut starts: Starts = names.iter().map(|name| (*name).clone()).zip(started).collect();
        if !is_first {
            self.fall_back_together(&mut starts).await?;
            self.settle_collisions(&mut starts).await?;
        }
        let one_serves = starts.values().any(Result::is_ok);
        let is_refused = |error: &DeployError| is_first || !one_serves || matches!(error, DeployError::Record(_));
        let refused = starts.iter().find(|(_, start)| start.as_ref().is_err_and(is_refused));
        if let Some(Err(error)) = refused.map(|(name, _)| name.clone()).and_then(|name| starts.remove(&name)) {
            return Err(error);
        }
        self.serve_all(starts).await?;
        self.watch_canary();
        self.watch_all_again().await?;
        self.prune().await;
        Ok(())
    }

    /// Records the revision that each service starts with, and moves the pointer.
    async fn serve_all(&self, starts: Starts) -> Result<(), DeployError> {
        let (mut services, mut vacant, mut change) = (BTreeMap::new(), BTreeMap::new(), Change::default());
        for (name, start) in starts {
            match start {
                Ok(Start { served, attempt, note }) => {
                    if let Some(attempt) = attempt {
                        let line = self.record.begin(&attempt)?;
                        let Attempt { service, from: before, to: digest, .. } = attempt;
                        change.activated.push(Activation { line, service, digest, before, together: None });
                    }
                    self.notes().extend(note.map(|note| (name.clone(), note)));
                    services.insert(Arc::from(name), served);
                }
                Err(error) => {
                    let reason = shortened(&error.to_string());
                    tracing::error!(service = name, reason, "{name}: no revision can start, its paths answer 503");
                    self.note_refused(&name, self.record.active(&name)?.as_deref().unwrap_or_default(), &reason)?;
                    let mounts = self.setup().manifest.services[&name].mounts.clone();
                    vacant.insert(Arc::from(name), Vacancy { mounts, reason });
                }
            }
        }
        let serving = self.with_last_canary(services, vacant, &mut change).await?;
        self.record.commit(&change)?;
        self.current.store(Arc::new(serving));
        Ok(())
    }

    /// Resumes the watch of revisions that became active shortly before the host stopped. A set is watched as a whole.
    async fn watch_all_again(self: &Arc<Self>) -> Result<(), DeployError> {
        for set in self.record.watched()? {
            let mut changes = Vec::new();
            for Watched { service, line, before } in &set {
                let Some(new) = self.served(service) else { continue };
                match self.stage_previous(service, before).await {
                    Ok(old) => changes.push((*line, new, old)),
                    Err(error) => {
                        tracing::warn!(service, %error, "{service}: the watch of the new revision was not resumed, because the previous revision cannot start");
                    }
                }
            }
            // If a set cannot be reverted as a whole, it is not watched: its parts were never deployed separately.
            if changes.len() < set.len() || changes.is_empty() {
                continue;
            }
            for (line, new, old) in &changes {
                let name = new.revision.service();
                let state = self.lane(name)?.state;
                state.line.store(*line, Ordering::Relaxed);
                state.kept().push_front(old.clone());
            }
            tokio::spawn(watch::run(self.clone(), Watch::active(changes, self.setup().manifest.deploy.watch)));
        }
        Ok(())
    }

    async fn stage_previous(&self, name: &str, digest: &str) -> Result<Served, DeployError> {
        self.lane(name)?;
        let bytes = self.record.load(digest).ok_or_else(|| gone(name, digest))?;
        self.stage(name, &bytes.into(), digest, &mut Steps::default()).await
    }

    /// Stages the revision that a service starts with.
    pub(super) async fn start(&self, name: &str) -> Result<Start, DeployError> {
        let setup = self.setup();
        let file = &setup.manifest.services[name].component;
        let active = self.record.active(name)?;
        let shipped = self.read(name, file);
        let Some(active) = active else {
            let bytes = shipped?;
            self.take_signature_beside(name, &bytes).await?;
            let served = self.stage(name, &bytes, &file.display().to_string(), &mut Steps::default()).await?;
            self.migrate(&served, false).await?;
            self.store(&served).await?;
            let attempt = self.attempt(name, Action::Start, None, served.revision.digest(), "the first start");
            return Ok(Start { served, attempt: Some(attempt), note: None });
        };
        if let Err(error) = &shipped {
            tracing::warn!(service = name, %error, revision = &active[..12], "{name}: cannot read the manifest's component, starting with the active revision");
        }
        let mut note = None;
        // The operator wants to run a file that the history does not know, or knows only as refused: it is new, or was fixed since.
        if let Ok(bytes) = &shipped {
            let digest = sha256(bytes);
            if self.record.knows(name, &digest)? {
                note = self.inactive_file(name, &digest, &active)?;
            } else {
                self.record_texts_of_active(name, &active).await?;
                match self.start_newer(name, bytes, &file.display().to_string()).await {
                    Ok(served) => {
                        let reason = "the manifest's component is new";
                        let attempt = self.attempt(name, Action::Start, Some(active), served.revision.digest(), reason);
                        return Ok(Start { served, attempt: Some(attempt), note: None });
                    }
                    Err(error) => {
                        tracing::error!(service = name, %error, "{name}: the manifest's new component cannot serve, starting with the active revision");
                        let reason = shortened(&error.to_string());
                        self.note_refused(name, &digest, &reason)?;
                        note = Some(format!("the component in {} is not active: {reason}", file.display()));
                    }
                }
            }
        }
        let shipped = shipped.ok().filter(|bytes| sha256(bytes) == active);
        let served = self.start_again(name, &active, shipped).await?;
        Ok(Start { served, attempt: None, note })
    }

    /// Stages the active revision. `shipped` is the content of the manifest's file, if that is the same component.
    pub(super) async fn start_again(
        &self,
        name: &str,
        active: &str,
        shipped: Option<Arc<[u8]>>,
    ) -> Result<Served, DeployError> {
        self.sign_active(name, active, shipped.is_some()).await?;
        let stored = self.record.load(active).map(Arc::from);
        let is_stored = stored.is_some();
        let bytes: Arc<[u8]> = stored.or(shipped).ok_or_else(|| gone(name, active))?;
        let served = self.stage(name, &bytes, active, &mut Steps::default()).await?;
        self.migrate(&served, true).await?;
        if !is_stored {
            self.store(&served).await?;
        }
        Ok(served)
    }

    pub(super) async fn start_newer(&self, name: &str, bytes: &Arc<[u8]>, origin: &str) -> Result<Served, DeployError> {
        self.take_signature_beside(name, bytes).await?;
        let served = self.stage(name, bytes, origin, &mut Steps::default()).await?;
        self.check_migration_texts(&served).await?;
        self.migrate(&served, true).await?;
        self.probe(&served).await?;
        self.store(&served).await?;
        Ok(served)
    }

    /// Blocks on the disk, which is fine here: the host does not serve yet.
    fn read(&self, name: &str, file: &Path) -> Result<Arc<[u8]>, Refused> {
        precheck::read(&self.setup().manifest, name, file).map(Arc::from)
    }
}

fn gone(name: &str, digest: &str) -> Refused {
    let reason = format!("its component {digest} is missing from the data folder, and the manifest names no new one");
    Refused { service: name.to_owned(), step: Step::Received, reason }
}
