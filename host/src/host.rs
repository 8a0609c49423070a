//! A host from start to shutdown: what is made, in which order, and how it ends.
//!
//! Everything that can be wrong with the surroundings is found before a client can connect: the manifest, the data folder, the
//! components, their databases, the ports, and an operator's login that everybody knows. Ports are taken first and listened on last:
//! until the host can serve, a client is refused instead of left waiting.

mod databases;
mod surroundings;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use hyper::{Method, StatusCode};
use serde_json::json;
use storage::folder::{CACHE, DataFolder};
use tokio::sync::watch;

use crate::admin::Admin;
use crate::audit::Audit;
use crate::clock::Clock;
use crate::deploy::{Deployer, Deployment, Platform, Record};
use crate::engine::Engines;
use crate::gate::{AdminToken, Gate};
use crate::gateway::{Door, Gateway, Hosts};
use crate::listener::{Connections, Tls};
use crate::manifest::{Manifest, Operator, Reuse, Service};
use crate::passwords::Passwords;
use crate::revision::{Background, IDLE_INSTANCES};
use crate::telemetry::{DroppedLines, Metrics};
use databases::Databases;
use surroundings::{Listening, Surroundings};

pub use surroundings::check;

/// What a host is started with, beside its manifest.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// A new password for the operator's login, set before anything is served.
    pub operator_password: Option<String>,
    /// Where compiled code is kept; in the data folder unless it is given.
    pub cache: Option<PathBuf>,
    /// The program that compiles components in a process of its own, as `comptoir compile`; in this process without it.
    pub compiler: Option<PathBuf>,
    /// Deploy a component whenever its file changes: for development.
    pub watch: bool,
    /// The time of day that host and guests see.
    pub clock: Clock,
    /// What the log counts of the lines that it drops, for the metrics and the log itself.
    pub dropped_lines: Option<DroppedLines>,
}

/// A host that serves. Dropping it without `shutdown` stops its listeners at the end of the process.
pub struct Host {
    manifest: Manifest,
    addresses: Addresses,
    deployment: Arc<Deployment>,
    development_login: Option<String>,
    connections: Connections,
    operators_connections: Connections,
    stop: watch::Sender<bool>,
    deployer: Arc<Deployer>,
    audit: Arc<Audit>,
    _folder: DataFolder,
}

/// Where a host listens: the ports that it really got.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// `http`, or `https` where the gateway and the services' own listeners speak TLS.
    pub scheme: &'static str,
    /// The routes of all services.
    pub gateway: SocketAddr,
    /// The operator's.
    pub admin: SocketAddr,
    /// The services' own listeners.
    pub services: BTreeMap<String, SocketAddr>,
}

impl Host {
    /// Starts a host. When this returns, it serves.
    ///
    /// # Errors
    /// One sentence that says what was wrong with the surroundings and what to do. Nothing serves then.
    pub async fn start(manifest: Manifest, data: &Path, options: Options) -> anyhow::Result<Self> {
        let folder = DataFolder::open(data)?;
        let record = Record::open(folder.path(), options.clock.clone())?;
        let Surroundings { tls, bound } = Surroundings::open(&manifest, &record, &options.clock)?;
        let platform = Arc::new(platform(&manifest, &folder, options.cache, options.clock).await?);
        let admin_token = AdminToken::open(&folder.path().join("admin.token"))?;
        let deployer = Deployer::new(manifest.clone(), platform.clone(), record.clone(), options.compiler);
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
                check_operator(&gateway, operator, &addresses, password, &record).await?
            }
            None => None,
        };
        let (stop, stopping) = watch::channel(false);
        let listeners = &manifest.listeners;
        let connections = Connections::new(listeners, stopping, metrics.clone());
        let operators_connections = connections.of_operator(listeners);
        let hosts = Hosts::new(&listeners.hosts);
        let admin = Admin::new(gate, deployer.clone(), gateway.clone(), platform, metrics, hosts);
        bound.listen()?.serve([&connections, &operators_connections], tls.as_ref(), &gateway, &Arc::new(admin));
        tokio::spawn(until_stopped(stop.subscribe(), connections.clone().give_memory_back()));
        tokio::spawn(until_stopped(stop.subscribe(), tokens.reload_forever()));
        if let Some(dropped_lines) = options.dropped_lines {
            tokio::spawn(until_stopped(stop.subscribe(), dropped_lines.report_forever()));
        }
        if options.watch {
            tokio::spawn(until_stopped(stop.subscribe(), deployer.clone().follow_files()));
        }
        let deployment = deployer.current().load().stable().clone();
        Ok(Self {
            manifest,
            addresses,
            deployment,
            development_login,
            connections,
            operators_connections,
            stop,
            deployer,
            audit,
            _folder: folder,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What it began to serve with.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The operator's login while its password is the seeded one that everybody knows.
    pub fn development_login(&self) -> Option<&str> {
        self.development_login.as_deref()
    }

    /// Stops accepting, lets running requests end and closes idle connections. Whether all ended in the manifest's time.
    pub async fn shutdown(self) -> bool {
        self.stop.send_replace(true);
        self.deployer.stop();
        let time = self.manifest.listeners.shutdown_time;
        let (public, operators) = tokio::join!(self.connections.wait(time), self.operators_connections.wait(time));
        self.audit.close().await;
        public && operators
    }
}

impl Listening {
    fn serve(
        self,
        [connections, operators]: [&Connections; 2],
        tls: Option<&Arc<Tls>>,
        gateway: &Arc<Gateway>,
        admin: &Arc<Admin>,
    ) {
        let doors = self.services.into_iter().map(|(name, listener)| (Door::Service(name.into()), listener));
        for (door, listener) in std::iter::once((Door::Gateway, self.gateway)).chain(doors) {
            let (gateway, door) = (gateway.clone(), Arc::new(door));
            tokio::spawn(connections.clone().serve(listener, tls.cloned(), move |arrival, request| {
                let (gateway, door) = (gateway.clone(), door.clone());
                async move { gateway.handle(&door, arrival, request).await }
            }));
        }
        let admin = admin.clone();
        let handle = move |arrival, request| admin.clone().handle(arrival, request);
        tokio::spawn(operators.clone().serve(self.admin, None, handle));
    }
}

/// Goes on with something until the host stops.
async fn until_stopped(mut stopping: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => {}
        () = work => {}
    }
}

/// Memories of instances that there may be at one moment: of those that have a slot, and of those that wait to be used again.
fn instances(manifest: &Manifest) -> u32 {
    let each = |service: &Service| if service.reuse == Reuse::Never { 0 } else { IDLE_INSTANCES };
    manifest.services.values().map(each).fold(manifest.instances, u32::saturating_add)
}

async fn platform(
    manifest: &Manifest,
    folder: &DataFolder,
    cache: Option<PathBuf>,
    clock: Clock,
) -> anyhow::Result<Platform> {
    let cache = cache.unwrap_or_else(|| folder.path().join(CACHE));
    let engines = Engines::new(&cache, instances(manifest)).context("the WebAssembly engine cannot start")?;
    let Databases { storages, tokens } = databases::open(manifest, folder, &clock).await?;
    let audit = Audit::open(folder.path(), clock.clone(), manifest.audit.file.as_u64());
    let audit = audit.with_context(|| format!("the audit log in {} cannot be used", folder.path().display()))?;
    let passwords = Passwords::new(manifest.passwords.limits());
    let passwords = Arc::new(
        passwords.with_minimum_characters(manifest.passwords.minimum).with_work_factor(manifest.passwords.work()),
    );
    let background = Arc::new(Background::new().context("no threads for guests that compute for long")?);
    Ok(Platform { engines, tokens, passwords, audit, background, clock, folder: folder.path().to_owned(), storages })
}

/// Sets the operator's password where one was given, and refuses to be reachable with one that everybody knows. Gives the
/// name of the login while it has that one.
async fn check_operator(
    gateway: &Arc<Gateway>,
    operator: &Operator,
    addresses: &Addresses,
    password: Option<&str>,
    record: &Record,
) -> anyhow::Result<Option<String>> {
    let Operator { service, path } = operator;
    if let Some(password) = password {
        let (status, answer) = gateway.call(service, Method::PUT, path, Some(&json!({ "password": password }))).await?;
        let why = answer["error"]["message"].as_str().unwrap_or("no reason given");
        // A service that cannot do it now keeps no other from serving. Whether this host may serve is decided below.
        if status.is_server_error() || status == StatusCode::CONFLICT {
            tracing::error!(service, "--operator-password-file: {why}");
        } else if !status.is_success() {
            bail!("--operator-password-file: {why}");
        }
    }
    let (status, answer) = gateway.call(service, Method::GET, path, None).await?;
    let open = std::iter::once(addresses.gateway).chain(addresses.services.values().copied());
    let open = open.into_iter().find(|address| !address.ip().is_loopback());
    if status != StatusCode::OK {
        let failed =
            format!("the service `{service}` answered {status} to {path}, which `operator` in the manifest names");
        // A service that fails keeps no other from serving, if its last answer allows what this host listens on.
        let was_asked = record.operator_was_seeded()?.filter(|seeded| !seeded || open.is_none());
        if !status.is_server_error() || was_asked.is_none() {
            bail!("{failed}");
        }
        tracing::error!(service, "{failed}: the host starts because of what it answered before");
        return Ok(None);
    }
    let is_seeded = answer["data"]["development"] == json!(true);
    record.note_operator(is_seeded)?;
    if !is_seeded {
        return Ok(None);
    }
    if let Some(open) = open {
        bail!(
            "refusing to listen on {open}, which is not loopback, while the operator's password is the seeded one: set \
             another with --operator-password-file"
        );
    }
    Ok(Some(answer["data"]["username"].as_str().unwrap_or("admin").to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_memories_for_the_manifests_instances_and_for_those_that_wait_to_be_used_again() {
        let of = |reuse: [&str; 2]| {
            let text = "instances = 7\n[listeners]\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n".to_owned();
            let service = |name: &str, reuse: &str| {
                format!("[services.{name}]\ncomponent = \"{name}.wasm\"\nmounts = [\"/{name}\"]\nreuse = \"{reuse}\"\n")
            };
            let text = text + &service("one", reuse[0]) + &service("two", reuse[1]);
            instances(&Manifest::parse(Path::new("c.toml"), &text).unwrap())
        };
        assert_eq!(of(["never", "never"]), 7);
        assert_eq!(of(["never", "anyone"]), 7 + IDLE_INSTANCES);
        assert_eq!(of(["session", "anyone"]), 7 + 2 * IDLE_INSTANCES);
    }
}
