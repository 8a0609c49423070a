//! What a developer sees on the terminal of `serve --watch`.

use std::fs;
use std::sync::Arc;

use serde_json::json;
use tokio::process::Command;

use super::{Program, serve};
use crate::deploys::variant;

const VARIANT: &str = r#"[deploy]
compile_time = "10m"
probe_time = "10m"
watch = "10m"
[services.variant]
component = "VARIANT"
mounts = ["/variant"]
public = ["/variant/items", "/variant/wait"]
grants = ["storage"]
"#;

#[tokio::test]
async fn a_revert_in_development_states_loudly_what_why_and_the_next_step() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let file = folder.path().join("variant.wasm");
    fs::write(&file, variant("good")).unwrap();
    let mut command = serve(&folder, "");
    let manifest = folder.path().join("comptoir.toml");
    let text = fs::read_to_string(&manifest).unwrap() + &VARIANT.replace("VARIANT", file.to_str().unwrap());
    fs::write(&manifest, text).unwrap();
    command.arg("--watch");
    let mut program = Program::spawn(command, &folder).await;

    fs::write(&file, variant("sours")).unwrap();
    program.until_logged(|line| line["message"] == "variant: deployed the changed component").await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let items = format!("{}/variant/items", program.gateway);
    let added = client.post(items).json(&json!({ "name": "sour" })).send().await.unwrap();
    assert_eq!(added.status(), 201);

    let line = program.until_logged(|line| line["level"] == "ERROR").await;
    let said: Vec<&str> = line["message"].as_str().unwrap().lines().map(str::trim).collect();
    let [what, why, next, force] = said[..] else { panic!("the message does not have four lines: {said:#?}") };
    assert!(what.starts_with("variant: REVERTED. Your last build "), "{what}");
    assert!(why.starts_with("why:") && why.contains("the probe GET /health was answered with 500"), "{why}");
    assert!(next.starts_with("next: fix the component"), "{next}");
    assert!(force.ends_with(&format!("comptoir deploy variant {} --force", file.display())), "{force}");
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
    fs::write(&manifest, text).unwrap();
    let mut just = Command::new("just");
    just.args(["--evaluate", "--set", "manifest"]).arg(&manifest).arg("packages");
    let output =
        just.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).output().await.expect("just is installed");
    let packages = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(packages.trim(), "-p 'auth' -p 'guest[_-]plain[_-]p2'", "{output:?}");
}
