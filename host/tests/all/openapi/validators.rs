//! The documents of the gateway and of the admin API pass the validators that people use. `just test-api` installs both.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use testing::Shop;
use testing::built::host_folder;

use super::shop_with_plain;

fn tool(path: &str) -> PathBuf {
    let tool = host_folder().join("../target/api-tools").join(path);
    assert!(tool.exists(), "{} is missing: run `just test-api`", tool.display());
    tool
}

/// Runs a program on a document, and returns what it printed if it complains.
fn complaints(program: &Path, arguments: &[&OsStr]) -> Option<String> {
    let quiet = [("REDOCLY_TELEMETRY", "off"), ("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")];
    let ran = Command::new(program).args(arguments).envs(quiet).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    (!ran.status.success()).then_some(said)
}

#[tokio::test]
#[ignore = "needs redocly and openapi-spec-validator: `just test-api`"]
async fn both_documents_pass_redocly_and_openapi_spec_validator() {
    let shop = Shop::with(shop_with_plain()).await;
    let folder = tempfile::tempdir().unwrap();
    for (name, client) in [("gateway", shop.anon()), ("admin", shop.operator().without_token())] {
        let file = folder.path().join(format!("{name}.json"));
        std::fs::write(&file, client.get("/openapi.json").await.text).unwrap();
        let rules = host_folder().join("tests/api/redocly.yaml");
        // A warning is a failure too.
        let most = OsStr::new("--max-problems=200");
        let linted = [OsStr::new("lint"), OsStr::new("--config"), rules.as_os_str(), most, file.as_os_str()];
        assert_eq!(complaints(&tool("node_modules/.bin/redocly"), &linted), None, "{name}");
        let validated = [OsStr::new("-m"), OsStr::new("openapi_spec_validator"), file.as_os_str()];
        assert_eq!(complaints(&tool("python/bin/python"), &validated), None, "{name}");
    }
}
