//! A host from start to shutdown: what is built, in which order, and how it stops.
//!
//! The host finds all faults of its environment before a client can connect. It checks the manifest, the data folder, the
//! components, the databases and the ports. It also checks that the operator's login has no public password. It binds its ports
//! first and listens on them last. Until it can serve, a client's connection is refused instead of left waiting.

mod addresses;
mod databases;
mod dry_run;
mod listeners;
mod operator;
mod recreate;
mod reload;
mod surroundings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use storage::folder::{CACHE, DataFolder};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::{Admin, Listening, OPERATOR, Reloads};
use crate::audit::{Audit, Event, Note, Source};
use crate::clock::Clock;
use crate::deploy::{Deployer, Deployment, Opened, Platform, Record, ReloadError, Reloaded};
use crate::engine::Engines;
use crate::gate::{AdminToken, Gate};
use crate::gateway::{Gateway, Hosts};
use crate::listener::Connections;
use crate::manifest::{Manifest, Reuse, Service};
use crate::passwords::Passwords;
use crate::revision::{Background, MAX_IDLE_INSTANCES};
use crate::telemetry::{DroppedLines, Metrics};
use databases::Databases;
use listeners::Listeners;
use reload::Reloader;
use surroundings::Surroundings;

pub use addresses::{Addresses, admin_address};
pub use dry_run::dry_run;
pub use recreate::recreate_database;
pub use reload::ManifestSource;

/// The options of a host that are not in its manifest.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A new password for the operator's login, set before the host serves.
    pub operator_password: Option<String>,
    /// The folder of the compilation cache. Default: `cache` in the data folder.
    pub cache: Option<PathBuf>,
    /// The `comptoir` program, which compiles each component in a separate process. None to compile in this process.
    pub compiler: Option<PathBuf>,
    /// Deploy a component whenever its file changes. For development.
    pub watch: bool,
    /// Announce reverts loudly, and compile on all cores. For development.
    pub development: bool,
    /// How a reload reads the manifest. Default: from its file.
    pub source: Option<ManifestSource>,
    /// The wall clock of host and guests.
    pub clock: Clock,
    /// The counter of dropped log lines, for the metrics and the log itself.
    pub dropped_lines: Option<DroppedLines>,
}

/// The compilation caches of a trial.
#[derive(Debug, Clone)]
pub struct Caches {
    /// The folder that is read and written.
    pub own: PathBuf,
    /// Another folder, such as that of a host, which is only read.
    pub other: Option<PathBuf>,
}

/// A running host. If it is dropped without `shutdown`, its listeners stay open until the process ends.
pub struct Host {
    addresses: Arc<ArcSwap<Addresses>>,
    deployment: Arc<Deployment>,
    development_login: Option<String>,
    connections: Connections,
    operators_connections: Connections,
    stop: watch::Sender<bool>,
    deployer: Arc<Deployer>,
    audit: Arc<Audit>,
    reloads: Reloads,
    /// Ends when the host stops.
    reloader: JoinHandle<()>,
    _folder: Arc<DataFolder>,
}

impl Host {
    /// Starts a host. It serves when this returns.
    ///
    /// # Errors
    /// What is wrong, and what to do about it. The host does not serve then.
    pub async fn start(manifest: Manifest, data: &Path, options: Options) -> anyhow::Result<Self> {
        let folder = Arc::new(DataFolder::open(data)?);
        let record = Record::open(folder.path(), options.clock.clone())?;
        let surroundings = Surroundings::open(&manifest, folder.path(), &record, &options.clock, &[])?;
        let Surroundings { tls, outbounds, secrets, bound } = surroundings;
        let cache = options.cache.unwrap_or_else(|| folder.path().join(CACHE));
        let caches = Caches { own: cache, other: None };
        let (platform, opened) = platform(&manifest, &folder, caches, options.clock.clone()).await?;
        let platform = Arc::new(platform);
        let admin_token = AdminToken::open(&folder.path().join("admin.token"))?;
        let deployer = Deployer::new(
            manifest.clone(),
            Opened { outbounds, secrets, ..opened },
            platform.clone(),
            record.clone(),
            options.compiler,
        );
        deployer.start_all().await?;
        let metrics = Arc::new(Metrics::default().with_dropped_lines(options.dropped_lines.clone()));
        let (audit, tokens) = (platform.audit.clone(), platform.tokens.clone());
        let gate = Gate::new(tokens.clone(), Arc::new(admin_token), audit.clone());
        let gateway = Gateway::new(deployer.current(), gate.clone(), metrics.clone(), &manifest);
        let gateway = Arc::new(gateway);
        let addresses = bound.addresses(if tls.is_some() { "https" } else { "http" });
        let development_login = match &manifest.operator {
            Some(operator) => {
                let password = options.operator_password.as_deref();
                let deployment = deployer.current().load().stable().clone();
                operator::check(&gateway, &deployment, operator, &addresses, password, &record).await?
            }
            None => None,
        };
        let (stop, stopping) = watch::channel(false);
        let listeners = &manifest.listeners;
        let connections = Connections::new(listeners, stopping, metrics.clone());
        let operators_connections = connections.for_admin_listener(listeners);
        let listening = Listening { address: addresses.admin, hosts: Hosts::new(&listeners.hosts) };
        let (reloads, orders) = Reloads::new();
        let admin =
            Admin::new(listening, gate, deployer.clone(), gateway.clone(), platform, metrics.clone(), reloads.clone());
        let admin = Arc::new(admin);
        let consoles = admin.clone();
        let mut open = Listeners::new(gateway, admin.clone(), connections.clone(), operators_connections.clone());
        open.change(bound.listen()?, tls.as_ref(), listeners.shutdown_time);
        addresses
            .publish(folder.path())
            .context("cannot write the address of the admin listener into the data folder")?;
        let addresses = Arc::new(ArcSwap::from_pointee(addresses));
        let reloader = Reloader {
            source: options.source.unwrap_or_else(|| ManifestSource::of_file(&manifest.file)),
            folder: Arc::downgrade(&folder),
            clock: options.clock,
            record,
            deployer: deployer.clone(),
            admin,
            listeners: open,
            addresses: addresses.clone(),
            metrics,
            instances: reserved_instances(&manifest),
            closing: BTreeMap::new(),
        };
        let reloader = tokio::spawn(until_stopped(stop.subscribe(), reloader.run(orders)));
        tokio::spawn(until_stopped(stop.subscribe(), connections.clone().give_memory_back()));
        tokio::spawn(until_stopped(stop.subscribe(), tokens.reload_forever()));
        tokio::spawn(until_stopped(stop.subscribe(), consoles.clone().sample_forever()));
        tokio::spawn(until_stopped(stop.subscribe(), consoles.publish_forever()));
        if let Some(dropped_lines) = options.dropped_lines {
            tokio::spawn(until_stopped(stop.subscribe(), dropped_lines.report_forever()));
        }
        if options.development || options.watch {
            deployer.begin_development();
        }
        if options.watch {
            tokio::spawn(until_stopped(stop.subscribe(), deployer.clone().follow_files()));
        }
        let deployment = deployer.current().load().stable().clone();
        Ok(Self {
            addresses,
            deployment,
            development_login,
            connections,
            operators_connections,
            stop,
            deployer,
            audit,
            reloads,
            reloader,
            _folder: folder,
        })
    }

    /// The addresses on which the host listens.
    pub fn addresses(&self) -> Arc<Addresses> {
        self.addresses.load_full()
    }

    /// Reloads the manifest because of a signal. The log and the audit log say how it ended.
    pub fn reload_by_signal(&self) -> impl Future<Output = ()> + Send + use<> {
        let (reloads, audit) = (self.reloads.clone(), self.audit.clone());
        async move {
            let reloaded = reloads.reload(false).await;
            let result = if reloaded.is_ok() { "applied" } else { "refused" };
            let source = Source::default();
            let note = Note::new(Event::Administered, OPERATOR, &source);
            audit.tell(&Note { subject: Some(OPERATOR), asked: Some("SIGHUP"), result: Some(result), ..note });
            audit.flush().await;
        }
    }

    /// Reloads the manifest.
    ///
    /// # Errors
    /// Why nothing has changed.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        self.reloads.reload(false).await
    }

    /// What deploys into this host.
    pub fn deployer(&self) -> &Arc<Deployer> {
        &self.deployer
    }

    /// The deployment with which the host started.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The name of the operator's login, if its password is still the seeded one, which is public.
    pub fn development_login(&self) -> Option<&str> {
        self.development_login.as_deref()
    }

    /// Stops accepting connections, drains running requests and closes idle connections. Returns whether all requests ended within
    /// `shutdown_time`.
    pub async fn shutdown(self) -> bool {
        self.stop.send_replace(true);
        self.deployer.stop();
        let time = self.deployer.manifest().listeners.shutdown_time;
        // It holds the databases and the record.
        let _ = self.reloader.await;
        let (public, operators) = tokio::join!(self.connections.wait(time), self.operators_connections.wait(time));
        self.audit.close().await;
        public && operators
    }
}

/// Runs a task until the host stops.
async fn until_stopped(mut stopping: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => {}
        () = work => {}
    }
}

/// The most linear memories at one moment: of instances that run, of streams, and of reusable instances that wait for a request.
pub fn reserved_instances(manifest: &Manifest) -> u32 {
    let each = |service: &Service| if service.reuse == Reuse::Never { 0 } else { MAX_IDLE_INSTANCES };
    let streams = u32::try_from(manifest.listeners.streams).unwrap_or(u32::MAX);
    let running = manifest.instances.saturating_add(streams);
    manifest.services.values().map(each).fold(running, u32::saturating_add)
}

async fn platform(
    manifest: &Manifest,
    folder: &DataFolder,
    caches: Caches,
    clock: Clock,
) -> anyhow::Result<(Platform, Opened)> {
    let engines = Engines::new(&caches.own, reserved_instances(manifest));
    let engines = engines.context("cannot start the WebAssembly engine")?.also_reading(caches.other.as_deref());
    let Databases { opened, tokens } = databases::open(manifest, folder, &clock).await?;
    let audit = Audit::open(folder.path(), clock.clone(), manifest.audit.file.as_u64());
    let audit = audit.with_context(|| format!("cannot use the audit log in {}", folder.path().display()))?;
    let passwords = Passwords::new(manifest.passwords.limits());
    let passwords = Arc::new(
        passwords.with_minimum_characters(manifest.passwords.minimum).with_work_factor(manifest.passwords.work()),
    );
    let background = Arc::new(Background::new().context("cannot start the threads for long-running calls")?);
    let (engines, folder) = (Arc::new(engines), folder.path().to_owned());
    Ok((Platform { engines, tokens, passwords, audit, background, clock, folder }, opened))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_and_reusable_instances_that_wait_need_memories_too() {
        let of = |reuse: [&str; 2]| {
            let text = "instances = 7\n[listeners]\nstreams = 2\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n"
                .to_owned();
            let service = |name: &str, reuse: &str| {
                format!("[services.{name}]\ncomponent = \"{name}.wasm\"\nmounts = [\"/{name}\"]\nreuse = \"{reuse}\"\n")
            };
            let text = text + &service("one", reuse[0]) + &service("two", reuse[1]);
            reserved_instances(&Manifest::parse(Path::new("c.toml"), &text).unwrap())
        };
        assert_eq!(of(["never", "never"]), 9);
        assert_eq!(of(["never", "anyone"]), 9 + MAX_IDLE_INSTANCES);
        assert_eq!(of(["session", "anyone"]), 9 + 2 * MAX_IDLE_INSTANCES);
    }
}
