//! For development: deploys a component whenever its file has changed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use super::{DeployError, Deployer, Order, signed};
use crate::signature;

/// How often the files are looked at. A look is one system call a service.
const LOOK: Duration = Duration::from_millis(200);

/// When a file was changed, and its length.
type Stamp = (SystemTime, u64);

fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

impl Deployer {
    /// Looks at the components' files from now on, until the host ends. A file that changed is deployed once it has been left
    /// alone from one look to the next; one that does not pass leaves the old revision serving, and the log says why. What found the
    /// host too busy is tried again.
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

    /// Says loudly that a revision was reverted, if this host follows files: who just built it looks at a terminal, not for a line
    /// of the log, and must not take the old revision for the new one.
    pub(super) fn announce_revert(&self, service: &str, from: &str, to: &str, reason: &str) {
        if !self.follows_files.load(Ordering::Relaxed) {
            return;
        }
        let file = self.manifest.services[service].component.display();
        tracing::error!(
            service,
            from,
            to,
            "{service}: REVERTED. Your last build, {from}, serves no more; {to} serves again.\n  \
             why:  {reason}\n  \
             next: correct the component and build it again: it is deployed when its file changes.\n        \
             To serve {from} as it is: comptoir deploy {service} {file} --force"
        );
    }

    /// When each component's file was changed, and its length; and the same of its signature, which may come later.
    fn stamps(&self) -> BTreeMap<String, (Stamp, Option<Stamp>)> {
        let signed = |file: &Path| Some((stamp(file)?, stamp(&signature::beside(file))));
        let files = self.manifest.services.iter();
        files.filter_map(|(name, service)| Some((name.clone(), signed(&service.component)?))).collect()
    }

    /// Whether that is done, with whatever end, and needs no other try.
    async fn deploy_file(self: &Arc<Self>, name: &str) -> bool {
        let file = &self.manifest.services[name].component;
        let Ok(bytes) = tokio::fs::read(file).await else { return true };
        let signature = match signed::beside(file) {
            Ok(signature) => signature,
            Err(error) => {
                tracing::error!(service = name, error, "the old revision goes on serving");
                return true;
            }
        };
        // What a developer builds again after it was taken back is meant to be tried again.
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
                tracing::info!(service = name, revision = &report.to[..12], "the new component serves");
            }
            Ok(_) => {}
            Err(error @ (DeployError::Crowded(_) | DeployError::Busy(_))) => {
                tracing::warn!(service = name, %error, "the old revision goes on serving until the next try");
                return false;
            }
            Err(error) => tracing::error!(service = name, %error, "the old revision goes on serving"),
        }
        true
    }
}
