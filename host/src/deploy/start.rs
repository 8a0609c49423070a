//! What a host starts with: the revisions that served last, or the components that the manifest names where those are new.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sha2::{Digest as _, Sha256};

use super::record::{Action, Activation, Change, Entry};
use super::report::{DeployError, Refused, Step, Steps};
use super::serving::Serving;
use super::watch::{self, Probation};
use super::{Deployer, Served, hex};

impl Deployer {
    /// Activates for every service what served last, or the component that the manifest names where that is new.
    ///
    /// # Errors
    /// The first service for which nothing can serve. Then none does.
    pub async fn start_all(self: &Arc<Self>) -> Result<(), DeployError> {
        let names: Vec<&String> = self.manifest.services.keys().collect();
        let staged = futures::future::try_join_all(names.iter().map(|name| self.start(name))).await?;
        let mut services = BTreeMap::new();
        let mut change = Change::default();
        for (name, (served, entry)) in names.iter().zip(staged) {
            if let Some(entry) = entry {
                let line = self.record.begin(&entry)?;
                let Entry { service, from: before, to: digest, .. } = entry;
                change.activated.push(Activation { line, service, digest, before });
            }
            services.insert(Arc::from(name.as_str()), served);
        }
        let rollout = self.last_canary(&mut change).await?;
        let serving = Serving::new(services, rollout).map_err(|conflict| Refused {
            service: conflict.service().unwrap_or("*").to_owned(),
            step: Step::Active,
            reason: conflict.to_string(),
        })?;
        self.record.commit(&change)?;
        self.current.store(Arc::new(serving));
        self.watch_canary();
        for name in names {
            self.watch_again(name).await?;
        }
        self.prune().await;
        Ok(())
    }

    /// Goes on watching what was put in charge shortly before the host ended.
    async fn watch_again(self: &Arc<Self>, name: &str) -> Result<(), DeployError> {
        let Some((line, before)) = self.record.on_probation(name)? else { return Ok(()) };
        let (Some(new), Some(bytes)) = (self.served(name), self.record.load(&before)) else { return Ok(()) };
        let old = match self.stage(name, &bytes.into(), &before, &mut Steps::default()).await {
            Ok(old) => old,
            Err(error) => {
                tracing::warn!(service = name, %error, "the new revision is not watched any more: there is no way back from it");
                return Ok(());
            }
        };
        self.lanes[name].line.store(line, Ordering::Relaxed);
        self.kept(name).push_front(old.clone());
        let probation = Probation::in_charge(vec![(line, new, old)], self.manifest.deploy.watch);
        tokio::spawn(watch::run(self.clone(), probation));
        Ok(())
    }

    /// Stages what a service starts with, and the line of the history that it makes if it was not active before.
    async fn start(&self, name: &str) -> Result<(Served, Option<Entry>), DeployError> {
        let file = &self.manifest.services[name].component;
        let active = self.record.active(name)?;
        let shipped = self.read(name, file).await;
        let Some(active) = active else {
            let bytes = shipped?;
            self.take_signature_beside(name, &bytes).await?;
            let served = self.stage(name, &bytes, &file.display().to_string(), &mut Steps::default()).await?;
            self.migrate(&served, false).await?;
            self.store(&served).await?;
            let entry = self.entry(name, Action::Start, None, served.revision.digest(), "the first start");
            return Ok((served, Some(entry)));
        };
        if let Err(error) = &shipped {
            tracing::warn!(service = name, %error, revision = &active[..12], "the revision that served last serves again");
        }
        // A file that the history does not know, or only as refused, was built or mended since: it is what the operator wants to run.
        if let Ok(bytes) = &shipped
            && !self.record.knows(name, &hex(&Sha256::digest(bytes)))?
        {
            self.note_texts_of(name, &active).await?;
            match self.start_newer(name, bytes, &file.display().to_string()).await {
                Ok(served) => {
                    let reason = "the manifest's component is new";
                    let entry = self.entry(name, Action::Start, Some(active), served.revision.digest(), reason);
                    return Ok((served, Some(entry)));
                }
                Err(error) => {
                    tracing::error!(service = name, %error, "a new component was not taken: the one that served last goes on");
                }
            }
        }
        let gone = || Refused {
            service: name.to_owned(),
            step: Step::Received,
            reason: format!(
                "its component {active} is not in the data folder any more, and the manifest names no new one"
            ),
        };
        let shipped = shipped.ok().filter(|bytes| hex(&Sha256::digest(bytes)) == active);
        self.sign_active(name, &active, shipped.is_some()).await?;
        let stored = self.record.load(&active).map(Arc::from);
        let is_stored = stored.is_some();
        let bytes: Arc<[u8]> = stored.or(shipped).ok_or_else(gone)?;
        let served = self.stage(name, &bytes, &active, &mut Steps::default()).await?;
        self.migrate(&served, true).await?;
        if !is_stored {
            self.store(&served).await?;
        }
        Ok((served, None))
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

    async fn read(&self, name: &str, file: &Path) -> Result<Arc<[u8]>, Refused> {
        let shown = file.display();
        let refuse = |reason: String| Refused { service: name.to_owned(), step: Step::Received, reason };
        let missing = |error: std::io::Error| {
            refuse(format!("cannot read {shown}: {error}. Build the components with `just build`"))
        };
        let length = tokio::fs::metadata(file).await.map_err(missing)?.len();
        let limit = self.manifest.deploy.component;
        if length > limit.as_u64() {
            return Err(refuse(format!("{shown} has {length} bytes, more than the limit of {limit}")));
        }
        Ok(tokio::fs::read(file).await.map_err(missing)?.into())
    }
}
