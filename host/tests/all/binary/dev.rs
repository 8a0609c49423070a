//! `comptoir dev`: builds, serves, and builds and deploys again whenever a source changes.
//!
//! The projects here copy a component that exists already. So a build takes no time, and it fails if the component is missing.

use std::path::Path;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::json;
use tempfile::TempDir;
use testing::built::{compiled, program};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, Command};

use crate::deploys::texts::rewritten;
use crate::deploys::{digest, service, variant};

const BUILD: &str = "cp next.wasm service.wasm";

/// A folder with a manifest, and with the component that its build copies.
struct Project(TempDir);

impl Project {
    fn new(build: &str) -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        project.write_manifest(build, 50);
        project.write("next.wasm", &variant("good"));
        project
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        // In one step, so that no build reads a half of it.
        let new = self.0.path().join(".new");
        std::fs::write(&new, bytes).unwrap();
        std::fs::rename(new, self.0.path().join(file)).unwrap();
    }

    fn write_manifest(&self, build: &str, instances: u32) {
        let listeners = "[listeners]\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
        let deploy = "[deploy]\ncompile_time = \"10m\"\nprobe_time = \"10m\"\nwatch = \"10m\"\n";
        let service = service("service.wasm", &format!("build = {build:?}\nlimits = {{ queue_time = \"1m\" }}"));
        self.write("comptoir.toml", format!("instances = {instances}\n{listeners}{deploy}{service}").as_bytes());
    }

    fn has(&self, file: &str) -> bool {
        self.0.path().join(file).exists()
    }

    /// The databases that were moved aside.
    fn old_databases(&self) -> Vec<String> {
        let files = std::fs::read_dir(self.0.path().join("data")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.contains(".db.old-")).collect()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(program());
        command.arg("dev").arg("--cache").arg(compiled());
        self.prepared(command)
    }

    fn prepared(&self, mut command: Command) -> Command {
        command.current_dir(self.0.path()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }
}

/// A running `comptoir dev`.
struct Dev {
    process: Child,
    said: Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>>,
    announced: Option<Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>>>,
    gateway: String,
}

impl Dev {
    /// Starts it, and waits until it serves.
    async fn serving(project: &Project) -> Self {
        let mut dev = Self::spawn(project.command());
        dev.serves().await;
        dev
    }

    fn spawn(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let announced: Box<dyn AsyncRead + Send + Unpin> = Box::new(process.stdout.take().unwrap());
        let said: Box<dyn AsyncRead + Send + Unpin> = Box::new(process.stderr.take().unwrap());
        let (announced, said) = (BufReader::new(announced).lines(), BufReader::new(said).lines());
        Self { process, said, announced: Some(announced), gateway: String::new() }
    }

    /// Waits until the host announces its gateway.
    async fn serves(&mut self) {
        let announced = self.announced.as_mut().unwrap();
        let line = until(announced, "gateway  ").await;
        self.gateway = line.trim().trim_start_matches("gateway").trim().to_owned();
    }

    /// Waits for a line on stderr, and returns it.
    async fn says(&mut self, text: &str) -> String {
        until(&mut self.said, text).await
    }

    /// Waits until a component is active, and asserts that it answers.
    async fn deploys(&mut self, component: &[u8]) {
        let line = self.says("active in ").await;
        assert!(line.contains("comptoir: variant: built in "), "{line}");
        self.answers(component).await;
    }

    async fn answers(&self, component: &[u8]) {
        let answer = self.client().get(self.items()).send().await.unwrap();
        let revision = answer.headers()["x-comptoir-revision"].to_str().unwrap().to_owned();
        assert_eq!(revision, format!("variant@{}", &digest(component)[..12]));
    }

    async fn add(&self, name: &str) {
        let added = self.client().post(self.items()).json(&json!({ "name": name })).send().await.unwrap();
        assert_eq!(added.status(), 201);
    }

    async fn count(&self) -> serde_json::Value {
        let answer = self.client().get(self.items()).send().await.unwrap();
        answer.json::<serde_json::Value>().await.unwrap()["data"]["items"].clone()
    }

    fn client(&self) -> reqwest::Client {
        reqwest::Client::builder().no_proxy().build().unwrap()
    }

    fn items(&self) -> String {
        format!("{}/variant/items", self.gateway)
    }

    /// Ends it as Ctrl-C does.
    async fn stop(mut self) {
        let id = i32::try_from(self.process.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), Signal::INT).unwrap();
        // It must not wait for a reader of its output.
        while self.said.next_line().await.unwrap().is_some() {}
        assert!(self.process.wait().await.unwrap().success());
    }
}

async fn until(lines: &mut Lines<BufReader<Box<dyn AsyncRead + Send + Unpin>>>, text: &str) -> String {
    let mut before = Vec::new();
    loop {
        let line = lines.next_line().await.unwrap();
        let line = line.unwrap_or_else(|| panic!("it ended and did not say `{text}`: {before:#?}"));
        if line.contains(text) {
            return line;
        }
        before.push(line);
    }
}

#[tokio::test]
async fn dev_builds_deploys_each_change_and_keeps_serving_when_a_build_fails() {
    let project = Project::new(BUILD);
    let mut dev = Dev::serving(&project).await;
    dev.answers(&variant("good")).await;

    let second = variant("good-2");
    project.write("next.wasm", &second);
    dev.deploys(&second).await;

    std::fs::remove_file(project.0.path().join("next.wasm")).unwrap();
    dev.says("cp: ").await;
    let line = dev.says("variant: the build failed after ").await;
    assert!(line.ends_with("(exit status: 1), the old revision keeps serving"), "{line}");
    dev.answers(&second).await;

    project.write("next.wasm", b"no component");
    let line = dev.says("variant: built in ").await;
    assert!(line.contains(", refused after ") && line.contains("the old revision keeps serving: "), "{line}");
    dev.answers(&second).await;

    project.write("next.wasm", &second);
    dev.says("variant: built in ").await;
    let third = variant("good-3");
    project.write("next.wasm", &third);
    dev.deploys(&third).await;
    dev.stop().await;
}

#[tokio::test]
async fn dev_reloads_a_changed_manifest_and_restarts_the_host_if_it_must() {
    let project = Project::new(BUILD);
    project.write("comptoir.toml", b"[services]\n");
    let mut dev = Dev::spawn(project.command());
    dev.says("the table [listeners] is missing").await;
    project.write_manifest(BUILD, 50);
    dev.serves().await;

    let other = variant("good-2");
    project.write("other.wasm", &other);
    dev.says("variant: built in ").await;
    project.write_manifest("cp other.wasm service.wasm", 50);
    dev.deploys(&other).await;

    project.write_manifest("cp other.wasm service.wasm", 51);
    dev.says("comptoir: restarting the host to apply the manifest").await;
    dev.serves().await;
    dev.answers(&other).await;
    dev.stop().await;
}

#[tokio::test]
async fn a_component_without_a_command_is_deployed_when_its_file_changes() {
    let project = Project::new(BUILD);
    let manifest = std::fs::read_to_string(project.0.path().join("comptoir.toml")).unwrap();
    project.write("comptoir.toml", manifest.replace(&format!("build = {BUILD:?}"), "").as_bytes());
    let mut dev = Dev::spawn(project.command());
    dev.says("variant: there is no `build` in [services.variant]").await;
    dev.says("cannot start, waiting for a change").await;
    project.write("service.wasm", &variant("good"));
    dev.serves().await;
    let second = variant("good-2");
    project.write("service.wasm", &second);
    dev.says("comptoir: variant: active in ").await;
    dev.answers(&second).await;
}

#[tokio::test]
async fn a_change_during_a_build_starts_it_once_more() {
    let project = Project::new("cp next.wasm service.wasm && echo copied >&2 && head -n 1 ../go >&2");
    // A pipe outside of the sources holds the build until somebody writes to it.
    let folder = project.0.path().join("project");
    std::fs::create_dir(&folder).unwrap();
    for file in ["comptoir.toml", "next.wasm"] {
        std::fs::rename(project.0.path().join(file), folder.join(file)).unwrap();
    }
    let go = project.0.path().join("go");
    assert!(Command::new("mkfifo").arg(&go).status().await.unwrap().success());
    let release = || tokio::fs::write(&go, "go\n");

    let mut command = project.command();
    let mut dev = Dev::spawn({
        command.current_dir(&folder);
        command
    });
    dev.says("copied").await;
    release().await.unwrap();
    dev.serves().await;

    let (second, third) = (variant("good-2"), variant("good-3"));
    std::fs::write(folder.join("next.wasm"), &second).unwrap();
    dev.says("copied").await;
    std::fs::write(folder.join("next.wasm"), &third).unwrap();
    release().await.unwrap();
    dev.says("variant: building").await;
    dev.says("copied").await;
    release().await.unwrap();
    dev.deploys(&third).await;
    dev.stop().await;
}

#[tokio::test]
async fn a_build_that_changes_its_own_sources_does_not_repeat_forever() {
    let project = Project::new("cp next.wasm service.wasm && date +%N > generated");
    let mut dev = Dev::spawn(project.command());
    let line = dev.says("changed during each of 3 builds").await;
    assert!(line.contains("generated") && line.contains(".gitignore"), "{line}");
    dev.serves().await;
}

#[tokio::test]
async fn ctrl_c_ends_a_running_build_and_all_that_it_started() {
    let project = Project::new("sh -c 'echo process $$ >&2; exec sleep 1000' & wait");
    let mut dev = Dev::spawn(project.command());
    let line = dev.says("process ").await;
    let id = Pid::from_raw(line.trim_start_matches("process ").parse().unwrap()).unwrap();
    test_kill_process(id).unwrap();
    dev.stop().await;
    // Init reaps it a moment later.
    let is_running = |id: Pid| {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", id.as_raw_nonzero())).unwrap_or_default();
        status.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    while is_running(id) {
        tokio::task::yield_now().await;
    }
    assert!(!project.has("service.wasm"));
}

#[tokio::test]
async fn a_changed_migration_is_refused_and_the_printed_command_recreates_the_database() {
    let project = Project::new(BUILD);
    let mut dev = Dev::serving(&project).await;
    dev.add("kept").await;
    let other = rewritten("good-2", "CREATE TABLE flags", "CREATE TABLE Flags");
    project.write("next.wasm", &other);
    dev.says("its migration 1 (sha256 ").await;
    dev.says("variant: or begin with an empty database").await;
    let command = dev.says("--recreate variant").await;
    dev.answers(&variant("good")).await;
    assert_eq!(dev.count().await, 1);
    assert!(project.old_databases().is_empty(), "it does so only when asked");
    dev.stop().await;

    let mut shell = Command::new("sh");
    // `exec`, so that the end of the test ends the host and not only the shell.
    shell.arg("-c").arg(format!("exec {}", command.trim()));
    let mut dev = Dev::spawn(project.prepared(shell));
    dev.says("variant: moved its database to ").await;
    dev.serves().await;
    dev.answers(&other).await;
    assert_eq!(dev.count().await, 0);
    let old = project.old_databases();
    assert_eq!(old.len(), 1, "{old:?}");
    assert_eq!(items(&project.0.path().join("data").join(&old[0])), 1, "the old rows are all there");
}

fn items(database: &Path) -> i64 {
    let database = rusqlite::Connection::open(database).unwrap();
    database.query_row("SELECT count(*) FROM items", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn on_a_terminal_a_yes_recreates_the_database_and_anything_else_does_not() {
    let project = Project::new(BUILD);
    // `script` gives the program a terminal, and copies what is said there to its own output.
    let dev = format!("'{}' dev --cache '{}'", program().display(), compiled().display());
    let mut script = Command::new("script");
    script.args(["--quiet", "--flush", "--command", &dev, "/dev/null"]);
    let mut script = project.prepared(script);
    let mut process = script.stdin(Stdio::piped()).spawn().expect("script is installed");
    let said: Box<dyn AsyncRead + Send + Unpin> = Box::new(process.stdout.take().unwrap());
    let mut said = BufReader::new(said).lines();
    let mut typed = process.stdin.take().unwrap();
    until(&mut said, "gateway ").await;

    for (number, answer, result) in [(2, "n\n", "its database stays"), (3, "y\n", "moved its database to ")] {
        let other = rewritten(&format!("good-{number}"), "CREATE TABLE flags", "CREATE TABLE Flags");
        project.write("next.wasm", &other);
        until(&mut said, "or do the same now? [y/N]").await;
        typed.write_all(answer.as_bytes()).await.unwrap();
        until(&mut said, result).await;
        assert_eq!(project.old_databases().len(), number - 2);
    }
    let line = until(&mut said, "variant@").await;
    let other = rewritten("good-3", "CREATE TABLE flags", "CREATE TABLE Flags");
    assert!(line.contains(&format!("variant@{}", &digest(&other)[..12])), "{line}");
}

#[tokio::test]
async fn recreate_names_what_it_cannot_do() {
    let project = Project::new(BUILD);
    for (name, said) in
        [("variant", "the service `variant` has no database yet"), ("absent", "there is no service `absent` in ")]
    {
        let output = project.command().args(["--recreate", name]).output().await.unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(said), "{text}");
    }
}

#[tokio::test]
async fn a_revert_in_development_is_a_banner_with_the_reason_and_the_next_step() {
    let project = Project::new(BUILD);
    let mut dev = Dev::serving(&project).await;
    let sours = variant("sours");
    project.write("next.wasm", &sours);
    dev.deploys(&sours).await;
    dev.add("sour").await;

    dev.says("variant: REVERTED").await;
    dev.says(&"!".repeat(100)).await;
    let banner = [dev.next().await, dev.next().await, dev.next().await, dev.next().await, dev.next().await];
    let [what, why, next, force, end] = banner.each_ref().map(|line| line.trim());
    assert!(what.starts_with("variant: your last build ") && what.contains("REVERTED"), "{what}");
    assert!(why.starts_with("why:") && why.contains("the probe GET /health was answered with 500"), "{why}");
    assert!(next.starts_with("next: fix the component"), "{next}");
    assert!(force.contains("comptoir deploy variant ") && force.ends_with("service.wasm --force"), "{force}");
    assert!(end.starts_with(&"!".repeat(100)), "{end}");
    dev.answers(&variant("good")).await;
}

impl Dev {
    async fn next(&mut self) -> String {
        self.said.next_line().await.unwrap().expect("there is another line")
    }
}

#[tokio::test]
async fn just_builds_only_the_components_that_a_manifest_names() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = folder.path().join("shop.toml");
    let text = r#"
# component = "target/wasm32-wasip2/component/commented.wasm"
[services.plain]
component = "../target/wasm32-wasip2/component/guest_plain_p2.wasm"  # its package has a - in its name
[services]
auth = { component = '../target/wasm32-wasip2/component/auth.wasm', mounts = ["/auth"] }
bought = { component = "bought.wasm", mounts = ["/bought"] }
"#;
    std::fs::write(&manifest, text).unwrap();
    let mut just = Command::new("just");
    just.args(["--evaluate", "--set", "manifest"]).arg(&manifest).arg("packages");
    let output =
        just.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).output().await.expect("just is installed");
    let packages = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(packages.trim(), "-p 'auth' -p 'guest[_-]plain[_-]p2'", "{output:?}");
}
