//! What the operator decides: listeners, limits, and for each service its component, mounts, grants and limits.
//!
//! A manifest is read and checked as a whole before anything else happens, so a mistake in it opens no port and touches
//! no file. Every complaint names the file, the line and what to write instead. Paths in it are relative to its folder.

mod audit;
mod deploy;
mod limits;
mod listeners;
mod passwords;
mod postgres;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use listeners::ListenersTable;
use postgres::PostgresTable;

pub use audit::AuditRules;
pub use deploy::DeployRules;
pub use limits::{Limits, LimitsTable};
pub use listeners::{Listeners, Tls};
pub use passwords::PasswordRules;
pub use postgres::Postgres;

/// What internal routes see as their caller when the host itself calls, so no service has this name.
pub const HOST_NAME: &str = "host";

/// A manifest that was read and found sound.
#[derive(Debug, Clone)]
pub struct Manifest {
    /// The file it came from.
    pub file: PathBuf,
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

/// Why a manifest was refused.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {message}", file.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
pub struct ManifestError {
    /// The manifest.
    pub file: PathBuf,
    /// Counts from 1; none when the file could not be read at all.
    pub line: Option<usize>,
    /// What is wrong and what to write.
    pub message: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    listeners: Spanned<ListenersTable>,
    #[serde(default = "default_instances")]
    instances: Spanned<u32>,
    #[serde(default)]
    limits: LimitsTable,
    #[serde(default)]
    deploy: DeployRules,
    #[serde(default)]
    audit: AuditRules,
    #[serde(default)]
    passwords: PasswordRules,
    postgres: Option<Spanned<PostgresTable>>,
    operator: Option<Spanned<Operator>>,
    #[serde(default)]
    services: BTreeMap<Spanned<String>, ServiceTable>,
}

fn default_instances() -> Spanned<u32> {
    Spanned::new(0..0, 1000)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServiceTable {
    component: PathBuf,
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
    /// One mistake, the first that is found.
    pub fn read(file: &Path) -> Result<Self, ManifestError> {
        let text = std::fs::read_to_string(file).map_err(|error| ManifestError {
            file: file.to_owned(),
            line: None,
            message: format!("cannot read the manifest: {error}. Name an existing one with --manifest"),
        })?;
        Self::parse(file, &text)
    }

    /// Checks the text of a manifest; `file` is what its paths are relative to and what messages name.
    ///
    /// # Errors
    /// One mistake, the first that is found.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ManifestError> {
        let check = Check { file, text };
        let document: Document =
            toml::from_str(text).map_err(|error| check.refuse(error.span().map(|span| span.start), error.message()))?;
        let listeners = document.listeners.get_ref().check(document.listeners.span().start, &check)?;
        if *document.instances.get_ref() == 0 || *document.instances.get_ref() > 10_000 {
            return Err(check.refuse(Some(document.instances.span().start), "instances must be from 1 to 10000"));
        }
        let names: BTreeSet<&str> = document.services.keys().map(|name| name.get_ref().as_str()).collect();
        if names.is_empty() {
            return Err(check.refuse(None, "there is no service: write at least one [services.<name>]"));
        }
        if let Some(operator) = &document.operator
            && !names.contains(operator.get_ref().service.as_str())
        {
            let message =
                format!("operator.service names `{}`, which is not a service here", operator.get_ref().service);
            return Err(check.refuse(Some(operator.span().start), &message));
        }
        check.mounts_are_unique(&document.services)?;
        check.addresses_are_unique(document.listeners.get_ref(), &document.services)?;
        let defaults = document.limits.over(Limits::default());
        let mut services = BTreeMap::new();
        for (name, table) in &document.services {
            services.insert(name.get_ref().clone(), check.service(name, table, &names, defaults)?);
        }
        Ok(Self {
            file: file.to_owned(),
            listeners,
            instances: document.instances.into_inner(),
            deploy: document.deploy,
            audit: document.audit,
            passwords: document.passwords,
            postgres: document.postgres.as_ref().map(|table| PostgresTable::read(table, &check)),
            operator: document.operator.map(Spanned::into_inner),
            services,
        })
    }
}

/// Finds the line of a mistake and words the complaint.
struct Check<'a> {
    file: &'a Path,
    text: &'a str,
}

impl Check<'_> {
    fn line(&self, offset: usize) -> usize {
        self.text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
    }

    fn refuse(&self, offset: Option<usize>, message: &str) -> ManifestError {
        ManifestError {
            file: self.file.to_owned(),
            line: offset.map(|offset| self.line(offset)),
            message: message.trim_end().to_owned(),
        }
    }

    fn mounts_are_unique(&self, services: &BTreeMap<Spanned<String>, ServiceTable>) -> Result<(), ManifestError> {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, table) in services {
            for mount in table.mounts.get_ref() {
                if let Some(other) = seen.insert(mount.get_ref(), name.get_ref()) {
                    let message = format!(
                        "the mount `{}` of service `{}` belongs to service `{other}` already: give each mount to one service",
                        mount.get_ref(),
                        name.get_ref()
                    );
                    return Err(self.refuse(Some(mount.span().start), &message));
                }
            }
        }
        Ok(())
    }

    fn addresses_are_unique(
        &self,
        listeners: &ListenersTable,
        services: &BTreeMap<Spanned<String>, ServiceTable>,
    ) -> Result<(), ManifestError> {
        let mut seen = BTreeSet::from([listeners.gateway]);
        let at_admin = (listeners.admin, None);
        let own = services.iter().filter_map(|(name, table)| Some((table.listen?, Some(name))));
        for (address, name) in std::iter::once(at_admin).chain(own).filter(|(address, _)| address.port() != 0) {
            if !seen.insert(address) {
                let whose =
                    name.map_or("the admin listener".to_owned(), |name| format!("service `{}`", name.get_ref()));
                let message = format!("{address} of {whose} is another listener's address already: give each its own");
                return Err(self.refuse(name.map(|name| name.span().start), &message));
            }
        }
        Ok(())
    }

    fn service(
        &self,
        name: &Spanned<String>,
        table: &ServiceTable,
        names: &BTreeSet<&str>,
        defaults: Limits,
    ) -> Result<Service, ManifestError> {
        let at = name.span().start;
        if !name.get_ref().bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            || name.get_ref().is_empty()
            || name.get_ref() == HOST_NAME
        {
            let message =
                format!("the service name `{}` must be of a-z, 0-9 and -, and not `{HOST_NAME}`", name.get_ref());
            return Err(self.refuse(Some(at), &message));
        }
        let mounts = table.mounts.get_ref();
        if mounts.is_empty() {
            let message = "mounts is empty: write at least one path prefix, such as mounts = [\"/orders\"]";
            return Err(self.refuse(Some(table.mounts.span().start), message));
        }
        for path in mounts.iter().chain(&table.public) {
            self.path(path)?;
        }
        for path in &table.public {
            if !mounts.iter().any(|mount| is_inside(path.get_ref(), mount.get_ref())) {
                let message = format!("public names `{}`, which is under none of the mounts", path.get_ref());
                return Err(self.refuse(Some(path.span().start), &message));
            }
        }
        for call in &table.calls {
            if !names.contains(call.get_ref().as_str()) {
                let message = format!("calls names `{}`, which is not a service of this manifest", call.get_ref());
                return Err(self.refuse(Some(call.span().start), &message));
            }
        }
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let own = |paths: &[Spanned<String>]| paths.iter().map(|path| path.get_ref().clone()).collect();
        Ok(Service {
            component: folder.join(&table.component),
            listen: table.listen,
            mounts: own(mounts),
            public: own(&table.public),
            access: table.access,
            grants: table.grants.clone(),
            calls: table.calls.iter().map(|call| call.get_ref().clone()).collect(),
            reuse: table.reuse,
            limits: table.limits.over(defaults),
            line: self.line(at),
        })
    }

    fn path(&self, path: &Spanned<String>) -> Result<(), ManifestError> {
        let text = path.get_ref();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
        if text == "/" || (text.starts_with('/') && !text.ends_with('/') && text.bytes().all(plain)) {
            return Ok(());
        }
        let message = format!(
            "`{text}` is not a path prefix: write it with a leading and no trailing slash, such as \"/orders\""
        );
        Err(self.refuse(Some(path.span().start), &message))
    }
}

/// Whether a path is a prefix's own or lies under it, segment by segment: `/orders/1` is inside `/orders`, `/orders2` is not.
pub fn is_inside(path: &str, prefix: &str) -> bool {
    prefix == "/" || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
