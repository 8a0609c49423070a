//! A host from start to shutdown: what is built, in which order, and how it stops.
//!
//! The host finds all faults of its environment before a client can connect: in the manifest, the data folder, the components, the
//! databases, the ports, and an operator's login with a public password. It binds its ports first and listens on them last. Until it can
//! serve, a client's connection is refused instead of left waiting.

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
use crate::outbound::{Outbound, Secrets};
use crate::passwords::Passwords;
use crate::revision::{Background, MAX_IDLE_INSTANCES};
use crate::telemetry::{DroppedLines, Metrics};
use databases::Databases;
use surroundings::{Listening, Surroundings};

pub use surroundings::check;

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
    /// The wall clock of host and guests.
    pub clock: Clock,
    /// The counter of dropped log lines, for the metrics and the log itself.
    pub dropped_lines: Option<DroppedLines>,
}

/// A running host. If it is dropped without `shutdown`, its listeners stay open until the process ends.
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

/// The addresses on which a host listens, with the real ports.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// The scheme of the gateway and the services' own listeners: `https` if they use TLS, else `http`.
    pub scheme: &'static str,
    /// The gateway, with the routes of all services.
    pub gateway: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
    /// The services' own listeners, by service.
    pub services: BTreeMap<String, SocketAddr>,
}

impl Host {
    /// Starts a host. It serves when this returns.
    ///
    /// # Errors
    /// What is wrong, and what to do about it. The host does not serve then.
    pub async fn start(manifest: Manifest, data: &Path, options: Options) -> anyhow::Result<Self> {
        let folder = DataFolder::open(data)?;
        let record = Record::open(folder.path(), options.clock.clone())?;
        let surroundings = Surroundings::open(&manifest, folder.path(), &record, &options.clock)?;
        let Surroundings { tls, outbounds, secrets, bound } = surroundings;
        let remotes = (outbounds, secrets);
        let platform = Arc::new(platform(&manifest, &folder, remotes, options.cache, options.clock).await?);
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
        let operators_connections = connections.for_admin_listener(listeners);
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

    /// The addresses on which the host listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
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

/// Runs a task until the host stops.
async fn until_stopped(mut stopping: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => {}
        () = work => {}
    }
}

/// The most linear memories at one moment: of instances that run, of streams, and of reusable instances that wait for a request.
fn instances(manifest: &Manifest) -> u32 {
    let each = |service: &Service| if service.reuse == Reuse::Never { 0 } else { MAX_IDLE_INSTANCES };
    let streams = u32::try_from(manifest.listeners.streams).unwrap_or(u32::MAX);
    let running = manifest.instances.saturating_add(streams);
    manifest.services.values().map(each).fold(running, u32::saturating_add)
}

async fn platform(
    manifest: &Manifest,
    folder: &DataFolder,
    remotes: (BTreeMap<String, Arc<Outbound>>, BTreeMap<String, Arc<Secrets>>),
    cache: Option<PathBuf>,
    clock: Clock,
) -> anyhow::Result<Platform> {
    let cache = cache.unwrap_or_else(|| folder.path().join(CACHE));
    let engines = Engines::new(&cache, instances(manifest)).context("cannot start the WebAssembly engine")?;
    let Databases { storages, keyvalues, tokens } = databases::open(manifest, folder, &clock).await?;
    let audit = Audit::open(folder.path(), clock.clone(), manifest.audit.file.as_u64());
    let audit = audit.with_context(|| format!("cannot use the audit log in {}", folder.path().display()))?;
    let passwords = Passwords::new(manifest.passwords.limits());
    let passwords = Arc::new(
        passwords.with_minimum_characters(manifest.passwords.minimum).with_work_factor(manifest.passwords.work()),
    );
    let background = Arc::new(Background::new().context("cannot start the threads for long-running calls")?);
    let (engines, folder) = (Arc::new(engines), folder.path().to_owned());
    let (outbounds, secrets) = remotes;
    Ok(Platform {
        engines,
        tokens,
        passwords,
        audit,
        background,
        clock,
        folder,
        storages,
        keyvalues,
        outbounds,
        secrets,
    })
}

/// Sets the operator's password if a new one was given. Refuses to listen beyond loopback as long as the password is the seeded one, which
/// is public. Returns the name of the login in that case.
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
        let why = answer["error"]["message"].as_str().unwrap_or("the service gave no reason");
        // A failing service must not keep the others from serving. The check below decides whether this host may serve.
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
            format!("the service `{service}` answered {status} to {path}, the `operator` path in the manifest");
        // A failing service must not keep the others from serving, if its last answer allows the addresses of this host.
        let was_asked = record.operator_was_seeded()?.filter(|seeded| !seeded || open.is_none());
        if !status.is_server_error() || was_asked.is_none() {
            bail!("{failed}");
        }
        tracing::error!(service, "{failed}: the host starts anyway, because of the service's last answer");
        return Ok(None);
    }
    let is_seeded = answer["data"]["development"] == json!(true);
    record.note_operator(is_seeded)?;
    if !is_seeded {
        return Ok(None);
    }
    if let Some(open) = open {
        bail!(
            "refusing to listen on {open}, which is not a loopback address, because the operator's password is the seeded one: set \
             another with --operator-password-file"
        );
    }
    Ok(Some(answer["data"]["username"].as_str().unwrap_or("admin").to_owned()))
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
            instances(&Manifest::parse(Path::new("c.toml"), &text).unwrap())
        };
        assert_eq!(of(["never", "never"]), 9);
        assert_eq!(of(["never", "anyone"]), 9 + MAX_IDLE_INSTANCES);
        assert_eq!(of(["session", "anyone"]), 9 + 2 * MAX_IDLE_INSTANCES);
    }
}
