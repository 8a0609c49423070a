//! The commands that try components without a running host: `check` and `inspect`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Args;
use comptoir::deploy::{Served, Trial};
use comptoir::engine::{self, Interfaces};
use comptoir::guest::{Grant, Requirement};
use comptoir::host::{Caches, dry_run};
use comptoir::manifest::{Manifest, is_inside};
use comptoir::printable::printable;
use comptoir::route::{Access, Route};
use hyper::header::AUTHORIZATION;
use storage::folder::CACHE;

use crate::output::{complain, outln, say};
use crate::project::{DataOption, ManifestOption};

/// `comptoir check`
#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    manifest: ManifestOption,
    #[command(flatten)]
    cache: CacheOption,
    // Its compilation cache is read too.
    #[command(flatten)]
    data: DataOption,
}

/// `comptoir inspect`
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The component's file.
    component: PathBuf,
    #[command(flatten)]
    cache: CacheOption,
}

/// Where compiled components are kept for the next time.
#[derive(Debug, Args)]
struct CacheOption {
    /// The compilation cache: compiled components and the key that authenticates them. Default: `comptoir` in the user's cache folder,
    /// XDG_CACHE_HOME or ~/.cache.
    #[arg(long, env = "COMPTOIR_CACHE", value_name = "FOLDER")]
    cache: Option<PathBuf>,
}

impl CacheOption {
    fn folder(&self) -> PathBuf {
        let of_user = || {
            let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
            absolute("XDG_CACHE_HOME")
                .or_else(|| Some(absolute("HOME")?.join(".cache")))
                .unwrap_or_else(std::env::temp_dir)
        };
        self.cache.clone().unwrap_or_else(|| of_user().join("comptoir"))
    }
}

impl Check {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let file = self.manifest.find()?;
        let manifest = Manifest::read(&file)?;
        say(&format!(
            "starting {} components on empty databases; new ones are compiled first",
            manifest.services.len()
        ));
        let caches = Caches { own: self.cache.folder(), other: Some(self.data.find().join(CACHE)) };
        let trial = start(&manifest, caches)?;
        let refused: Vec<_> = trial.values().filter_map(|tried| tried.as_ref().err()).collect();
        for error in &refused {
            complain(&error.to_string());
        }
        ensure!(refused.is_empty(), "{}: {} of {} components cannot serve", file.display(), refused.len(), trial.len());
        outln!("{} is valid", file.display());
        for (name, served) in trial.iter().filter_map(|(name, tried)| Some((name, tried.as_ref().ok()?))) {
            let migrations = served.description.as_ref().map_or(0, |description| description.migrations.len());
            let digest = &served.revision.digest()[..12];
            outln!("  {name:<12} {digest}  {} routes, {migrations} migrations", served.routes.len());
        }
        if manifest.postgres.is_some() {
            outln!(
                "  not checked: PostgreSQL. The components ran on SQLite. Their migrations were translated, but neither they nor \
                 other statements ran on a server"
            );
        }
        Ok(())
    }
}

impl Inspect {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let file = &self.component;
        let shown = file.display();
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
        let interfaces = engine::inspect(&bytes).with_context(|| shown.to_string())?;
        outln!(
            "{shown}: {}, for {}",
            bytesize::ByteSize::b(bytes.len() as u64).display().iec(),
            interfaces.handler.interface()
        );
        for import in &interfaces.imports {
            let note = note(import, &interfaces);
            outln!("  imports {}{note}", printable(import));
        }
        let impossible = |import: &&String| Requirement::of(import) == Requirement::Impossible;
        let missing: Vec<&str> = interfaces.required.iter().filter(impossible).map(String::as_str).collect();
        ensure!(
            missing.is_empty(),
            "{shown} imports what this host does not offer to any service: {}",
            printable(&missing.join(", "))
        );
        let name = service_name(file);
        let wanted = grants(&interfaces);
        let Some(routes) = describe(file, &name, &wanted, &interfaces, self.cache.folder())? else {
            outln!("\nIt does not describe itself, so the manifest says where it is served and who may call it:\n");
            let mount = format!("/{name}");
            print_service(&name, file, &wanted, &[&mount], &[], &["access = \"user\"  # or \"public\""]);
            return Ok(());
        };
        outln!("\nThe manifest needs:\n");
        let open = routes.iter().filter(|route| route.access == Access::Public).map(|route| fixed(&route.pattern));
        let open = outermost(&open.collect());
        let reads_credentials =
            |route: &Route| route.headers.as_ref().is_some_and(|headers| headers.contains(&AUTHORIZATION));
        let more: &[&str] = if routes.iter().any(reads_credentials) { &["credentials = \"pass\""] } else { &[] };
        let visible = routes.iter().filter(|route| route.access != Access::Internal);
        let mounts: BTreeSet<String> = visible.map(|route| mount(&route.pattern)).collect();
        let mounts: Vec<&str> = mounts.iter().map(String::as_str).collect();
        print_service(&name, file, &wanted, &mounts, &open, more);
        Ok(())
    }
}

/// Tries the services of a manifest on empty databases.
fn start(manifest: &Manifest, caches: Caches) -> anyhow::Result<Trial> {
    let compiler =
        std::env::current_exe().context("cannot find the path of this program, which compiles components")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let started = runtime.block_on(dry_run(manifest, Some(compiler), caches));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    started
}

/// What a component needs so that it may import an interface.
fn note(import: &str, interfaces: &Interfaces) -> String {
    if !interfaces.required.iter().any(|required| required == import) {
        return "  (only types)".to_owned();
    }
    match Requirement::of(import) {
        Requirement::Nothing => String::new(),
        Requirement::Grant(grant) => format!("  (needs the grant \"{}\")", grant.name()),
        Requirement::Impossible => "  (not offered by this host)".to_owned(),
    }
}

fn grants(interfaces: &Interfaces) -> BTreeSet<Grant> {
    let grant = |import: &String| match Requirement::of(import) {
        Requirement::Grant(grant) => Some(grant),
        _ => None,
    };
    interfaces.required.iter().filter_map(grant).collect()
}

/// Asks a component to describe itself, prints its description, and returns its routes. None if it does not describe itself.
fn describe(
    file: &Path,
    name: &str,
    grants: &BTreeSet<Grant>,
    interfaces: &Interfaces,
    cache: PathBuf,
) -> anyhow::Result<Option<Vec<Route>>> {
    if !interfaces.describes_itself {
        return Ok(None);
    }
    let file = file.canonicalize().with_context(|| format!("cannot read {}", file.display()))?;
    // It may do all that it asks for, as far as its description is concerned.
    let text = format!(
        "[listeners]\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[services.{name}]\ncomponent = {}\nmounts = [\"/\"]\n\
         public = [\"/\"]\ncredentials = \"pass\"\ngrants = [{}]\nlimits = {{ memory = \"128 MiB\" }}\n",
        toml_string(&file.display().to_string()),
        quoted(grants.iter().map(|grant| grant.name())),
    );
    let manifest = Manifest::parse(Path::new("comptoir.toml"), &text)?;
    let mut trial = start(&manifest, Caches { own: cache, other: None })?;
    let Served { description, routes, .. } = &trial.remove(name).context("there is one service")??;
    if let Some(description) = description {
        outln!("  describes {} {}", printable(&description.name), printable(&description.version));
        for route in routes {
            let method = route.method.as_ref().map_or("*", hyper::Method::as_str);
            outln!("  route {method:<6} {}  ({:?})", printable(&route.pattern), route.access);
        }
        outln!("  migrations: {}, probes: {}", description.migrations.len(), description.probes.len());
    }
    Ok(Some(routes.clone()))
}

/// Prints the table of a service in a manifest.
fn print_service(name: &str, file: &Path, grants: &BTreeSet<Grant>, mounts: &[&str], public: &[&str], more: &[&str]) {
    outln!("[services.{name}]");
    outln!("component = {}", toml_string(&file.display().to_string()));
    outln!("mounts = [{}]", quoted(mounts.iter().copied()));
    if !public.is_empty() {
        outln!("public = [{}]", quoted(public.iter().copied()));
    }
    if !grants.is_empty() {
        outln!("grants = [{}]", quoted(grants.iter().map(|grant| grant.name())));
    }
    more.iter().for_each(|line| outln!("{line}"));
}

/// The segments of a pattern before its first parameter, as a prefix.
fn fixed(pattern: &str) -> &str {
    let end = pattern.find('{').unwrap_or(pattern.len());
    match pattern[..end].trim_end_matches('/') {
        "" => "/",
        fixed => fixed,
    }
}

/// The prefixes that are inside no other one.
fn outermost<'p>(prefixes: &BTreeSet<&'p str>) -> Vec<&'p str> {
    let is_inner = |prefix: &&str| prefixes.iter().any(|other| other != prefix && is_inside(prefix, other));
    prefixes.iter().copied().filter(|prefix| !is_inner(prefix)).collect()
}

/// The first segment of a path, as a mount.
fn mount(pattern: &str) -> String {
    match pattern.trim_start_matches('/').split('/').next() {
        Some(first) if !first.contains('{') => format!("/{first}"),
        _ => "/".to_owned(),
    }
}

/// A name for the service, from the name of the component's file.
fn service_name(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let is_plain = |letter: char| letter.is_ascii_alphanumeric();
    let words: Vec<&str> = stem.split(|letter| !is_plain(letter)).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "service".to_owned() } else { words.join("-") }
}

fn quoted<'t>(texts: impl Iterator<Item = &'t str>) -> String {
    texts.map(toml_string).collect::<Vec<_>>().join(", ")
}

fn toml_string(text: &str) -> String {
    toml::Value::from(text).to_string()
}
