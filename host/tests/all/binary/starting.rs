//! The program's output while it starts, and the command `check`.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Output;
use std::sync::Arc;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use testing::built::program;
use tokio::process::Command;

use super::{Program, manifest, serve_alone};

const TWO: &str = r#"[services.older]
component = "guest_plain_p2.wasm"
mounts = ["/older"]
[services.newer]
component = "guest_plain_p3.wasm"
mounts = ["/newer"]
"#;

/// Starts the program in a folder, ends it once it serves, and returns its log lines about compiling.
async fn said_of_compiling(folder: &Arc<TempDir>) -> Vec<String> {
    let mut program = Program::spawn(serve_alone(folder, TWO), folder).await;
    // A host that is killed may lose its last lines.
    program.signal(Signal::TERM);
    let mut said = Vec::new();
    while let Some(line) = program.log.next_line().await.unwrap() {
        let line: Value = serde_json::from_str(&line).unwrap_or_default();
        said.extend(line["message"].as_str().filter(|said| said.starts_with("compil")).map(str::to_owned));
    }
    said
}

#[tokio::test]
async fn only_a_first_start_compiles_and_reports_its_progress() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let said = said_of_compiling(&folder).await;
    let count = |words: &[&str]| said.iter().filter(|line| words.iter().all(|word| line.contains(word))).count();
    for service in ["older", "newer"] {
        assert_eq!(count(&[&format!("compiling {service} ("), "/2), a component of ", "iB"]), 1, "{said:#?}");
        assert_eq!(count(&[&format!("compiled {service} in "), " of 2 are ready"]), 1, "{said:#?}");
    }
    assert_eq!((count(&["(1/2)"]), count(&["(2/2)"])), (1, 1), "{said:#?}");
    assert_eq!((count(&["1 of 2"]), count(&["2 of 2"]), said.len()), (1, 1, 4), "{said:#?}");
    assert_eq!(said_of_compiling(&folder).await, [""; 0]);
}

async fn check(folder: &TempDir, services: &str) -> Output {
    let file = manifest(folder, services);
    Command::new(program()).args(["check", "--manifest"]).arg(file).output().await.unwrap()
}

#[tokio::test]
async fn check_reports_what_a_start_would_refuse_and_starts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let sound = check(&folder, TWO).await;
    assert!(sound.status.success(), "{sound:?}");
    assert!(String::from_utf8_lossy(&sound.stdout).contains("comptoir.toml is valid\n"), "{sound:?}");

    let wrong = TWO.replace("guest_plain_p2", "absent").replace("guest_plain_p3", "guest_unruly");
    let refused = check(&folder, &wrong).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("comptoir.toml: 2 faults"), "{said}");
    assert!(
        said.contains("absent.wasm: No such file") && said.contains("which was not granted: add \"storage\""),
        "{said}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "`check` creates no file beside the manifest");
}

#[tokio::test]
async fn a_password_file_that_others_may_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    fs::write(&file, "a password that anybody may read").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let output = serve_alone(&folder, TWO).arg("--operator-password-file").arg(&file).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("password has mode 644, but contains a password"), "{said}");
}
