//! The archive that `just dist` builds.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::process::Command;

use super::{Program, get};

/// Runs a command to its end. Returns what it printed.
async fn run(command: &mut Command) -> String {
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Packs the built program and unpacks the archive. Returns the folder with its content.
async fn unpacked(folder: &TempDir) -> PathBuf {
    let stripped = folder.path().join("comptoir");
    run(Command::new("strip").arg("-o").arg(&stripped).arg(env!("CARGO_BIN_EXE_comptoir"))).await;
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/package");
    let archive = run(Command::new(package).arg(&stripped).arg(folder.path())).await;
    let archive = archive.trim();
    run(Command::new("tar").args(["-xzf", archive, "-C"]).arg(folder.path())).await;
    archive.strip_suffix(".tar.gz").unwrap().into()
}

fn has_all_files(content: &Path) {
    let expected = [
        ("man/comptoir.1", "comptoir\\-serve(1)"),
        ("man/comptoir-serve.1", "\\-\\-manifest"),
        ("completions/comptoir", "deploy-set"),
        ("completions/_comptoir", "#compdef comptoir"),
        ("completions/comptoir.fish", "deploy-set"),
        ("comptoir.service", "ExecStart=/opt/comptoir/comptoir serve"),
        ("LICENSE", "Apache License"),
        ("README.md", "# Comptoir"),
        ("host/docs/operating.md", "## PostgreSQL"),
        ("components/README.md", "## Ten minutes"),
    ];
    for (file, words) in expected {
        let text = std::fs::read_to_string(content.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(text.contains(words), "{file} does not say {words}");
    }
}

#[tokio::test]
async fn an_unpacked_archive_is_complete_and_serves_the_shop_in_an_empty_environment() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let content = unpacked(&folder).await;
    has_all_files(&content);
    // The services' own ports may be in use on this machine.
    let manifest = std::fs::read_to_string(content.join("comptoir.toml")).unwrap();
    let lines: Vec<&str> = manifest.lines().filter(|line| !line.starts_with("listen = ")).collect();
    std::fs::write(content.join("comptoir.toml"), lines.join("\n")).unwrap();

    let mut command = Command::new(content.join("comptoir"));
    command.args(["serve", "--manifest", "comptoir.toml", "--gateway", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
    command.env_clear().current_dir(&content).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = Program::spawn(command, &folder).await;
    let products = get(&format!("{}/products", program.gateway), "bare").await;
    assert_eq!(products.status(), 200);
    assert!(products.text().await.unwrap().contains("Laptop"));
}
