//! Tampered compiled artifacts: the host never loads them, reports them, and compiles again.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use testing::component;

use super::{Program, get, serve_alone};

/// A host whose services each have their own component, and its compilation cache.
struct Stand {
    folder: Arc<TempDir>,
    services: String,
    names: &'static [&'static str],
}

/// A service whose component is a file beside the manifest. A custom section with its name gives each another digest.
fn put_service(folder: &Path, name: &str) -> String {
    let mut bytes = fs::read(component("guest_plain_p2")).unwrap();
    let length = u8::try_from(name.len()).unwrap();
    bytes.extend([&[0, length + 1, length], name.as_bytes()].concat());
    fs::write(folder.join(format!("{name}.wasm")), bytes).unwrap();
    format!("[services.{name}]\ncomponent = '{name}.wasm'\nmounts = [\"/{name}\"]\naccess = \"public\"\n")
}

impl Stand {
    /// Starts a host, which compiles all components, and ends it.
    async fn compiled(names: &'static [&'static str]) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let services = names.iter().map(|name| put_service(folder.path(), name)).collect();
        let stand = Self { folder, services, names };
        assert_eq!(stand.complaints().await, []);
        stand
    }

    fn cache(&self) -> PathBuf {
        self.folder.path().join("data/cache")
    }

    /// The compiled artifact of a service.
    fn code(&self, name: &str) -> PathBuf {
        let bytes = fs::read(self.folder.path().join(format!("{name}.wasm"))).unwrap();
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let mut files = fs::read_dir(self.cache()).unwrap().map(|entry| entry.unwrap().path());
        files
            .find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(&digest))
            .expect("the artifact is stored")
    }

    /// Starts a host and asserts that every service answers. Returns what the log says about each artifact.
    async fn complaints(&self) -> Vec<(String, String)> {
        let mut program = Program::spawn(serve_alone(&self.folder, &self.services), &self.folder).await;
        for name in self.names {
            let answer = get(&format!("{}/{name}/x", program.gateway), name).await;
            assert_eq!(answer.text().await.unwrap(), format!("0.2 Method::Get /{name}/x"));
        }
        program.process.kill().await.unwrap();
        let mut complaints = Vec::new();
        while let Some(line) = program.log.next_line().await.unwrap() {
            let line: Value = serde_json::from_str(&line).unwrap_or_default();
            if line["level"] == "WARN" {
                let text = |field: &str| line[field].as_str().unwrap_or_else(|| panic!("{line}")).to_owned();
                complaints.push((text("service"), text("error")));
            }
        }
        complaints.sort();
        complaints
    }

    /// Asserts that a start refuses the artifact of every service, reports it, compiles again and stores the result.
    async fn refuses_all(&self, paths: &[PathBuf]) {
        let expected: Vec<_> =
            self.names.iter().zip(paths).map(|(name, path)| (name.to_string(), refusal(path))).collect();
        assert_eq!(self.complaints().await, expected);
        assert_eq!(self.complaints().await, [], "the new artifacts are stored");
    }
}

fn refusal(path: &Path) -> String {
    let cause = "it was truncated, changed or moved, or it has another key's MAC";
    format!("removed {} from the compilation cache: {cause}", path.display())
}

#[tokio::test]
async fn a_changed_truncated_or_swapped_artifact_is_refused_and_compiled_again() {
    let stand = Stand::compiled(&["changed", "cut", "here", "there"]).await;
    let paths: Vec<_> = stand.names.iter().map(|name| stand.code(name)).collect();
    let [changed, cut, here, there] = &paths[..] else { unreachable!() };
    let mut bytes = fs::read(changed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(changed, bytes).unwrap();
    fs::File::options().write(true).open(cut).unwrap().set_len(fs::metadata(cut).unwrap().len() / 2).unwrap();
    let bytes = fs::read(here).unwrap();
    fs::rename(there, here).unwrap();
    fs::write(there, bytes).unwrap();
    stand.refuses_all(&paths).await;
}

#[tokio::test]
async fn an_artifact_of_another_key_or_in_a_shared_folder_is_not_used() {
    let stand = Stand::compiled(&["only"]).await;
    let path = stand.code("only");
    fs::write(stand.folder.path().join("data/cache/mac-key"), [7; 32]).unwrap();
    stand.refuses_all(std::slice::from_ref(&path)).await;

    fs::set_permissions(stand.cache(), Permissions::from_mode(0o777)).unwrap();
    let complaints = stand.complaints().await;
    let shown = stand.cache().display().to_string();
    assert_eq!(complaints.len(), 2, "artifacts are neither loaded nor stored: {complaints:?}");
    for (service, error) in complaints {
        assert_eq!(service, "only");
        assert!(error.contains(&shown) && error.contains("mode 700, but has mode 777"), "{error}");
    }
}
