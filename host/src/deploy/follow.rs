//! Development: deploys the file of a component, also whenever it changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::digest::sha256;
use super::{DeployError, Deployer, Order, Refused, Report, Step, signed};
use crate::signature;

/// How often the files are checked. Costs two system calls for each service.
const LOOK: Duration = Duration::from_millis(200);

/// A file's modification time and length.
type Stamp = (SystemTime, u64);

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

impl Deployer {
    /// Watches the components' files until the host stops. Deploys a changed file once it stayed the same between two checks.
    ///
    /// If the host refuses the component, the old revision keeps serving and the log says why. If the host is too busy, it tries again.
    pub fn follow_files(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        let mut deployed = self.stamps();
        let mut before = deployed.clone();
        async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let now = self.stamps();
                for (name, stamp) in &now {
                    let is_new = deployed.get(name) != Some(stamp) && before.get(name) == Some(stamp);
                    if is_new && self.follow_file(name).await {
                        deployed.insert(name.clone(), *stamp);
                    }
                }
                before = now;
            }
        }
    }

    /// Serves a developer from now on: compiles on all cores, and announces reverts loudly.
    pub fn begin_development(&self) {
        self.is_development.store(true, Ordering::Relaxed);
    }

    /// Announces a revert, in development. A developer who just built the component watches the terminal, and must not mistake the old
    /// revision for the new one.
    pub(super) fn announce_revert(&self, service: &str, from: &str, to: &str, reason: &str) {
        if !self.is_development.load(Ordering::Relaxed) {
            return;
        }
        let setup = self.setup();
        let Some(table) = setup.manifest.services.get(service) else { return };
        let file = table.component.display();
        let line = "!".repeat(100);
        tracing::warn!(
            service,
            from,
            to,
            "{service}: REVERTED\n{line}\n  \
             {service}: your last build {from} was REVERTED. The revision before it, {to}, is active again.\n  \
             why:  {reason}\n  \
             next: fix the component and build it again. The host deploys it when its file changes.\n        \
             To activate {from} anyway: comptoir deploy {service} {file} --force\n{line}"
        );
    }

    /// The stamp of each component's file, and of its signature file, which may be written later.
    fn stamps(&self) -> BTreeMap<String, (Stamp, Option<Stamp>)> {
        let signed = |file: &Path| Some((stamp(file)?, stamp(&signature::beside(file))));
        let setup = self.setup();
        let files = setup.manifest.services.iter();
        files.filter_map(|(name, service)| Some((name.clone(), signed(&service.component)?))).collect()
    }

    /// Deploys the component's file that the manifest names for a service.
    ///
    /// `force` deploys it even if the host has already reverted this component.
    ///
    /// # Errors
    /// The old revision keeps serving.
    pub async fn deploy_file(self: &Arc<Self>, name: &str, force: bool) -> Result<Report, DeployError> {
        let bytes = self.read_file(name).await?.to_vec();
        let refuse = |reason| Refused { service: name.to_owned(), step: Step::Verified, reason };
        let signature = signed::beside(&self.component(name)?).map_err(refuse)?;
        let reason = "its file changed".to_owned();
        let order = Order { service: name.to_owned(), bytes, signature, force, reason, ..Order::default() };
        self.deploy(order).await
    }

    /// Whether the component's file that the manifest names for a service is its active revision.
    ///
    /// # Errors
    /// The file cannot be read, or the manifest does not name this service.
    pub async fn is_file_active(&self, name: &str) -> Result<bool, DeployError> {
        let digest = sha256(&self.read_file(name).await?);
        Ok(self.served(name).is_some_and(|served| served.revision.digest() == digest))
    }

    async fn read_file(&self, name: &str) -> Result<Arc<[u8]>, DeployError> {
        self.lane(name)?;
        Ok(self.read_again(name).await?)
    }

    fn component(&self, name: &str) -> Result<PathBuf, DeployError> {
        let setup = self.setup();
        let service = setup.manifest.services.get(name);
        service.map(|service| service.component.clone()).ok_or_else(|| DeployError::UnknownService(name.to_owned()))
    }

    /// Deploys a changed file. False if the host was too busy and must try again.
    async fn follow_file(self: &Arc<Self>, name: &str) -> bool {
        // Forced, because a developer who builds a reverted component again wants to try it again.
        match self.deploy_file(name, true).await {
            Ok(_) => {}
            Err(error @ (DeployError::Crowded(_) | DeployError::Busy(_))) => {
                tracing::warn!(service = name, %error, "{name}: the deploy will be tried again, the old revision keeps serving");
                return false;
            }
            Err(error) => {
                tracing::error!(service = name, %error, "{name}: the deploy was refused, the old revision keeps serving");
            }
        }
        true
    }
}
