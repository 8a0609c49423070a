//! The host interfaces that a manifest can grant to a service.
//!
//! Each grant has a module of its own with its name, its state, its glue and how it is linked. A new grant needs that module, its WIT,
//! and a line in [`Grant`], `Grant::interface`, [`Grants`] and the functions of [`Grants`].

use std::collections::BTreeSet;
use std::sync::Arc;

use ::storage::Storage;
use ::storage::keyvalue::KeyValue;
use ::storage::observed::{Observed, Observer};
use serde::Deserialize;
use wasmtime::component::Linker;

use super::config::{self, Config};
use super::files::Folders;
use super::interface::Interface;
use super::logging::{self, Author};
use super::{Guest, audit, keyvalue, passwords, storage, token_verifier, tokens};
use crate::audit::{ServiceAudit, Source};
use crate::outbound::{Outbound, RevisionSecrets};
use crate::passwords::Passwords;
use crate::tokens::{Session, Tokens};

/// A host interface beyond WASI that the manifest links for a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grant {
    /// `comptoir:platform/storage`: a database of the service's own.
    Storage,
    /// `wasi:keyvalue`: entries of keys and values in a database of the service's own.
    Keyvalue,
    /// `comptoir:platform/tokens`: issues access tokens and ends sessions.
    Tokens,
    /// `comptoir:platform/token-verifier`: checks access tokens.
    TokenVerifier,
    /// `comptoir:platform/passwords`: hashes and verifies passwords.
    Passwords,
    /// `comptoir:platform/audit`: writes events to the audit log.
    Audit,
}

impl Grant {
    /// All grants.
    pub const ALL: [Self; 6] =
        [Self::Storage, Self::Keyvalue, Self::Tokens, Self::TokenVerifier, Self::Passwords, Self::Audit];

    fn interface(self) -> &'static Interface {
        match self {
            Self::Storage => &storage::INTERFACE,
            Self::Keyvalue => &keyvalue::INTERFACE,
            Self::Tokens => &tokens::INTERFACE,
            Self::TokenVerifier => &token_verifier::INTERFACE,
            Self::Passwords => &passwords::INTERFACE,
            Self::Audit => &audit::INTERFACE,
        }
    }

    /// Its word in a manifest's `grants`, which is also the name of its interface if the host defines it.
    pub fn name(self) -> &'static str {
        self.interface().name
    }

    /// Adds the interface to a linker.
    ///
    /// # Errors
    /// The linker already has it.
    pub fn link(self, linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
        (self.interface().link)(linker)
    }
}

/// What the manifest must contain so that the host links an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// Every component may import it.
    Nothing,
    /// The service needs this grant.
    Grant(Grant),
    /// The host never links it.
    Impossible,
}

impl Requirement {
    /// The requirement of an import such as `wasi:io/streams@0.2.6`.
    pub fn of(import: &str) -> Self {
        let interface = import.split('@').next().unwrap_or(import);
        if let Some(name) = interface.strip_prefix("comptoir:platform/").filter(|name| *name != "session") {
            let own = Grant::ALL.into_iter().filter(|grant| *grant != Grant::Keyvalue);
            return own.into_iter().find(|grant| grant.name() == name).map_or(Self::Impossible, Self::Grant);
        }
        let always = ["wasi:io/", "wasi:clocks/", "wasi:random/", "wasi:cli/", "wasi:filesystem/", "wasi:sockets/"];
        match interface {
            _ if import == config::STORE || import == logging::LOGGING => Self::Nothing,
            _ if keyvalue::IMPORTS.contains(&import) => Self::Grant(Grant::Keyvalue),
            "comptoir:platform/session" | "wasi:http/types" | "wasi:http/outgoing-handler" | "wasi:http/client" => {
                Self::Nothing
            }
            _ if always.iter().any(|package| interface.starts_with(package)) => Self::Nothing,
            _ => Self::Impossible,
        }
    }

    /// Why a service may not import it, and how to change that. None if it may.
    ///
    /// The text continues a sentence that begins with the component and the import. `place` names the service's table in the manifest.
    pub fn refusal(self, grants: &BTreeSet<Grant>, place: &str) -> Option<String> {
        match self {
            Self::Grant(grant) if !grants.contains(&grant) => {
                Some(format!("which was not granted: add \"{}\" to `grants` in {place}", grant.name()))
            }
            Self::Impossible => Some("which this host does not offer to any service".to_owned()),
            _ => None,
        }
    }
}

/// What the host can grant to one service.
pub struct Providers {
    /// Whose lines the log has.
    pub author: Author,
    /// The service's own database, if the manifest grants `storage`.
    pub storage: Option<Arc<dyn Storage>>,
    /// The service's own entries, if the manifest grants `keyvalue`.
    pub keyvalue: Option<Arc<KeyValue>>,
    /// The issuer and verifier of access tokens.
    pub tokens: Arc<Tokens>,
    /// The threads that hash passwords.
    pub passwords: Arc<Passwords>,
    /// The audit log, in the service's name.
    pub audit: ServiceAudit,
    /// The service's configuration.
    pub config: Config,
    /// The service's secrets, if its manifest has a table `secrets`.
    pub secrets: Option<Arc<RevisionSecrets>>,
    /// The way to remote hosts, if the service's manifest has a table `outbound`.
    pub outbound: Option<Arc<Outbound>>,
    /// The folders that the service may read.
    pub folders: Folders,
}

/// The state behind the host interfaces of one service, or of one request. Fields of missing grants are none.
#[derive(Clone, Default)]
pub struct Grants {
    /// The caller's session. It needs no grant.
    pub session: Option<Session>,
    /// Whose lines the log has. It needs no grant.
    pub author: Author,
    /// The service's own database.
    pub storage: Option<Arc<dyn Storage>>,
    /// The service's own entries.
    pub keyvalue: Option<Arc<KeyValue>>,
    /// Used by both `tokens` and `token-verifier`. A guest can use only the interface that is linked.
    pub tokens: Option<Arc<Tokens>>,
    /// Password hashing.
    pub passwords: Option<Arc<Passwords>>,
    /// Used by `audit`, and by `tokens` to record issued tokens and ended sessions.
    pub audit: Option<ServiceAudit>,
    /// The configuration. It needs no grant, and is empty if the manifest has none.
    pub config: Arc<Config>,
    /// The secrets. The guest finds their placeholders beside its configuration.
    pub secrets: Option<Arc<RevisionSecrets>>,
    /// Requests to remote hosts. Granted by the table `outbound` instead of a word in `grants`.
    pub outbound: Option<Arc<Outbound>>,
    /// The folders of the manifest. They need no grant.
    pub folders: Arc<Folders>,
}

impl Grants {
    /// Selects the state that a service with these grants may use.
    pub fn select(granted: &BTreeSet<Grant>, providers: Providers) -> Self {
        let has = |grant| granted.contains(&grant);
        Self {
            session: None,
            author: providers.author,
            storage: providers.storage.filter(|_| has(Grant::Storage)),
            keyvalue: providers.keyvalue.filter(|_| has(Grant::Keyvalue)),
            tokens: (has(Grant::Tokens) || has(Grant::TokenVerifier)).then_some(providers.tokens),
            passwords: has(Grant::Passwords).then_some(providers.passwords),
            audit: (has(Grant::Tokens) || has(Grant::Audit)).then_some(providers.audit),
            config: Arc::new(match &providers.secrets {
                Some(secrets) => providers.config.and(secrets.placeholders()),
                None => providers.config,
            }),
            secrets: providers.secrets,
            outbound: providers.outbound,
            folders: Arc::new(providers.folders),
        }
    }

    /// The state for one request. Its audit events name the source of the request.
    #[must_use]
    pub fn for_request(&self, session: Option<&Session>, source: &Source) -> Self {
        let audit = self.audit.as_ref().map(|audit| audit.for_request(source));
        let exposing = self.secrets.as_ref().filter(|secrets| secrets.exposes_any());
        let config =
            exposing.map_or_else(|| self.config.clone(), |secrets| Arc::new(self.config.and(secrets.exposed())));
        let author = self.author.for_request(source.request_id.clone());
        Self { session: session.cloned(), author, audit, config, ..self.clone() }
    }

    /// The same state, with an observer of all SQL statements.
    #[must_use]
    pub fn observed_by(self, observer: Option<Arc<dyn Observer>>) -> Self {
        let Some(observer) = observer else { return self };
        let observed = |storage| Arc::new(Observed::new(storage, observer)) as Arc<dyn Storage>;
        Self { storage: self.storage.map(observed), ..self }
    }

    /// The state for a probe: writes are rolled back, and there are no tokens, no audit log and no remote hosts.
    #[must_use]
    pub fn for_rehearsal(&self) -> Self {
        let storage = self.storage.clone().map(storage::for_rehearsal);
        let keyvalue = self.keyvalue.as_ref().map(|entries| Arc::new(entries.for_rehearsal()));
        Self { storage, keyvalue, passwords: self.passwords.clone(), ..self.for_describe() }
    }

    /// The state for `describe`: the log, the configuration, with placeholders instead of secrets, and the folders, which a guest can
    /// only read.
    #[must_use]
    pub fn for_describe(&self) -> Self {
        let (author, config, folders) = (self.author.clone(), self.config.clone(), self.folders.clone());
        Self { author, config, folders, ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer as _;
    use serde::de::value::{Error, StrDeserializer};

    use super::*;

    #[test]
    fn a_grant_has_the_name_of_its_interface_in_a_manifest() {
        for import in keyvalue::IMPORTS {
            assert_eq!(Requirement::of(import), Requirement::Grant(Grant::Keyvalue));
        }
        for other in [
            "wasi:keyvalue/store@0.2.0-draft2",
            "wasi:keyvalue/watcher@0.2.0-draft",
            "comptoir:platform/keyvalue@0.1.0",
            "wasi:logging/logging@0.1.0",
        ] {
            assert_eq!(Requirement::of(other), Requirement::Impossible);
        }
        for grant in Grant::ALL {
            let word: StrDeserializer<'_, Error> = grant.name().into_deserializer();
            assert_eq!(Grant::deserialize(word).unwrap(), grant);
            if grant == Grant::Keyvalue {
                continue;
            }
            let import = format!("comptoir:platform/{}@0.1.0", grant.name());
            assert_eq!(Requirement::of(&import), Requirement::Grant(grant));
        }
    }
}
