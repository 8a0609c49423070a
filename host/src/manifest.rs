//! What the operator decides: listeners, limits, and for each service its component, mounts, grants and limits.
//!
//! A manifest is read and checked as a whole before anything else happens, so a mistake in it opens no port and touches
//! no file. All faults are reported at once, each with its line and what to write instead. Paths in it are relative to its folder.

mod audit;
mod check;
mod deploy;
mod document;
mod limits;
mod listeners;
mod passwords;
mod postgres;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use check::Check;
use document::Document;
use listeners::ListenersTable;
use postgres::PostgresTable;

pub use audit::AuditRules;
pub use deploy::DeployRules;
pub use limits::{Limits, LimitsTable};
pub use listeners::{Listeners, Tls};
pub use passwords::PasswordRules;
pub use postgres::Postgres;
pub use source::{Fault, ManifestError, Source};

/// What internal routes see as their caller when the host itself calls, so no service has this name.
pub const HOST_NAME: &str = "host";

/// A manifest that was read and found sound.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The file it came from.
    pub file: PathBuf,
    /// Its text, to show faults in what it names.
    pub source: Source,
    /// Where the host listens for itself.
    pub listeners: Listeners,
    /// How many component instances exist at one moment, over all services: one half divided among them, the rest for whoever
    /// comes first. Their address space is reserved at start.
    pub instances: u32,
    /// How components are put in charge.
    pub deploy: DeployRules,
    /// How the audit log is kept.
    pub audit: AuditRules,
    /// What a new password must have.
    pub passwords: PasswordRules,
    /// Where the services' databases are; each is a file in the data folder without it.
    pub postgres: Option<Postgres>,
    /// The login of the operator, if one of the services keeps logins.
    pub operator: Option<Operator>,
    /// By name.
    pub services: BTreeMap<String, Service>,
}

/// Which service keeps the operator's login, and the internal route that tells whether it is still the seeded one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// A service of this manifest.
    pub service: String,
    /// `GET` gives `{"username", "development"}`, `PUT` with `{"password"}` replaces the password.
    pub path: String,
}

/// One service: which component, reachable where, allowed what.
#[derive(Debug, Clone)]
pub struct Service {
    /// The component's file.
    pub component: PathBuf,
    /// The service's own listener, if it has one.
    pub listen: Option<SocketAddr>,
    /// Path prefixes that the component may claim routes under.
    pub mounts: Vec<String>,
    /// Path prefixes, inside the mounts, whose routes may be public.
    pub public: Vec<String>,
    /// Who may call a component that does not describe its routes.
    pub access: PlainAccess,
    /// Host interfaces that are linked into the component.
    pub grants: BTreeSet<Grant>,
    /// Services that the component may call in process.
    pub calls: BTreeSet<String>,
    /// Whose requests one instance may answer.
    pub reuse: Reuse,
    /// What each request may use.
    pub limits: Limits,
    /// Where `[services.<name>]` stands, for messages: a line number.
    pub line: usize,
}

/// Who may call a component that describes no routes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlainAccess {
    /// Anyone.
    Public,
    /// Whoever carries a good token.
    #[default]
    User,
    /// Whoever carries a good token with the role `admin`.
    Admin,
}

/// Whether an instance is used again after a request. What a guest keeps in its memory is there for its next request then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reuse {
    /// Each request gets an instance of its own.
    #[default]
    Never,
    /// For requests of the same login session. Those without a session get an instance of their own.
    Session,
    /// For whoever asks.
    Anyone,
}

/// A host interface beyond WASI that a service may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// `comptoir:platform/storage`: a database of its own.
    Storage,
    /// `comptoir:platform/tokens`: issue access tokens, end sessions.
    Tokens,
    /// `comptoir:platform/token-verifier`.
    TokenVerifier,
    /// `comptoir:platform/passwords`.
    Passwords,
    /// `comptoir:platform/audit`.
    Audit,
}

impl Grant {
    /// Every grant there is.
    pub const ALL: [Self; 5] = [Self::Storage, Self::Tokens, Self::TokenVerifier, Self::Passwords, Self::Audit];

    /// The word that stands for it in a manifest, and the name of its interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Tokens => "tokens",
            Self::TokenVerifier => "token-verifier",
            Self::Passwords => "passwords",
            Self::Audit => "audit",
        }
    }
}

/// `[services.<name>]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceTable {
    component: PathBuf,
    #[serde(default, deserialize_with = "listeners::some_address")]
    listen: Option<SocketAddr>,
    mounts: Spanned<Vec<Spanned<String>>>,
    #[serde(default)]
    public: Vec<Spanned<String>>,
    #[serde(default)]
    access: PlainAccess,
    #[serde(default)]
    grants: BTreeSet<Grant>,
    #[serde(default)]
    calls: Vec<Spanned<String>>,
    #[serde(default)]
    reuse: Reuse,
    #[serde(default)]
    limits: LimitsTable,
}

impl Manifest {
    /// Reads and checks the manifest in a file.
    ///
    /// # Errors
    /// Every fault of its text.
    pub fn read(file: &Path) -> Result<Self, ManifestError> {
        let text = std::fs::read_to_string(file).map_err(|error| {
            let message = format!("cannot read the manifest: {error}. Name an existing one with --manifest");
            Source::new(file, "").refuse(vec![Fault::of_the_whole(message)])
        })?;
        Self::parse(file, &text)
    }

    /// Checks the text of a manifest; `file` is what its paths are relative to and what messages name.
    ///
    /// # Errors
    /// Every fault of the text.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ManifestError> {
        let mut check = Check::new(Source::new(file, text));
        let Some(document) = Document::read(&mut check) else { return Err(check.refuse()) };
        let listeners = document.listeners.as_ref().and_then(|listeners| listeners.check(&check));
        check.instances(document.instances);
        check.operator(document.operator.as_ref(), &document.names);
        check.mounts_are_unique(&document.services);
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
            services,
        })
    }
}

/// Whether a path is a prefix's own or lies under it, segment by segment: `/orders/1` is inside `/orders`, `/orders2` is not.
pub fn is_inside(path: &str, prefix: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
