//! The manifest: the operator's settings for the host and for each service.
//!
//! The host reads and checks the whole manifest before it does anything else. So with a faulty manifest it opens no port
//! and changes no file. It reports all faults at once, each with its line and what to write instead. Paths are relative to
//! the manifest's folder.

mod audit;
mod changes;
mod check;
mod config;
mod deploy;
mod development;
mod document;
mod files;
mod limits;
mod listeners;
mod outbound;
mod passwords;
mod postgres;
mod secrets;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use check::Check;
use config::ConfigTable;
use document::Document;
use files::FolderTable;
use listeners::ListenersTable;
use outbound::OutboundTable;
use postgres::PostgresTable;
use secrets::SecretTable;

pub use crate::guest::Grant;
pub use crate::outbound::{OutboundRules, SecretRules};
pub use audit::AuditRules;
pub use changes::Changes;
pub use deploy::DeployRules;
pub use development::DevelopmentRules;
pub use files::Folder;
pub use limits::{Limits, LimitsTable};
pub use listeners::{Listeners, Tls};
pub use passwords::PasswordRules;
pub use postgres::Postgres;
pub use source::{Fault, ManifestError, Source};

/// The caller that an internal route sees if the host itself calls it.
/// No service may have this name.
pub const HOST_NAME: &str = "host";

/// The path of the API explorer on the gateway. Its files are below it.
pub const EXPLORER_PATH: &str = "/docs";

/// A manifest without faults.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The manifest's file.
    pub file: PathBuf,
    /// The manifest's text, to show faults in it.
    pub source: Source,
    /// The host's own listeners.
    pub listeners: Listeners,
    /// How many instances of all services together exist at the same time.
    ///
    /// Half of them is divided among the services. Every service may use the rest.
    /// The host reserves their address space at the start.
    pub instances: u32,
    /// How components are deployed.
    pub deploy: DeployRules,
    /// The settings of the audit log.
    pub audit: AuditRules,
    /// The rules for new passwords.
    pub passwords: PasswordRules,
    /// The PostgreSQL database of the services.
    /// Without it, each service has a SQLite file in the data folder.
    pub postgres: Option<Postgres>,
    /// Where the operator's login is, if a service stores logins.
    pub operator: Option<Operator>,
    /// What only a host for development allows.
    pub development: DevelopmentRules,
    /// The services by name.
    pub services: BTreeMap<String, Service>,
}

/// The service with the operator's login, and its internal route for that login.
///
/// The route tells the host whether the seeded password is still in use.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// The name of the service.
    pub service: String,
    /// The path of the route.
    ///
    /// `GET` returns `{"username", "development"}`. `PUT` with `{"password"}` replaces the password.
    pub path: String,
}

/// One service: its component, its paths and what it may use.
#[derive(Debug, Clone)]
pub struct Service {
    /// The component's file.
    pub component: PathBuf,
    /// The shell command that builds the component, in the manifest's folder. Only `comptoir dev` runs it.
    pub build: Option<String>,
    /// The files and folders that the component is built from. `comptoir dev` builds it again when one of them changes.
    pub sources: Vec<PathBuf>,
    /// The service's own listener, if it has one.
    pub listen: Option<SocketAddr>,
    /// Path prefixes. The component may have routes under these.
    pub mounts: Vec<String>,
    /// Path prefixes inside the mounts. Routes under these may be public.
    pub public: Vec<String>,
    /// Whether the component sees paths without the mount. Then there is exactly one mount.
    pub strip: bool,
    /// Who may call a component that does not describe its routes.
    pub access: PlainAccess,
    /// What becomes of a client's `Authorization`.
    pub credentials: Credentials,
    /// Host interfaces that the component may import.
    pub grants: BTreeSet<Grant>,
    /// What `wasi:config/store` and the environment variables tell the component.
    pub config: BTreeMap<String, String>,
    /// Folders that the component may read.
    pub files: Vec<Folder>,
    /// Columns that the console shows although their names or the service's grants would mask them: `table.column`.
    pub visible: BTreeSet<String>,
    /// Services that the component may call within the host.
    pub calls: BTreeSet<String>,
    /// Remote hosts that the component may send requests to.
    pub outbound: Option<OutboundRules>,
    /// Secrets that the component uses without seeing them, by name.
    pub secrets: Vec<SecretRules>,
    /// Whether an instance may answer several requests.
    pub reuse: Reuse,
    /// The limits of the service and of each request.
    pub limits: Limits,
    /// The line of `[services.<name>]`, for messages.
    pub line: usize,
}

/// Who may call a component that describes no routes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlainAccess {
    /// Every caller.
    Public,
    /// Callers with a valid token.
    #[default]
    User,
    /// Callers with a valid token of the role `admin`.
    Admin,
}

/// What becomes of a client's `Authorization`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Credentials {
    /// The host removes it. Only the host checks who calls.
    #[default]
    Remove,
    /// On public routes the component gets it, unless it is a credential of this host: a valid access token or the admin token.
    Pass,
}

/// Whether an instance is reused for later requests.
///
/// A reused instance keeps its memory, so a guest can see data of earlier requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reuse {
    /// Each request gets a fresh instance.
    #[default]
    Never,
    /// Reused for requests of the same login session.
    /// A request without a session gets a fresh instance.
    Session,
    /// Reused for requests of every caller.
    Anyone,
}

/// A `[services.<name>]` table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceTable {
    component: PathBuf,
    build: Option<Spanned<String>>,
    sources: Option<Spanned<Vec<PathBuf>>>,
    #[serde(default, deserialize_with = "listeners::some_address")]
    listen: Option<SocketAddr>,
    mounts: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    public: Vec<Spanned<String>>,
    strip: Option<Spanned<bool>>,
    #[serde(default)]
    access: PlainAccess,
    credentials: Option<Spanned<Credentials>>,
    #[serde(default)]
    grants: BTreeSet<Grant>,
    #[serde(default)]
    config: ConfigTable,
    #[serde(default)]
    files: Vec<FolderTable>,
    #[serde(default)]
    visible: Vec<Spanned<String>>,
    #[serde(default)]
    calls: Vec<Spanned<String>>,
    outbound: Option<OutboundTable>,
    #[serde(default)]
    secrets: BTreeMap<Spanned<String>, SecretTable>,
    #[serde(default)]
    reuse: Reuse,
    #[serde(default)]
    limits: LimitsTable,
}

impl Manifest {
    /// Reads and checks the manifest in a file.
    ///
    /// # Errors
    /// All faults of the text.
    pub fn read(file: &Path) -> Result<Self, ManifestError> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let message = format!("cannot read the manifest: {error}: name an existing file with --manifest");
            Source::new(file, "").refuse(vec![Fault::of_the_whole(message)])
        })?;
        Self::parse(file, &text)
    }

    /// Checks the text of a manifest.
    /// Its paths are relative to the folder of `file`, and messages name `file`.
    ///
    /// # Errors
    /// All faults of the text.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ManifestError> {
        let mut check = Check::new(Source::new(file, text));
        let Some(document) = Document::read(&mut check) else { return Err(check.refuse()) };
        let listeners = document.listeners.as_ref().and_then(|listeners| listeners.check(&check));
        check.instances(document.instances);
        check.operator(document.operator.as_ref(), &document.names);
        check.mounts_are_unique(&document.services);
        if document.listeners.as_ref().is_some_and(|listeners| listeners.docs) {
            check.mounts_are_not_the_explorers(&document.services);
        }
        let host_listeners = document.listeners.iter().flat_map(ListenersTable::addresses);
        check.addresses_are_unique(host_listeners, &document.services);
        let defaults = document.limits.over(Limits::default());
        let service = |(name, table): (&Spanned<String>, &ServiceTable)| {
            (name.get_ref().clone(), check.service(name, table, &document.names, defaults))
        };
        let services = document.services.iter().map(service).collect();
        let postgres = document.postgres.as_ref().map(|table| PostgresTable::read(table, &check));
        let (source, Some(listeners)) = (check.finish()?, listeners) else {
            unreachable!("a missing table is a fault")
        };
        Ok(Self {
            file: file.to_owned(),
            source,
            listeners,
            instances: document.instances,
            deploy: document.deploy,
            audit: document.audit,
            passwords: document.passwords,
            postgres,
            operator: document.operator,
            development: document.development,
            services,
        })
    }
}

/// Whether a path equals a prefix or is under it, by whole segments.
///
/// `/orders/1` is inside `/orders`, but `/orders2` is not.
pub fn is_inside(path: &str, prefix: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
