//! Development mode: deploys a component whenever its file changes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::{DeployError, Deployer, Order, signed};
use crate::manifest::Service;
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
        self.follows_files.store(true, Ordering::Relaxed);
        let mut deployed = self.stamps();
        let mut before = deployed.clone();
        async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let now = self.stamps();
                for (name, stamp) in &now {
                    let is_new = deployed.get(name) != Some(stamp) && before.get(name) == Some(stamp);
                    if is_new && self.deploy_file(name).await {
                        deployed.insert(name.clone(), *stamp);
                    }
                }
                before = now;
            }
        }
    }

    /// Announces a revert loudly, if this host follows files. A developer who just built the component watches the terminal, and must not
    /// mistake the old revision for the new one.
    pub(super) fn announce_revert(&self, service: &str, from: &str, to: &str, reason: &str) {
        if !self.follows_files.load(Ordering::Relaxed) {
            return;
        }
        let setup = self.setup();
        let Some(table) = setup.manifest.services.get(service) else { return };
        let file = table.component.display();
        tracing::error!(
            service,
            from,
            to,
            "{service}: REVERTED. Your last build {from} is not active any more; {to} is active again.\n  \
             why:  {reason}\n  \
             next: fix the component and build it again. The host deploys it when its file changes.\n        \
             To activate {from} anyway: comptoir deploy {service} {file} --force"
        );
    }

    /// The stamp of each component's file, and of its signature file, which may be written later.
    fn stamps(&self) -> BTreeMap<String, (Stamp, Option<Stamp>)> {
        let signed = |file: &Path| Some((stamp(file)?, stamp(&signature::beside(file))));
        let setup = self.setup();
        let files = setup.manifest.services.iter();
        files.filter_map(|(name, service)| Some((name.clone(), signed(&service.component)?))).collect()
    }

    /// Deploys the component of a service. False if the host was too busy and must try again.
    async fn deploy_file(self: &Arc<Self>, name: &str) -> bool {
        let setup = self.setup();
        let Some(Service { component: file, .. }) = setup.manifest.services.get(name) else { return true };
        let Ok(bytes) = tokio::fs::read(file).await else { return true };
        let signature = match signed::beside(file) {
            Ok(signature) => signature,
            Err(error) => {
                tracing::error!(
                    service = name,
                    error,
                    "{name}: cannot read the signature, the old revision keeps serving"
                );
                return true;
            }
        };
        // Forced, because a developer who builds a reverted component again wants to try it again.
        let order = Order {
            service: name.to_owned(),
            bytes,
            signature,
            force: true,
            reason: "its file changed".to_owned(),
            ..Order::default()
        };
        match self.deploy(order).await {
            Ok(report) if report.changed => {
                tracing::info!(service = name, revision = &report.to[..12], "{name}: deployed the changed component");
            }
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
