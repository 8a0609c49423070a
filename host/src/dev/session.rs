//! A session of `comptoir dev`: looks, builds, serves, deploys, and waits for the next change.
//!
//! One thing happens at a time. A change during a build is found when the build has ended, and starts another one. Whatever fails, the
//! old revisions keep serving, and the next change is another chance.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use comptoir::deploy::{DeployError, ReloadError, Report};
use comptoir::duration::in_words;
use comptoir::host::{Host, ManifestSource, Options, recreate_database};
use comptoir::manifest::Manifest;
use comptoir::signature;
use comptoir::telemetry::Log;
use tokio::task::block_in_place;

use super::build::Build;
use super::plan::{Group, groups};
use super::sources::{Snapshot, Stamp, stamp};
use super::terminal::Terminal;
use super::watcher::{Wake, Watcher};
use crate::serve::{Prepared, announce, stop};
use crate::system;

/// After so many builds in a row, each with a change during the one before, the session waits: the build may change its own sources.
const MOST_REPEATS: usize = 3;

/// The stamps of a component's file and of its signature.
type Stamps = (Option<Stamp>, Option<Stamp>);

/// A running `comptoir dev`.
pub(super) struct Session<'l> {
    log: &'l Log,
    file: PathBuf,
    source: ManifestSource,
    data: PathBuf,
    options: Options,
    wake: Arc<Wake>,
    watcher: Watcher,
    terminal: Terminal,
    /// The manifest's text that was read last.
    text: Option<String>,
    /// The last manifest without faults.
    manifest: Option<Manifest>,
    groups: Vec<Group>,
    running: Option<Build>,
    host: Option<Host>,
    /// Whether the host has the last manifest without faults.
    is_applied: bool,
    /// The manifest's text and the components at the last attempt to start or reload.
    attempted: Option<(Option<String>, Vec<Stamps>)>,
    /// The component of each service that was active or refused since the start.
    settled: BTreeMap<String, Stamps>,
    /// The service whose database may be recreated, if the developer answers yes.
    question: Option<String>,
}

impl<'l> Session<'l> {
    /// A session that has not begun.
    pub(super) fn new(prepared: Prepared, log: &'l Log) -> Self {
        let Prepared { file, source, data, options } = prepared;
        let wake = Arc::<Wake>::default();
        Self {
            log,
            file,
            source,
            data,
            options: Options { development: true, ..options },
            watcher: Watcher::new(&wake),
            wake,
            terminal: Terminal::default(),
            text: None,
            manifest: None,
            groups: Vec::new(),
            running: None,
            host: None,
            is_applied: false,
            attempted: None,
            settled: BTreeMap::new(),
            question: None,
        }
    }

    /// What wakes it.
    pub(super) fn wake(&self) -> &Arc<Wake> {
        &self.wake
    }

    /// Runs until it is cancelled.
    pub(super) async fn run(&mut self) {
        loop {
            self.read_manifest();
            let mut built = self.build_changed().await;
            let is_new = self.host.is_none();
            self.apply_manifest(&mut built).await;
            self.deploy_changed(&mut built).await;
            if !is_new {
                self.say_what_stays(&built);
            }
            self.watch();
            self.wait().await;
        }
    }

    /// Ends a running build and the host.
    pub(super) async fn end(self) {
        if let Some(build) = self.running {
            build.end().await;
        }
        if let Some(host) = self.host {
            stop(host, self.log).await;
        }
    }

    fn say(&self, text: &str) {
        self.log.say(text);
    }

    fn complain(&self, text: &str) {
        self.log.complain(text);
    }

    fn read_manifest(&mut self) {
        let text = std::fs::read_to_string(&self.file).ok();
        let is_asked = self.wake.takes_reload();
        if text == self.text && text.is_some() && !is_asked {
            return;
        }
        let is_first = self.text.is_none();
        self.text = text;
        match self.source.read() {
            Ok(manifest) => {
                self.groups = groups(&manifest, &self.data, &self.groups);
                if is_first {
                    self.say_what_is_not_built(&manifest);
                }
                self.manifest = Some(manifest);
                self.is_applied = false;
                self.attempted = None;
            }
            Err(error) => self.complain(&format!("{error}")),
        }
    }

    fn say_what_is_not_built(&self, manifest: &Manifest) {
        for (name, service) in manifest.services.iter().filter(|(_, service)| service.build.is_none()) {
            self.say(&format!(
                "{name}: there is no `build` in [services.{name}], so {} is only deployed when it changes",
                service.component.display()
            ));
        }
    }

    /// Builds the groups whose sources changed. Returns how long each successful build took, by service.
    async fn build_changed(&mut self) -> BTreeMap<String, Duration> {
        let mut took = BTreeMap::new();
        for index in 0..self.groups.len() {
            for repeats in 0.. {
                let Some(changed) = self.look(index) else { break };
                if repeats == MOST_REPEATS {
                    self.say(&format!(
                        "{}: {} changed during each of {MOST_REPEATS} builds. If the build writes it, name it in .gitignore",
                        self.groups[index].names(),
                        changed.display()
                    ));
                    break;
                }
                let built = self.build(index).await;
                took.retain(|name, _| !self.groups[index].services.contains(name));
                took.extend(
                    built
                        .into_iter()
                        .flat_map(|built| self.groups[index].services.iter().map(move |name| (name.clone(), built))),
                );
            }
        }
        took
    }

    /// Looks at the sources of a group. Returns one that changed since the last build began, and remembers their state.
    fn look(&mut self, index: usize) -> Option<PathBuf> {
        let group = &mut self.groups[index];
        let (none, is_first) = (Snapshot::default(), group.built.is_none());
        let before = group.built.as_ref().unwrap_or(&none);
        match block_in_place(|| group.sources.look(before)) {
            Ok(now) => {
                let changed = before.difference(&now).map(Path::to_owned).or_else(|| is_first.then(PathBuf::new));
                group.built = Some(now);
                changed
            }
            Err(error) => {
                let said = format!("{}: {error:#}", group.names());
                // Said once: the next look compares with nothing.
                let is_news = is_first || before.folders().next().is_some();
                group.built = Some(none);
                if is_news {
                    self.say(&said);
                }
                None
            }
        }
    }

    /// Builds a group, and returns how long it took. None if it failed, which it says.
    async fn build(&mut self, index: usize) -> Option<Duration> {
        let names = self.groups[index].names();
        self.say(&format!("{names}: building"));
        let began = Instant::now();
        let manifest = super::sources::resolved(&self.file);
        let folder = self.file.parent().unwrap_or(Path::new(""));
        match Build::start(&self.groups[index].command, folder, &manifest) {
            Ok(build) => self.running = Some(build),
            Err(error) => {
                self.complain(&format!("{names}: cannot start `sh` to build: {error}"));
                return None;
            }
        }
        // The session has it while it waits, so that `end` finds it if this is cancelled.
        let status = self.running.as_mut()?.wait().await;
        self.running = None;
        let took = began.elapsed();
        let why = match status {
            Ok(status) if status.success() => return Some(took),
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let consequence = if self.host.is_some() { ", the old revision keeps serving" } else { "" };
        self.complain(&format!("{names}: the build failed after {} ({why}){consequence}", in_words(took)));
        None
    }

    /// Starts the host, or reloads its manifest, if there is a chance that it succeeds. A reload also deploys components that the host does
    /// not know yet.
    async fn apply_manifest(&mut self, built: &mut BTreeMap<String, Duration>) {
        let Some(manifest) = self.manifest.clone().filter(|_| !self.is_applied) else { return };
        let components = manifest.services.values().map(|service| stamps(&service.component)).collect();
        let attempt = Some((self.text.clone(), components));
        if attempt == self.attempted {
            return;
        }
        self.attempted = attempt;
        if let Some(host) = &self.host {
            let began = Instant::now();
            match host.reload().await {
                Ok(reloaded) => {
                    self.is_applied = true;
                    for report in reloaded.revisions {
                        let name = report.service.clone();
                        self.say_result(&name, built.remove(&name), began.elapsed(), Ok(report));
                        self.forget_group(&name, built);
                    }
                }
                Err(ReloadError::Unchangeable(_)) => {
                    self.say("restarting the host to apply the manifest");
                    self.stop_host().await;
                }
                // The log says why.
                Err(_) => {}
            }
        }
        if self.host.is_none() {
            self.start(manifest).await;
        }
    }

    async fn start(&mut self, manifest: Manifest) {
        let began = Instant::now();
        self.say("starting; new components are compiled first");
        system::raise_descriptor_limit(manifest.listeners.connections);
        match Host::start(manifest, &self.data, self.options.clone()).await {
            Ok(host) => {
                announce(&host, &self.data, began.elapsed());
                self.host = Some(host);
                self.is_applied = true;
                self.options.operator_password = None;
                self.settled.clear();
            }
            Err(error) => self.complain(&format!("{error:#}\ncomptoir: cannot start, waiting for a change")),
        }
    }

    async fn stop_host(&mut self) {
        self.is_applied = false;
        if let Some(host) = self.host.take() {
            stop(host, self.log).await;
        }
    }

    /// Deploys the components whose files changed. `built` says how long the builds took that have just ended. What is left in it was not
    /// deployed.
    async fn deploy_changed(&mut self, built: &mut BTreeMap<String, Duration>) {
        let Some(deployer) = self.host.as_ref().map(|host| host.deployer().clone()) else { return };
        for (name, service) in &deployer.manifest().services {
            let now = stamps(&service.component);
            if self.settled.get(name) == Some(&now) {
                continue;
            }
            if deployer.is_file_active(name).await.unwrap_or(now.0.is_none()) {
                self.settled.insert(name.clone(), now);
                continue;
            }
            // Not forced at the start of the host: if it has reverted this component before, it would do so again.
            let force = self.settled.contains_key(name);
            let began = Instant::now();
            let result = deployer.deploy_file(name, force).await;
            if !matches!(result, Err(DeployError::Busy(_) | DeployError::Crowded(_))) {
                self.settled.insert(name.clone(), now);
            }
            self.say_result(name, built.remove(name), began.elapsed(), result);
            // One line says how long the build took.
            self.forget_group(name, built);
        }
    }

    /// Removes a service and those that are built with it.
    fn forget_group(&self, name: &str, built: &mut BTreeMap<String, Duration>) {
        let is_together = |group: &&Group| group.services.iter().any(|other| other == name);
        let together = self.groups.iter().find(is_together).map(|group| &group.services);
        built.retain(|other, _| !together.is_some_and(|together| together.contains(other)));
    }

    /// Says which builds led to the same components as before.
    fn say_what_stays(&self, built: &BTreeMap<String, Duration>) {
        for group in &self.groups {
            if let Some(took) = group.services.iter().find_map(|name| built.get(name)) {
                self.say(&format!("{}: built in {}, nothing to deploy", group.names(), in_words(*took)));
            }
        }
    }

    fn say_result(&mut self, name: &str, built: Option<Duration>, took: Duration, result: Result<Report, DeployError>) {
        let (built, took) =
            (built.map_or_else(String::new, |built| format!("built in {}, ", in_words(built))), in_words(took));
        match result {
            Ok(_) => self.say(&format!("{name}: {built}active in {took}")),
            Err(error) => {
                self.complain(&format!("{name}: {built}refused after {took}, the old revision keeps serving: {error}"));
                if matches!(error, DeployError::ChangedMigration(_)) {
                    self.offer_to_recreate(name);
                }
            }
        }
    }

    /// Says how the service gets an empty database, and asks for it on a terminal.
    fn offer_to_recreate(&mut self, name: &str) {
        if self.manifest.as_ref().is_some_and(|manifest| manifest.postgres.is_some()) {
            self.say(&format!(
                "{name}: its database is in PostgreSQL, where other hosts may use it, so this command does not recreate it. To \
                 begin with an empty one, stop all hosts and drop its schema: DROP SCHEMA \"service_{name}\" CASCADE"
            ));
            return;
        }
        let command = command_to_recreate(std::env::args(), name);
        self.say(&format!(
            "{name}: or begin with an empty database. Stop this command, then run the next one, which moves the old database to \
             {name}.db.old-TIME:\n  {command}"
        ));
        if self.terminal.begins_to_ask() {
            self.say(&format!("{name}: or do the same now? [y/N]"));
            self.question = Some(name.to_owned());
        }
    }

    async fn answer(&mut self, line: &str) {
        let Some(name) = self.question.take() else { return };
        if !["y", "yes"].contains(&line.trim().to_lowercase().as_str()) {
            self.say(&format!("{name}: its database stays"));
            return;
        }
        let Some(manifest) = self.manifest.clone() else { return };
        self.stop_host().await;
        match block_in_place(|| recreate_database(&manifest, &self.data, &name)) {
            Ok(old) => self.say(&format!("{name}: moved its database to {}", old.display())),
            Err(error) => self.complain(&format!("{error:#}")),
        }
        self.attempted = None;
    }

    /// Watches everything that may change: the sources, the components and the manifest.
    fn watch(&mut self) {
        let components = self.manifest.iter().flat_map(|manifest| manifest.services.values());
        let files = components.map(|service| &*service.component).chain([&*self.file]);
        let mut folders: BTreeSet<PathBuf> = files.filter_map(existing_folder).collect();
        folders.extend(self.groups.iter().filter_map(|group| group.built.as_ref()).flat_map(Snapshot::folders));
        block_in_place(|| self.watcher.watch(folders));
    }

    async fn wait(&mut self) {
        let wake = self.wake.clone();
        tokio::select! {
            () = wake.wait() => {}
            line = self.terminal.line() => self.answer(&line).await,
        }
    }
}

fn stamps(component: &Path) -> Stamps {
    (stamp(component), stamp(&signature::beside(component)))
}

/// The folder of a file, or the nearest one above that exists: a build may make the others.
fn existing_folder(file: &Path) -> Option<PathBuf> {
    super::sources::resolved(file).ancestors().skip(1).find(|folder| folder.is_dir()).map(Path::to_owned)
}

/// This command with another option, as a shell reads it.
fn command_to_recreate(arguments: impl Iterator<Item = String>, name: &str) -> String {
    let mut words: Vec<String> = arguments.collect();
    // An earlier `--recreate` was for an earlier start.
    while let Some(at) = words.iter().position(|word| word == "--recreate") {
        words.drain(at..(at + 2).min(words.len()));
    }
    words.retain(|word| !word.starts_with("--recreate="));
    words.extend(["--recreate".to_owned(), name.to_owned()]);
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,+@%".contains(letter);
    let quoted = words.into_iter().map(|word| {
        if word.chars().all(is_plain) && !word.is_empty() { word } else { format!("'{}'", word.replace('\'', r"'\''")) }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_command_is_this_one_with_the_option() {
        let command = |text: &[&str]| command_to_recreate(text.iter().map(|word| (*word).to_owned()), "todo");
        assert_eq!(command(&["comptoir", "dev"]), "comptoir dev --recreate todo");
        let again = ["target/debug/comptoir", "dev", "--recreate", "a", "--data", "it's", "--recreate=b"];
        assert_eq!(command(&again), r"target/debug/comptoir dev --data 'it'\''s' --recreate todo");
    }
}
