//! Reloads: reads the manifest again and applies what changed, all of it or nothing.
//!
//! A reload has three parts. The first does everything that can fail. It checks the manifest and what it names, binds ports and
//! opens databases. It prepares every changed service up to its probes, and checks the operator's login. The second is one switch
//! of the deployer. The third cannot fail: it changes the rules of the gateway, the limits of clients and the listeners.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use storage::folder::DataFolder;
use tokio::sync::mpsc;

use super::databases::Closing;
use super::listeners::Listeners;
use super::surroundings::Surroundings;
use super::{Addresses, databases, operator, reserved_instances};
use crate::admin::{Admin, Listening, ReloadOrder};
use crate::clock::Clock;
use crate::deploy::{DeployError, Deployer, Opened, Record, ReloadError, Reloaded, Storages};
use crate::gateway::Hosts;
use crate::manifest::{Changes, Manifest, ManifestError, Reuse};
use crate::telemetry::Metrics;

/// How a reload reads the manifest.
#[derive(Clone)]
pub struct ManifestSource(Arc<dyn Fn() -> Result<Manifest, ManifestError> + Send + Sync>);

impl ManifestSource {
    /// Calls this function for each reload.
    pub fn new(read: impl Fn() -> Result<Manifest, ManifestError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Reads the manifest.
    ///
    /// # Errors
    /// All faults of its text.
    pub fn read(&self) -> Result<Manifest, ManifestError> {
        (self.0)()
    }

    /// Reads the manifest's file.
    pub(super) fn of_file(file: &Path) -> Self {
        let file = file.to_owned();
        Self::new(move || Manifest::read(&file))
    }
}

impl fmt::Debug for ManifestSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ManifestSource")
    }
}

/// Performs the reloads of a host, one after the other.
pub(super) struct Reloader {
    pub(super) source: ManifestSource,
    /// Gone when the host has stopped.
    pub(super) folder: Weak<DataFolder>,
    pub(super) clock: Clock,
    pub(super) record: Record,
    pub(super) deployer: Arc<Deployer>,
    pub(super) admin: Arc<Admin>,
    pub(super) listeners: Listeners,
    pub(super) addresses: Arc<ArcSwap<Addresses>>,
    pub(super) metrics: Arc<Metrics>,
    /// The instances for which address space was reserved at the start.
    pub(super) instances: u32,
    /// Databases of services that have none any more. The last request that uses one closes it.
    pub(super) closing: Closing,
}

impl Reloader {
    /// Performs these orders, one after the other. Ends when all senders of orders are dropped.
    pub(super) async fn run(mut self, mut orders: mpsc::Receiver<ReloadOrder>) {
        while let Some(order) = orders.recv().await {
            let reloaded = self.reload(order.only_check).await;
            match &reloaded {
                Ok(reloaded) if reloaded.applied => {
                    tracing::info!("reloaded the manifest: {}", in_words(&reloaded.changes));
                }
                Ok(_) => {}
                Err(error) => {
                    // A refused reload may have opened a closing listener again.
                    self.listeners.drain(self.deployer.manifest().listeners.shutdown_time);
                    tracing::error!(%error, "refused to reload the manifest, nothing has changed");
                }
            }
            if !order.only_check {
                self.metrics.reloads.count(reloaded.is_ok());
            }
            order.answer(reloaded);
        }
    }

    async fn reload(&mut self, only_check: bool) -> Result<Reloaded, ReloadError> {
        let (current, next) = (self.deployer.manifest(), self.source.read().map_err(ReloadError::Manifest)?);
        let folder = self.folder.upgrade().ok_or(DeployError::Stopping)?;
        let changes = current.changes(&next);
        self.check_unchangeable(&current, &next)?;
        let Surroundings { tls, outbounds, secrets, bound } =
            self.check_surroundings(&next, folder.path().to_owned()).await?;
        let addresses = bound.addresses(if tls.is_some() { "https" } else { "http" });
        let reloaded = |revisions, addresses: &Addresses| Reloaded {
            applied: !only_check,
            changes,
            revisions,
            listeners: addresses.by_name(),
        };
        if only_check {
            self.listeners.drain(current.listeners.shutdown_time);
            return Ok(reloaded(Vec::new(), &addresses));
        }
        let before = self.deployer.storages();
        let opened = databases::open_missing(&next, &folder, &before, &self.closing).await.map_err(unusable)?;
        let opened = Opened { outbounds, secrets, ..opened };
        let prepared = self.deployer.prepare_reload(next.clone(), opened).await?;
        let listening = bound.listen().map_err(unusable)?;
        if let Some(operator) = &next.operator {
            let checked = operator::check(
                &self.listeners.gateway,
                prepared.deployment(),
                operator,
                &addresses,
                None,
                &self.record,
            );
            checked.await.map_err(unusable)?;
        }
        let revisions = self.deployer.commit_reload(prepared).await?;
        self.listeners.gateway.set_rules(&next);
        self.admin.set_listening(Listening { address: addresses.admin, hosts: Hosts::new(&next.listeners.hosts) });
        self.listeners.connections.set_limits(&next.listeners);
        self.listeners.operators.set_times(&next.listeners);
        self.listeners.change(listening, tls.as_ref(), next.listeners.shutdown_time);
        if let Err(error) = addresses.publish(folder.path()) {
            tracing::error!(%error, "cannot write the new address of the admin listener into the data folder: pass it with --admin");
        }
        self.addresses.store(Arc::new(addresses.clone()));
        self.note_closing(before);
        Ok(reloaded(revisions, &addresses))
    }

    /// Refuses changes that only a start can apply.
    fn check_unchangeable(&self, current: &Manifest, next: &Manifest) -> Result<(), ReloadError> {
        let mut faults = current.unchangeable(next);
        if reserved_instances(next) > self.instances {
            let reuses = next.services.iter().filter(|(_, service)| service.reuse != Reuse::Never);
            faults.extend(reuses.filter(|(name, _)| reuse(current, name) == Reuse::Never).map(|(name, _)| {
                let key = format!("services.{name}.reuse");
                let message = format!(
                    "{key} needs more instances than the host reserved when it started: restart to change it, or remove it"
                );
                next.source.fault(&key, message)
            }));
        }
        if faults.is_empty() { Ok(()) } else { Err(ReloadError::Unchangeable(next.source.refuse(faults))) }
    }

    /// Checks what the manifest names, and binds its new ports. Runs on a blocking thread, because it reads every component.
    async fn check_surroundings(&self, next: &Manifest, data: PathBuf) -> Result<Surroundings, ReloadError> {
        let (next, record, clock, open) = (next.clone(), self.record.clone(), self.clock.clone(), self.listeners.all());
        let checked =
            tokio::task::spawn_blocking(move || Surroundings::open(&next, &data, &record, &clock, &open)).await;
        checked.map_err(|_| DeployError::Stopping)?.map_err(ReloadError::Manifest)
    }

    /// Remembers the databases that no service has any more. If the service comes back before the last request has closed its
    /// database, it gets the same one. Two open ones would not see each other's changes.
    fn note_closing(&mut self, before: Storages) {
        self.closing.retain(|_, storage| storage.strong_count() > 0);
        let open = self.deployer.storages();
        let closing = before.into_iter().filter(|(name, _)| !open.contains_key(name));
        self.closing.extend(closing.map(|(name, storage)| (name, Arc::downgrade(&storage))));
    }
}

fn reuse(manifest: &Manifest, name: &str) -> Reuse {
    manifest.services.get(name).map(|service| service.reuse).unwrap_or_default()
}

fn unusable(error: impl Into<anyhow::Error>) -> ReloadError {
    ReloadError::Unusable(format!("{:#}", error.into()))
}

/// The changes in one line.
fn in_words(changes: &Changes) -> String {
    if changes.is_empty() {
        return "it says the same as before".to_owned();
    }
    let changed = changes.changed.iter().map(|(name, keys)| format!("{name} ({})", keys.join(", ")));
    let parts = [
        ("added", changes.added.clone()),
        ("removed", changes.removed.clone()),
        ("changed", changed.chain(changes.keys.iter().cloned()).collect()),
    ];
    let parts = parts.into_iter().filter(|(_, names)| !names.is_empty());
    parts.map(|(what, names)| format!("{what} {}", names.join(", "))).collect::<Vec<_>>().join("; ")
}
