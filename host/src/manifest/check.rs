//! Checks a manifest beyond the types of its values, and collects its faults.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::DeTable;

use super::{
    Credentials, EXPLORER_PATH, Fault, Grant, HOST_NAME, Limits, ManifestError, Operator, OutboundRules, PlainAccess,
    Reuse, SecretRules, Service, ServiceTable, Source, config, files, is_inside,
};
use crate::guest::environment_name;

/// How similar a word must be to be suggested.
/// Clap uses the same value for options.
const SIMILARITY: f64 = 0.7;

/// A running check of a manifest, with the faults so far.
pub(super) struct Check {
    source: Source,
    faults: RefCell<Vec<Fault>>,
}

impl Check {
    pub(super) fn new(source: Source) -> Self {
        Self { source, faults: RefCell::default() }
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    /// Records the positions of the values in the text.
    pub(super) fn note(&mut self, root: &DeTable<'_>) {
        self.source.note(root);
    }

    /// Reports a fault in a part of the text, or in the manifest as a whole.
    pub(super) fn report(&self, span: Option<Range<usize>>, message: &str) {
        let message = message.trim_end();
        let fault = span.map_or_else(|| Fault::of_the_whole(message), |span| self.source.fault_at(&span, message));
        self.faults.borrow_mut().push(fault);
    }

    /// Reports a fault in the value of a dotted key.
    pub(super) fn report_at(&self, key: &str, message: &str) {
        self.faults.borrow_mut().push(self.source.fault(key, message));
    }

    /// Resolves a path of the manifest, which is relative to its folder.
    pub(super) fn path(&self, path: &Path) -> PathBuf {
        self.source.file().parent().unwrap_or(Path::new(".")).join(path)
    }

    /// Ends the check. Returns the source if it has no fault.
    pub(super) fn finish(self) -> Result<Source, ManifestError> {
        if self.faults.borrow().is_empty() { Ok(self.source) } else { Err(self.refuse()) }
    }

    pub(super) fn refuse(self) -> ManifestError {
        self.source.refuse(self.faults.into_inner())
    }

    pub(super) fn instances(&self, instances: u32) {
        if !(1..=10_000).contains(&instances) {
            self.report_at("instances", "instances must be from 1 to 10000");
        }
    }

    pub(super) fn operator(&self, operator: Option<&Operator>, names: &BTreeSet<String>) {
        if let Some(Operator { service, .. }) = operator
            && !names.contains(service)
        {
            let message = format!(
                "operator.service names `{service}`, which is not a service of this manifest{}",
                did_you_mean(service, names)
            );
            self.report_at("operator.service", &message);
        }
    }

    pub(super) fn mounts_are_unique(&self, services: &BTreeMap<Spanned<String>, ServiceTable>) {
        let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, table) in services {
            for mount in table.mounts.get_ref() {
                if let Some(other) = seen.insert(mount.get_ref(), name.get_ref()) {
                    let message = format!(
                        "the mount `{}` of service `{}` already belongs to service `{other}`: give each mount to one service",
                        mount.get_ref(),
                        name.get_ref()
                    );
                    self.report(Some(mount.span()), &message);
                }
            }
        }
    }

    /// Reports a mount that clients could not reach, because the API explorer has its path.
    pub(super) fn mounts_are_not_the_explorers(&self, services: &BTreeMap<Spanned<String>, ServiceTable>) {
        for (name, table) in services {
            for mount in table.mounts.get_ref().iter().filter(|mount| mount.get_ref() == EXPLORER_PATH) {
                let message = format!(
                    "the mount `{EXPLORER_PATH}` of service `{}` is the path of the API explorer: write docs = false under \
                     [listeners], or choose another mount",
                    name.get_ref()
                );
                self.report(Some(mount.span()), &message);
            }
        }
    }

    /// Reports every listener that has the address of an earlier one. `host_listeners` are those that no service owns.
    pub(super) fn addresses_are_unique(
        &self,
        host_listeners: impl IntoIterator<Item = (&'static str, SocketAddr, &'static str)>,
        services: &BTreeMap<Spanned<String>, ServiceTable>,
    ) {
        let host_listeners =
            host_listeners.into_iter().map(|(key, address, whose)| (key.to_owned(), address, whose.to_owned()));
        let of_service = |(name, table): (&Spanned<String>, &ServiceTable)| {
            let name = name.get_ref();
            Some((format!("services.{name}.listen"), table.listen?, format!("service `{name}`")))
        };
        let all = host_listeners.chain(services.iter().filter_map(of_service));
        let mut seen: BTreeMap<SocketAddr, String> = BTreeMap::new();
        // The system picks a free port for port 0, so two of these never collide.
        for (key, address, whose) in all.filter(|(_, address, _)| address.port() != 0) {
            if let Some(other) = seen.get(&address) {
                let message =
                    format!("{address} of {whose} is already the address of {other}: give each listener its own");
                self.report_at(&key, &message);
            }
            seen.entry(address).or_insert(whose);
        }
    }

    pub(super) fn service(
        &self,
        name: &Spanned<String>,
        table: &ServiceTable,
        names: &BTreeSet<String>,
        defaults: Limits,
    ) -> Service {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !name.get_ref().bytes().all(is_plain) || name.get_ref().is_empty() || name.get_ref() == HOST_NAME {
            let message = format!(
                "the service name `{}` may only contain a-z, 0-9 and -, and must not be `{HOST_NAME}`",
                name.get_ref()
            );
            self.report(Some(name.span()), &message);
        }
        self.mounts(table);
        self.strip(table);
        self.credentials(table);
        for call in table.calls.iter().filter(|call| !names.contains(call.get_ref())) {
            let hint = did_you_mean(call.get_ref(), names);
            let message = format!("calls names `{}`, which is not a service of this manifest{hint}", call.get_ref());
            self.report(Some(call.span()), &message);
        }
        let outbound = table.outbound.as_ref().map(|outbound| outbound.check(self));
        let own = |paths: &[Spanned<String>]| paths.iter().map(|path| path.get_ref().clone()).collect();
        Service {
            component: self.path(&table.component),
            build: table.build.as_ref().map(|build| build.get_ref().clone()),
            sources: self.sources(table),
            listen: table.listen,
            mounts: own(table.mounts.get_ref()),
            public: own(&table.public),
            strip: table.strip.as_ref().is_some_and(|strip| *strip.get_ref()),
            access: table.access,
            credentials: table.credentials.as_ref().map(|credentials| *credentials.get_ref()).unwrap_or_default(),
            grants: table.grants.clone(),
            config: config::read(name.get_ref(), &table.config, self),
            files: files::read(name.get_ref(), &table.files, self),
            visible: self.visible(table),
            calls: table.calls.iter().map(|call| call.get_ref().clone()).collect(),
            secrets: self.secrets(table, outbound.as_ref()),
            outbound,
            reuse: table.reuse,
            limits: table.limits.over(defaults),
            line: self.source.line(name.span().start),
        }
    }

    /// The columns that the console shows. Whether they exist is known only when somebody looks.
    fn visible(&self, table: &ServiceTable) -> BTreeSet<String> {
        for column in &table.visible {
            let is_named =
                column.get_ref().split_once('.').is_some_and(|(table, name)| !table.is_empty() && !name.is_empty());
            if !is_named {
                let message = format!(
                    "visible names `{}`: write a table and a column, such as \"logins.username\"",
                    column.get_ref()
                );
                self.report(Some(column.span()), &message);
            }
        }
        if let Some(first) = table.visible.first().filter(|_| !table.grants.contains(&Grant::Storage)) {
            self.report(
                Some(first.span()),
                "visible has an effect only with the grant `storage`: add it, or remove `visible`",
            );
        }
        table.visible.iter().map(|column| column.get_ref().clone()).collect()
    }

    /// What a component is built from, by default the manifest's folder.
    fn sources(&self, table: &ServiceTable) -> Vec<PathBuf> {
        if let Some(build) = table.build.as_ref().filter(|build| build.get_ref().trim().is_empty()) {
            let message = "build is empty: write the shell command that builds the component, or remove the key";
            self.report(Some(build.span()), message);
        }
        match (&table.build, &table.sources) {
            (None, None) => Vec::new(),
            (None, Some(sources)) => {
                let message = "sources says when `comptoir dev` builds again, but there is no `build`: add it, or remove `sources`";
                self.report(Some(sources.span()), message);
                Vec::new()
            }
            (Some(_), Some(sources)) => sources.get_ref().iter().map(|path| self.path(path)).collect(),
            (Some(_), None) => vec![self.path(Path::new("."))],
        }
    }

    /// Checks the secrets. A guest finds them beside its configuration, so their names must differ.
    fn secrets(&self, table: &ServiceTable, outbound: Option<&OutboundRules>) -> Vec<SecretRules> {
        let taken: BTreeSet<String> = table.config.keys().map(|key| environment_name(key.get_ref())).collect();
        for name in table.secrets.keys().filter(|name| taken.contains(&environment_name(name.get_ref()))) {
            let message =
                format!("the secret `{}` has the name of a key in `config`: rename one of them", name.get_ref());
            self.report(Some(name.span()), &message);
        }
        table.secrets.iter().map(|(name, secret)| secret.check(name, outbound, self)).collect()
    }

    /// Checks the mounts and public paths.
    /// They must be path prefixes, and each public path must be under a mount.
    fn mounts(&self, table: &ServiceTable) {
        let mounts = table.mounts.get_ref();
        if mounts.is_empty() {
            let message = "mounts is empty: write at least one path prefix, such as mounts = [\"/orders\"]";
            self.report(Some(table.mounts.span()), message);
        }
        let wrong = mounts.iter().chain(&table.public).filter(|path| !is_prefix(path.get_ref()));
        for path in wrong.clone() {
            let message = format!(
                "`{}` is not a path prefix: write it with a leading slash and without a trailing one, such as \"/orders\"",
                path.get_ref()
            );
            self.report(Some(path.span()), &message);
        }
        // With a wrong mount, every public path under it would look wrong too.
        if wrong.count() > 0 || mounts.is_empty() {
            return;
        }
        let is_outside =
            |path: &&Spanned<String>| !mounts.iter().any(|mount| is_inside(path.get_ref(), mount.get_ref()));
        for path in table.public.iter().filter(is_outside) {
            let mounts: Vec<&str> = mounts.iter().map(|mount| mount.get_ref().as_str()).collect();
            let hint = did_you_mean(path.get_ref(), mounts.iter().copied());
            let message = format!(
                "public names `{}`, which is not under any of the mounts ({}){hint}",
                path.get_ref(),
                mounts.join(", ")
            );
            self.report(Some(path.span()), &message);
        }
    }

    /// With several mounts, two clients' paths would be one path of the component.
    fn strip(&self, table: &ServiceTable) {
        let mounts = table.mounts.get_ref().len();
        if let Some(strip) = table.strip.as_ref().filter(|strip| *strip.get_ref() && mounts > 1) {
            let message = format!(
                "strip allows only one mount, because it removes the mount from the path. There are {mounts}: keep \
                 one, or write a service for each"
            );
            self.report(Some(strip.span()), &message);
        }
    }

    /// Credentials are passed on public routes only, so the service must be able to have some.
    fn credentials(&self, table: &ServiceTable) {
        let can_be_public = table.access == PlainAccess::Public || !table.public.is_empty();
        if let Some(credentials) = &table.credentials
            && *credentials.get_ref() == Credentials::Pass
            && !can_be_public
        {
            let message = "credentials = \"pass\" has an effect on public routes only, and this service has none: add \
                           access = \"public\". If the component describes its routes, list path prefixes in `public`";
            self.report(Some(credentials.span()), message);
        }
        if let Some(credentials) = &table.credentials
            && *credentials.get_ref() == Credentials::Pass
            && table.reuse == Reuse::Anyone
        {
            let message = "credentials = \"pass\" with reuse = \"anyone\" would keep one client's password in memory that serves others: \
                           remove `reuse`";
            self.report(Some(credentials.span()), message);
        }
    }
}

fn is_prefix(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    text == "/" || (text.starts_with('/') && !text.ends_with('/') && text.bytes().all(plain))
}

/// The known word most similar to this one, if any is similar enough.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let similarity = |known: &str| strsim::jaro(&word.to_lowercase(), known);
    let similar =
        known.into_iter().map(|known| (similarity(known), known)).filter(|(similarity, _)| *similarity > SIMILARITY);
    similar.max_by(|(one, _), (other, _)| one.total_cmp(other)).map(|(_, known)| known)
}

fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a (impl AsRef<str> + ?Sized + 'a)>) -> String {
    let near = nearest(word, known.into_iter().map(AsRef::as_ref));
    near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default()
}
