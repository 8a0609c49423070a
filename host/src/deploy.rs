//! From a component's file to a revision that serves. The only writer of the deployment.
//!
//! ```text
//! read -> verified -> compiled -> linked -> described -> migrated -> active
//! ```
//!
//! Everything up to the last step happens beside what serves and can fail without anybody noticing but the operator, who is
//! told the step and the reason. Activation is the move of one pointer: a request holds the deployment it began with to the
//! end of its answer, and the next one sees the new one whole.

mod check;
mod deployment;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::engine::{self, Engines};
use crate::guest::Grants;
use crate::manifest::{Grant, Manifest, PlainAccess, Service};
use crate::passwords::Passwords;
use crate::revision::{Description, Parts, Revision, Slots};
use crate::route::{Access, Route};
use crate::storage::Storage;
use crate::tokens::Tokens;

pub use deployment::{Deployment, Served};

/// Bytes of a component's file.
const COMPONENT_LIMIT_BYTES: u64 = 64 << 20;

/// How far a component got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its file is read.
    Read,
    /// It is a component that can answer HTTP.
    Verified,
    /// It is machine code.
    Compiled,
    /// Its imports are granted and joined to the host.
    Linked,
    /// Its routes, migrations and schema range are known and within bounds.
    Described,
    /// Its database has its schema.
    Migrated,
    /// Requests reach it.
    Active,
}

impl Step {
    /// The step in words, as in "could not be …".
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Verified => "verified",
            Self::Compiled => "compiled",
            Self::Linked => "linked",
            Self::Described => "described",
            Self::Migrated => "migrated",
            Self::Active => "activated",
        }
    }
}

/// Why a component does not serve.
#[derive(Debug, thiserror::Error)]
#[error("the service `{service}` could not be {}: {reason}", step.word())]
pub struct Refused {
    /// The service that it was meant for.
    pub service: String,
    /// The step that failed.
    pub step: Step,
    /// What is wrong and what to do.
    pub reason: String,
}

/// What the host has to give to its services.
pub struct Platform {
    /// Both wasmtime engines.
    pub engines: Engines,
    /// The issuer and verifier of tokens.
    pub tokens: Arc<Tokens>,
    /// Password hashing.
    pub passwords: Arc<Passwords>,
    /// The time of day.
    pub clock: Clock,
    /// The databases of the services that were granted one.
    pub storages: BTreeMap<String, Arc<dyn Storage>>,
}

/// Makes revisions and puts them in charge.
pub struct Deployer {
    manifest: Manifest,
    platform: Arc<Platform>,
    slots: BTreeMap<String, Arc<Slots>>,
    current: Arc<ArcSwap<Deployment>>,
}

impl Deployer {
    /// A deployer whose deployment is empty.
    pub fn new(manifest: Manifest, platform: Arc<Platform>) -> Self {
        let host = Arc::new(Semaphore::new(manifest.instances as usize));
        let slots = manifest.services.iter();
        let slots =
            slots.map(|(name, service)| (name.clone(), Arc::new(Slots::new(service.limits.concurrency, host.clone()))));
        Self { slots: slots.collect(), manifest, platform, current: Arc::default() }
    }

    /// The pointer that requests follow.
    pub fn current(&self) -> Arc<ArcSwap<Deployment>> {
        self.current.clone()
    }

    /// Stages the component of every service in the manifest and activates all of them at once.
    ///
    /// # Errors
    /// The first that was refused. Then none serves.
    pub async fn start_all(&self) -> Result<(), Refused> {
        let names: Vec<&String> = self.manifest.services.keys().collect();
        let staged = futures::future::try_join_all(names.iter().map(|name| self.stage(name))).await?;
        for served in &staged {
            self.migrate(served).await?;
        }
        let services = names.iter().zip(staged).map(|(name, served)| (Arc::from(name.as_str()), served)).collect();
        self.activate(services)
    }

    /// Reads, verifies, compiles, links and describes a service's component. Changes nothing.
    async fn stage(&self, name: &str) -> Result<Served, Refused> {
        let service = &self.manifest.services[name];
        let refuse = |step, reason: String| Refused { service: name.to_owned(), step, reason };
        let bytes = read(&service.component).await.map_err(|reason| refuse(Step::Read, reason))?;
        let anatomy = engine::inspect(&bytes)
            .map_err(|error| refuse(Step::Verified, format!("{}: {error}", service.component.display())))?;
        check::imports(name, service, &self.manifest.file, &anatomy.imports)
            .map_err(|reason| refuse(Step::Linked, reason))?;
        let digest = hex(&Sha256::digest(&bytes));
        let platform = self.platform.clone();
        let component = tokio::task::spawn_blocking(move || platform.engines.compile(anatomy.wasi, &bytes)).await;
        let component = component
            .map_err(|panic| refuse(Step::Compiled, panic.to_string()))?
            .map_err(|error| refuse(Step::Compiled, format!("{error:#}")))?;
        let revision =
            Revision::link(&self.platform.engines, anatomy.wasi, &component, self.parts(name, service, digest))
                .map_err(|error| refuse(Step::Linked, format!("{error:#}")))?;
        let description = if anatomy.describes_itself {
            let description = revision.describe().await.map_err(|error| refuse(Step::Described, error.to_string()))?;
            check::routes(name, service, &self.manifest.file, &description)
                .map_err(|reason| refuse(Step::Described, reason))?;
            Some(Arc::new(description))
        } else {
            None
        };
        Ok(Served {
            routes: routes(name, service, description.as_deref()),
            revision: Arc::new(revision),
            description,
            calls: service.calls.clone(),
            grants: service.grants.clone(),
        })
    }

    fn parts(&self, name: &str, service: &Service, digest: String) -> Parts {
        let granted = |grant| service.grants.contains(&grant);
        let tokens = granted(Grant::Tokens) || granted(Grant::TokenVerifier);
        Parts {
            service: name.into(),
            digest,
            granted: service.grants.iter().copied().collect(),
            grants: Grants {
                storage: self.platform.storages.get(name).cloned(),
                tokens: tokens.then(|| self.platform.tokens.clone()),
                passwords: granted(Grant::Passwords).then(|| self.platform.passwords.clone()),
            },
            calls: !service.calls.is_empty(),
            limits: service.limits,
            slots: self.slots[name].clone(),
            clock: self.platform.clock.clone(),
        }
    }

    /// Brings the service's database to the schema that a staged component works with.
    async fn migrate(&self, served: &Served) -> Result<(), Refused> {
        let Some(description) = &served.description else { return Ok(()) };
        let name = served.revision.service();
        let refuse = |reason: String| Refused { service: name.to_owned(), step: Step::Migrated, reason };
        let Some(storage) = self.platform.storages.get(name) else {
            return match description.migrations.len() {
                0 => Ok(()),
                count => Err(refuse(format!(
                    "it brings {count} migrations but has no database: add \"storage\" to `grants` in [services.{name}]"
                ))),
            };
        };
        let version = storage.schema_version().await.map_err(|error| refuse(error.to_string()))?;
        if version > description.schema.1 {
            return Err(refuse(format!(
                "its database is at schema {version}, newer than this component works with (up to {}): use the component \
                 that made it, or a later one",
                description.schema.1
            )));
        }
        let ran = storage.migrate(description.migrations.clone()).await.map_err(|error| refuse(error.to_string()))?;
        if !ran.is_empty() {
            tracing::info!(
                service = name,
                from = version,
                to = version as usize + ran.len(),
                "the schema was migrated"
            );
        }
        Ok(())
    }

    fn activate(&self, services: BTreeMap<Arc<str>, Served>) -> Result<(), Refused> {
        let deployment = Deployment::new(services).map_err(|conflict| Refused {
            service: "*".to_owned(),
            step: Step::Active,
            reason: conflict.to_string(),
        })?;
        self.current.store(Arc::new(deployment));
        Ok(())
    }
}

async fn read(component: &Path) -> Result<Vec<u8>, String> {
    let file = component.display();
    let missing =
        |error: std::io::Error| format!("cannot read {file}: {error}. Build the components with `just build`");
    let length = tokio::fs::metadata(component).await.map_err(missing)?.len();
    if length > COMPONENT_LIMIT_BYTES {
        return Err(format!("{file} has {length} bytes, more than the limit of {COMPONENT_LIMIT_BYTES}"));
    }
    tokio::fs::read(component).await.map_err(missing)
}

/// The routes that a component declares, or catch-alls on the mounts of one that declares none.
fn routes(name: &str, service: &Service, description: Option<&Description>) -> Vec<Route> {
    if let Some(description) = description {
        return description.routes.clone();
    }
    let access = match service.access {
        PlainAccess::Public => Access::Public,
        PlainAccess::User => Access::User,
        PlainAccess::Admin => Access::Admin,
    };
    let route = |pattern: String| Route { service: name.into(), method: None, pattern: pattern.into(), access };
    let below = |mount: &str| format!("{}/{{*rest}}", mount.trim_end_matches('/'));
    service.mounts.iter().flat_map(|mount| [route(mount.clone()), route(below(mount))]).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
