//! What a host starts with: the revisions that served last, or the components that the manifest names where those are new.
//!
//! One component does not keep the others from serving. A service whose active revision cannot start falls back to an earlier one
//! (`fallback`), and one that has none is vacant: its paths answer 503. There are two exceptions, in which the start is refused:
//!
//! - At a first start nothing served before, so nobody is cut off, and a broken component is the operator's mistake of this moment.
//! - If no service can serve, a host that starts would only hide that.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::join_all;
use sha2::{Digest as _, Sha256};

use super::deployment::Vacancy;
use super::fallback::shortened;
use super::record::{Action, Activation, Change, Entry, OnProbation};
use super::report::{DeployError, Refused, Step, Steps};
use super::watch::{self, Probation};
use super::{Deployer, Served, hex, precheck};

/// What one service starts with.
pub(super) struct Start {
    pub(super) served: Served,
    /// The line of the history that it makes, if it was not active before.
    pub(super) entry: Option<Entry>,
    /// What an operator should know of it.
    pub(super) note: Option<String>,
}

/// What each service starts with, or why it cannot.
pub(super) type Starts = BTreeMap<String, Result<Start, DeployError>>;

impl Deployer {
    /// Activates for every service what served last, or the component that the manifest names where that is new.
    ///
    /// # Errors
    /// At a first start, the first service that cannot serve. Later, only that no service can, or that the record cannot be used.
    pub async fn start_all(self: &Arc<Self>) -> Result<(), DeployError> {
        let names: Vec<&String> = self.manifest.services.keys().collect();
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

    /// Writes down what each service starts with, and moves the pointer.
    async fn serve_all(&self, starts: Starts) -> Result<(), DeployError> {
        let (mut services, mut vacant, mut change) = (BTreeMap::new(), BTreeMap::new(), Change::default());
        for (name, start) in starts {
            match start {
                Ok(Start { served, entry, note }) => {
                    if let Some(entry) = entry {
                        let line = self.record.begin(&entry)?;
                        let Entry { service, from: before, to: digest, .. } = entry;
                        change.activated.push(Activation { line, service, digest, before, together: None });
                    }
                    self.notes().extend(note.map(|note| (name.clone(), note)));
                    services.insert(Arc::from(name), served);
                }
                Err(error) => {
                    let reason = shortened(&error.to_string());
                    tracing::error!(service = name, reason, "no revision can serve: its paths are answered with 503");
                    self.note_refused(&name, self.record.active(&name)?.as_deref().unwrap_or_default(), &reason)?;
                    let mounts = self.manifest.services[&name].mounts.clone();
                    vacant.insert(Arc::from(name), Vacancy { mounts, reason });
                }
            }
        }
        let serving = self.with_last_canary(services, vacant, &mut change).await?;
        self.record.commit(&change)?;
        self.current.store(Arc::new(serving));
        Ok(())
    }

    /// Goes on watching what was activated shortly before the host ended: sets as a whole.
    async fn watch_all_again(self: &Arc<Self>) -> Result<(), DeployError> {
        for set in self.record.on_probation()? {
            let mut changes = Vec::new();
            for OnProbation { service, line, before } in &set {
                let Some(new) = self.served(service) else { continue };
                match self.way_back(service, before).await {
                    Ok(old) => changes.push((*line, new, old)),
                    Err(error) => {
                        tracing::warn!(service, %error, "the new revision is not watched any more: there is no way back from it");
                    }
                }
            }
            // Of a set that cannot be reverted as a whole, nothing is: a part of it was never deployed alone.
            if changes.len() < set.len() || changes.is_empty() {
                continue;
            }
            for (line, new, old) in &changes {
                let name = new.revision.service();
                self.lanes[name].line.store(*line, Ordering::Relaxed);
                self.kept(name).push_front(old.clone());
            }
            tokio::spawn(watch::run(self.clone(), Probation::in_charge(changes, self.manifest.deploy.watch)));
        }
        Ok(())
    }

    async fn way_back(&self, name: &str, digest: &str) -> Result<Served, DeployError> {
        self.lane(name)?;
        let bytes = self.record.load(digest).ok_or_else(|| gone(name, digest))?;
        self.stage(name, &bytes.into(), digest, &mut Steps::default()).await
    }

    /// Stages what a service starts with.
    pub(super) async fn start(&self, name: &str) -> Result<Start, DeployError> {
        let file = &self.manifest.services[name].component;
        let active = self.record.active(name)?;
        let shipped = self.read(name, file);
        let Some(active) = active else {
            let bytes = shipped?;
            self.take_signature_beside(name, &bytes).await?;
            let served = self.stage(name, &bytes, &file.display().to_string(), &mut Steps::default()).await?;
            self.migrate(&served, false).await?;
            self.store(&served).await?;
            let entry = self.entry(name, Action::Start, None, served.revision.digest(), "the first start");
            return Ok(Start { served, entry: Some(entry), note: None });
        };
        if let Err(error) = &shipped {
            tracing::warn!(service = name, %error, revision = &active[..12], "the revision that served last serves again");
        }
        let mut note = None;
        // A file that the history does not know, or only as refused, was built or mended since: it is what the operator wants to run.
        if let Ok(bytes) = &shipped {
            let digest = hex(&Sha256::digest(bytes));
            if self.record.knows(name, &digest)? {
                note = self.inactive_file(name, &digest, &active)?;
            } else {
                self.note_texts_of(name, &active).await?;
                match self.start_newer(name, bytes, &file.display().to_string()).await {
                    Ok(served) => {
                        let reason = "the manifest's component is new";
                        let entry = self.entry(name, Action::Start, Some(active), served.revision.digest(), reason);
                        return Ok(Start { served, entry: Some(entry), note: None });
                    }
                    Err(error) => {
                        tracing::error!(service = name, %error, "a new component was not taken: the one that served last goes on");
                        let reason = shortened(&error.to_string());
                        self.note_refused(name, &digest, &reason)?;
                        note = Some(format!("the component in {} is not active: {reason}", file.display()));
                    }
                }
            }
        }
        let shipped = shipped.ok().filter(|bytes| hex(&Sha256::digest(bytes)) == active);
        let served = self.start_again(name, &active, shipped).await?;
        Ok(Start { served, entry: None, note })
    }

    /// Stages the active revision. `shipped` is the manifest's file, if that is the same component.
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

    async fn start_newer(&self, name: &str, bytes: &Arc<[u8]>, origin: &str) -> Result<Served, DeployError> {
        self.take_signature_beside(name, bytes).await?;
        let served = self.stage(name, bytes, origin, &mut Steps::default()).await?;
        self.fits_texts(&served).await?;
        self.migrate(&served, true).await?;
        self.probe(&served).await?;
        self.store(&served).await?;
        Ok(served)
    }

    /// Blocks on the disk: nobody is served yet.
    fn read(&self, name: &str, file: &Path) -> Result<Arc<[u8]>, Refused> {
        precheck::read(&self.manifest, name, file).map(Arc::from)
    }
}

fn gone(name: &str, digest: &str) -> Refused {
    let reason =
        format!("its component {digest} is not in the data folder any more, and the manifest names no new one");
    Refused { service: name.to_owned(), step: Step::Received, reason }
}
