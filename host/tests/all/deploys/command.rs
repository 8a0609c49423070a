//! The operator's commands, and the compiler process.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use comptoir::host::Options;
use serde_json::Value;
use testing::Shop;
use testing::built::program;
use testing::process::run;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{Stand, digest, manifest, refuses, variant};

/// Runs a command against a host.
async fn command(stand: &Stand, arguments: &[&str]) -> Output {
    let (admin, data) = (stand.shop.addresses().admin.to_string(), stand.shop.data.path().to_str().unwrap());
    run(&[arguments, &["--admin", &admin, "--data", data]].concat()).await
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn file(folder: &Path, words: &str) -> String {
    let path = folder.join(format!("{words}.wasm"));
    std::fs::write(&path, variant(words)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_deploy_roll_back_and_report_to_people() {
    let stand = Stand::open().await;
    let files = tempfile::tempdir().unwrap();
    let old = stand.active().await;
    let new = digest(&variant("more"));

    let deploy = command(&stand, &["deploy", "variant", &file(files.path(), "more"), "--reason", "more"]).await;
    let said = succeeds(&deploy);
    for line in ["probed", "probes: 1", "route added: GET /variant/items/more (Public)"] {
        assert!(said.contains(line), "the output lacks `{line}`: {said}");
    }
    assert!(said.ends_with(&format!("variant: {} -> {}\n", &old[..12], &new[..12])), "{said}");
    stand.serves(&new).await;

    let again = succeeds(&command(&stand, &["deploy", "variant", &file(files.path(), "more")]).await);
    assert!(again.ends_with(&format!("variant: {} is already active, nothing changed\n", &new[..12])), "{again}");
    let rollback = succeeds(&command(&stand, &["rollback", "variant", "--to", &old[..8]]).await);
    let expected = format!("variant: rolled back to {}, from {}\n", &old[..12], &new[..12]);
    assert!(rollback.ends_with(&expected), "{rollback}");

    let history = succeeds(&command(&stand, &["history", "variant"]).await);
    assert!(history.trim_start().starts_with("ID  AT "), "{history}");
    let lines = history.lines().skip(1);
    let results: Vec<_> = lines.map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(results.len(), 4, "{history}");
    assert_eq!((results[0][3], results[1][3], results[2][3], results[3][3]), ("rollback", "deploy", "deploy", "start"));
    assert!(history.lines().nth(3).unwrap().ends_with("more"), "{history}");
    // One request, so that there is traffic to show.
    stand.serves(&old).await;
    let status = succeeds(&command(&stand, &["status"]).await);
    let heading: Vec<&str> = status.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heading, ["SERVICE", "REVISION", "VERSION", "SINCE", "BY", "HANDLER"]);
    assert!(status.contains(&format!("\nvariant  {}  ", &old[..12])), "{status}");
    assert!(status.contains(&format!("variant: kept {}", &new[..12])), "{status}");
    assert!(status.contains("SERVICE  REVISION      ROUTE"), "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_print_the_unchanged_answer_for_programs() {
    let stand = Stand::open().await;
    let files = tempfile::tempdir().unwrap();
    let good = file(files.path(), "good-2");
    let answer = |output: &Output| serde_json::from_slice::<Value>(&output.stdout).unwrap();
    let deployed = command(&stand, &["deploy", "variant", &good, "--json"]).await;
    succeeds(&deployed);
    assert_eq!(answer(&deployed)["data"]["to"], digest(&variant("good-2")));
    let history = command(&stand, &["history", "variant", "--json"]).await;
    assert_eq!(answer(&history)["data"][0]["action"], "deploy");
    let status = command(&stand, &["status", "variant", "--json"]).await;
    assert_eq!(answer(&status)["data"]["service"], "variant");
    let refused = command(&stand, &["deploy", "variant", &file(files.path(), "health-500"), "--json"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(answer(&refused)["error"]["details"]["step"], "probed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_and_the_admin_listener_report_versions_and_revisions() {
    let stand = Stand::open().await;
    stand.send("?canary=5%25", variant("good-2")).await.succeeds(200);
    let answer = stand.shop.operator().get("/version").await;
    let Value::Object(host) = &answer.succeeds(200)["host"] else { panic!("{}", answer.text) };
    let part = |name: &str| host[name].as_str().unwrap();
    let lock = include_str!("../../../../Cargo.lock");
    assert!(lock.contains(&format!("name = \"wasmtime\"\nversion = \"{}\"", part("wasmtime"))), "{}", answer.text);
    assert_eq!((part("comptoir"), part("sqlite")), (env!("CARGO_PKG_VERSION"), rusqlite::version()));
    let revisions = answer.data()["revisions"].as_array().unwrap();
    let served: Vec<_> = revisions.iter().map(|revision| (&revision["service"], &revision["digest"])).collect();
    let (service, tried) = (Value::from("variant"), digest(&variant("good-2")));
    assert_eq!(served, [(&service, &stand.active().await.into()), (&service, &tried.into())]);
    assert!(revisions.iter().all(|revision| revision["version"].is_string()), "{}", answer.text);
    stand.shop.operator().without_token().get("/version").await.refuses(401, "MISSING_TOKEN");

    let said = succeeds(&run(&["--version"]).await);
    let [comptoir, wasmtime, sqlite, rustc] = ["comptoir", "wasmtime", "sqlite", "rustc"].map(part);
    assert_eq!(said, format!("comptoir {comptoir} (wasmtime {wasmtime}, SQLite {sqlite}, rustc {rustc})\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_command_states_the_reason_and_the_next_step() {
    let stand = Stand::open().await;
    let files = tempfile::tempdir().unwrap();
    let good = file(files.path(), "good-2");
    let complaint = |output: &Output| {
        assert_eq!(output.status.code(), Some(1));
        text(&output.stderr)
    };
    let bad = file(files.path(), "health-500");
    let refused = complaint(&command(&stand, &["deploy", "variant", &bad]).await);
    assert!(refused.contains("could not be probed: the probe GET /health was answered with 500"), "{refused}");
    let other = "0".repeat(64);
    let changed = complaint(&command(&stand, &["deploy", "variant", &good, "--replaces", &other]).await);
    assert!(changed.contains("not the revision that this deploy was meant to replace"), "{changed}");
    let absent = complaint(&command(&stand, &["deploy", "variant", "absent.wasm"]).await);
    assert!(absent.contains("cannot read absent.wasm"), "{absent}");
    let nothing = complaint(&command(&stand, &["rollback", "variant"]).await);
    assert!(nothing.contains("has no previous revision to roll back to"), "{nothing}");
    let admin = stand.shop.addresses().admin.to_string();
    let elsewhere = files.path().to_str().unwrap();
    let closed = complaint(&run(&["status", "--admin", &admin, "--data", elsewhere]).await);
    assert!(closed.contains("admin.token: pass the host's data folder with --data"), "{closed}");
}

/// Runs a command with this stdout.
async fn run_into(stdout: impl Into<Stdio>, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(program());
    command.args(arguments).stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
    command.spawn().unwrap().wait_with_output().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_with_a_closed_output_does_not_panic() {
    let stand = Stand::open().await;
    let files = tempfile::tempdir().unwrap();
    let key = files.path().join("key").display().to_string();
    let good = file(files.path(), "good-2");
    let (admin, data) = (stand.shop.addresses().admin.to_string(), stand.shop.data.path().to_str().unwrap());
    let operator = ["--admin", &admin, "--data", data];
    let commands: [(&[&str], &[&str]); 7] = [
        (&["status"], &operator),
        (&["status", "--json"], &operator),
        (&["history", "variant"], &operator),
        (&["keys"], &operator),
        (&["canary"], &operator),
        (&["deploy", "variant", &good], &operator),
        (&["sign", "--new-key", &key], &[]),
    ];
    for (command, rest) in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let arguments = [command, rest].concat();
        let output = run_into(writer, &arguments).await;
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), String::new()), "{command:?}");
    }
    stand.serves(&digest(&variant("good-2"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_fails_if_the_disk_is_too_full_for_its_output() {
    let stand = Stand::open().await;
    let (admin, data) = (stand.shop.addresses().admin.to_string(), stand.shop.data.path().to_str().unwrap());
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = run_into(full, &["status", "--admin", &admin, "--data", data]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("comptoir: cannot write to stdout: No space left"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_name_the_service_of_a_canary_and_an_unknown_service() {
    let stand = Stand::open().await;
    stand.send("?canary=5%25", variant("good-2")).await.succeeds(200);
    let candidate = format!("variant  {}  ", &digest(&variant("good-2"))[..12]);
    for arguments in [&["canary", "20%"][..], &["canary"]] {
        let said = succeeds(&command(&stand, arguments).await);
        let heading = "canary for 20% of the callers:\nSERVICE  REVISION      VERSION\n";
        assert!(said.starts_with(&format!("{heading}{candidate}")), "{arguments:?}: {said}");
        assert!(said.ends_with("\nno requests yet\n"), "{arguments:?}: {said}");
    }
    for name in ["status", "history", "rollback"] {
        let output = command(&stand, &[name, "nope"]).await;
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).contains("there is no service `nope` in the manifest"), "{output:?}");
    }
}

/// The number of compiled artifacts in a cache.
fn compiled(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name != "mac-key").count()
}

fn in_a_process(options: Options) -> Options {
    Options { cache: None, compiler: Some(program()), ..options }
}

#[tokio::test(flavor = "multi_thread")]
async fn components_are_compiled_only_in_a_separate_process() {
    let mut stand = Stand { shop: Shop::with_options(manifest("", ""), in_a_process).await };
    let cache = stand.shop.data.path().join("cache");
    assert_eq!(compiled(&cache), 1, "the host loads the artifact that the process compiled");
    let new = stand.deployed("good-2").await;
    stand.serves(&new).await;
    assert_eq!(compiled(&cache), 2);

    stand.shop.stop().await;
    let little = manifest("compile_memory = \"16 MiB\"", "");
    stand.shop.start_again_as(little, None).await.unwrap();
    stand.serves(&new).await;
    let answer = stand.deploy("good-3").await;
    refuses(&answer, 422, "DEPLOY_REFUSED", "compiled", "perhaps it needs more than 16.0 MiB");
    stand.serves(&new).await;

    stand.shop.stop().await;
    stand.shop.start_again_as(manifest("compile_time = \"1ms\"", ""), None).await.unwrap();
    refuses(&stand.deploy("good-3").await, 422, "DEPLOY_REFUSED", "compiled", "it was not compiled within 10ms");
    stand.serves(&new).await;
}

/// A compiler that behaves normally until a file beside it names another behaviour.
async fn corruptible(folder: &Path) -> PathBuf {
    let path = folder.join("compiler");
    let does = "test -e \"$0.does\" || exec \"$0.program\" \"$@\"; cat > /dev/null; . \"$0.does\"";
    std::os::unix::fs::symlink(program(), folder.join("compiler.program")).unwrap();
    // Another process writes the file. A program that is open for writing cannot be executed, and a concurrent test could
    // inherit this process's descriptor.
    let write = "printf '#!/bin/sh\n%s\n' \"$1\" > \"$0\" && chmod 700 \"$0\"";
    let mut shell = tokio::process::Command::new("sh");
    assert!(shell.arg("-c").arg(write).arg(&path).arg(does).status().await.unwrap().success());
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_or_endless_output_of_a_compiler_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = corruptible(folder.path()).await;
    let options = |options| Options { compiler: Some(compiler.clone()), ..in_a_process(options) };
    let mut stand = Stand { shop: Shop::with_options(manifest("", ""), options).await };
    let old = stand.active().await;
    stand.shop.stop().await;
    stand.shop.start_again_as(manifest("compile_memory = \"1 MiB\"", ""), None).await.unwrap();
    for (does, reason) in [
        ("echo this is no code", ""),
        ("exit 0", ""),
        ("head -c 1048576 /dev/zero", "its machine code has more than 1.0 MiB"),
        ("exec cat /dev/zero", "compiling it was cut short"),
    ] {
        std::fs::write(compiler.with_extension("does"), does).unwrap();
        refuses(&stand.deploy("good-2").await, 422, "DEPLOY_REFUSED", "compiled", reason);
        stand.serves(&old).await;
    }
    assert_eq!(compiled(&stand.shop.data.path().join("cache")), 1, "the cache contains nothing of its output");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_compilers_error_is_the_reason_of_the_refusal() {
    let stand = Stand { shop: Shop::with_options(manifest("", ""), in_a_process).await };
    let invalid = r#"(component (core module (func (result i32))) (instance $handler)
        (export "wasi:http/incoming-handler@0.2.3" (instance $handler)))"#;
    let answer = stand.send("", wat::parse_str(invalid).unwrap()).await;
    refuses(&answer, 422, "DEPLOY_REFUSED", "compiled", "type mismatch");
}

/// Whether a process runs. A zombie does not.
fn runs(process: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
    stat.is_ok_and(|stat| !stat.rsplit(") ").next().unwrap_or_default().starts_with('Z'))
}

/// Starts a process that starts a compiler. Returns it and the compiler's id. The compiler waits for a component from the
/// pipe.
async fn starts_a_compiler(pipe: &Path) -> (tokio::process::Child, String) {
    let compile = "\"$0\" compile --memory 4294967296 --seconds 60 --wasi 0.2 < \"$1\" > /dev/null & echo $!; wait";
    let mut shell = tokio::process::Command::new("sh");
    shell.args(["-c", compile]).arg(program()).arg(pipe).stdout(Stdio::piped());
    let mut shell = shell.kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    let compiler = lines.next_line().await.unwrap().unwrap();
    (shell, compiler)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compiler_ends_when_its_host_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("component");
    let made = tokio::process::Command::new("mkfifo").arg(&pipe).status().await.unwrap();
    assert!(made.success());
    let (mut host, compiler) = starts_a_compiler(&pipe).await;
    // Opening blocks until the compiler opens its side. Nothing is ever written.
    let component = tokio::fs::OpenOptions::new().write(true).open(&pipe).await.unwrap();
    let bound = format!("/proc/{compiler}/limits");
    while !std::fs::read_to_string(&bound).unwrap().contains("Max cpu time              60                   61") {
        tokio::task::yield_now().await;
    }
    assert!(runs(&compiler), "the compiler waits for its component");
    host.kill().await.unwrap();
    while runs(&compiler) {
        tokio::task::yield_now().await;
    }
    drop(component);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_host_that_serves_nothing_compiles_on_all_cores() {
    let folder = tempfile::tempdir().unwrap();
    let compiler = corruptible(folder.path()).await;
    let said = compiler.with_extension("said");
    let does = format!("echo \"$*\" >> {}; exec {} \"$@\"", said.display(), program().display());
    // Unlike other behaviours, this one needs its input, so the compiler must not read it first.
    let script = format!("printf '#!/bin/sh\n%s\n' '{does}' > '{}'", compiler.display());
    assert!(tokio::process::Command::new("sh").arg("-c").arg(script).status().await.unwrap().success());
    let options = |options| Options { compiler: Some(compiler.clone()), ..in_a_process(options) };
    let stand = Stand { shop: Shop::with_options(manifest("", ""), options).await };
    let new = stand.deployed("good-2").await;
    stand.serves(&new).await;
    let said = std::fs::read_to_string(said).unwrap();
    let on_all_cores: Vec<bool> = said.lines().map(|line| line.ends_with("--wasi 0.2 --all-cores")).collect();
    assert_eq!(on_all_cores, [true, false], "{said}");
}
