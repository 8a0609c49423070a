//! Commands in the folders of a project: they find its manifest and its host. `check` and `inspect` try components.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use tempfile::TempDir;
use testing::built::program;
use testing::component;
use tokio::process::Command;

use super::{Program, manifest, serve};

const HELLO: &str = r#"[services.hello]
component = "guest_stateless.wasm"
mounts = ["/stateless"]
public = ["/stateless"]
"#;

/// Runs a command in a folder.
async fn run(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(program()).args(arguments).current_dir(folder).output().await.unwrap()
}

#[track_caller]
fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[track_caller]
fn complaint(output: &Output) -> String {
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test]
async fn commands_below_a_project_find_its_manifest_and_its_host_whatever_its_ports() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    manifest(&folder, HELLO);
    let below = folder.path().join("src/deep");
    std::fs::create_dir_all(&below).unwrap();

    let status = complaint(&run(&below, &["status"]).await);
    let data = folder.path().canonicalize().unwrap().join("data");
    assert!(status.contains(&format!("no host has served with the data folder {}", data.display())), "{status}");

    let _program = Program::spawn(serve(&folder, HELLO), &folder).await;
    let status = printed(&run(&below, &["status"]).await);
    assert!(status.starts_with("hello"), "{status}");
    assert_eq!(printed(&run(folder.path(), &["status"]).await), status, "in the folder of the manifest");
    let elsewhere = tempfile::tempdir().unwrap();
    let status = complaint(&run(elsewhere.path(), &["status"]).await);
    assert!(status.contains("no host has served with the data folder data: start one"), "{status}");
}

#[tokio::test]
async fn serve_and_check_find_the_manifest_above_or_say_that_there_is_none() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let elsewhere = complaint(&run(folder.path(), &["check"]).await);
    assert!(elsewhere.contains("there is no comptoir.toml in ") && elsewhere.contains("--manifest"), "{elsewhere}");

    manifest(&folder, HELLO);
    let below = folder.path().join("below");
    std::fs::create_dir(&below).unwrap();
    let checked = printed(&run(&below, &["check"]).await);
    assert!(checked.contains("comptoir.toml is valid\n  hello "), "{checked}");
    let mut serve = Command::new(program());
    serve.arg("serve").current_dir(&below).kill_on_drop(true);
    serve.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let _program = Program::spawn(serve, &folder).await;
    assert!(folder.path().join("data/admin.token").exists(), "the data folder is beside the manifest");
}

/// A manifest with a fault that only shows when a component runs.
async fn check(services: &str) -> (TempDir, Output) {
    let folder = tempfile::tempdir().unwrap();
    manifest(&folder, services);
    let checked = run(folder.path(), &["check"]).await;
    (folder, checked)
}

#[tokio::test]
async fn check_tries_routes_and_descriptions_and_leaves_no_data() {
    let (folder, checked) = check(&HELLO.replace("public", "# public")).await;
    let said = complaint(&checked);
    assert!(said.contains("is public, which `public` in [services.hello]"), "{said}");
    let (_, checked) = check(&HELLO.replace("/stateless", "/elsewhere")).await;
    let said = complaint(&checked);
    assert!(said.contains("is outside of its mounts (/elsewhere) in [services.hello]"), "{said}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the manifest");
}

#[tokio::test]
async fn inspect_prints_the_lines_that_a_manifest_needs_and_check_accepts_them() {
    let folder = tempfile::tempdir().unwrap();
    for (name, described) in [("orders", true), ("auth", true), ("guest_plain_p2", false), ("guest_plain_p3", false)] {
        let file = component(name);
        let inspected = printed(&run(folder.path(), &["inspect", file.to_str().unwrap()]).await);
        assert_eq!(inspected.contains("  route "), described, "{inspected}");
        let (_, lines) = inspected.split_once("\n[services.").expect("a table of the manifest");
        let listeners = "[listeners]\ngateway = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n";
        std::fs::write(folder.path().join("comptoir.toml"), format!("{listeners}[services.{lines}")).unwrap();
        printed(&run(folder.path(), &["check"]).await);
    }
    let orders = component("orders");
    let inspected = printed(&run(folder.path(), &["inspect", orders.to_str().unwrap()]).await);
    for line in [
        "  imports comptoir:platform/storage@0.1.0  (needs the grant \"storage\")",
        "  route GET    /products  (Public)",
        "public = [\"/products\"]",
        "mounts = [\"/orders\", \"/products\"]",
        "grants = [\"storage\"]",
    ] {
        assert!(inspected.contains(line), "`{line}` is not in {inspected}");
    }
}

#[tokio::test]
async fn inspect_says_why_a_file_cannot_be_a_service() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("foreign.wasm");
    let foreign = r#"(component (import "wasi:webgpu/webgpu@0.2.6" (instance (export "f" (func)))))"#;
    for (bytes, why) in [
        (b"hello".to_vec(), "foreign.wasm: it is not a WebAssembly component"),
        (wat::parse_str("(module)").unwrap(), "it is a core module: build it as a component"),
        (wat::parse_str(foreign).unwrap(), "it exports neither `wasi:http/incoming-handler"),
    ] {
        std::fs::write(&file, bytes).unwrap();
        let said = complaint(&run(folder.path(), &["inspect", "foreign.wasm"]).await);
        assert!(said.contains(why), "{said}");
    }
}

#[tokio::test]
async fn doctor_names_what_it_checks_and_how_to_cure_a_port_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let file = manifest(&folder, HELLO);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = std::fs::read_to_string(&file).unwrap().replacen("127.0.0.1:0", &address, 1);
    std::fs::write(&file, text).unwrap();

    let output = run(folder.path(), &["doctor"]).await;
    let found = String::from_utf8_lossy(&output.stdout).into_owned();
    for check in ["kernel", "swap", "address space", "descriptors", "clock", "disk", "permissions", "ports"] {
        assert!(
            found.lines().any(|line| line.get(8..).is_some_and(|rest| rest.starts_with(check))),
            "{check}: {found}"
        );
    }
    let broken = format!("broken  ports          gateway {address}: Address already in use");
    assert!(found.contains(&broken), "{found}");
    assert!(found.contains("cure: stop the program that uses the port"), "{found}");
    assert!(complaint(&output).contains("run `comptoir doctor` again"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "`doctor` creates no file");
}
