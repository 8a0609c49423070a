//! Which revisions a restarted host serves.

use std::path::Path;

use comptoir::manifest::Manifest;

use super::{Stand, digest, manifest, variant};

/// The manifest with another component file.
fn with_component(file: &Path) -> Manifest {
    let mut manifest = manifest("", "");
    manifest.services.get_mut("variant").unwrap().component = file.to_owned();
    manifest
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_serves_the_last_deployed_revision_not_the_manifests_file() {
    let mut stand = Stand::open().await;
    let shipped = stand.active().await;
    let new = stand.deployed("good-2").await;
    stand.shop.restart().await;
    stand.serves(&new).await;
    stand.roll_back("").await.succeeds(200);
    stand.serves(&shipped).await;
    stand.shop.restart().await;
    stand.serves(&shipped).await;
    assert_eq!(stand.history().await.len(), 3, "a restart without changes is not in the history");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_need_the_manifests_file() {
    let mut stand = Stand::open().await;
    let new = stand.deployed("good-2").await;
    stand.shop.stop().await;
    stand.shop.start_again_as(with_component(Path::new("/nowhere/absent.wasm")), None).await.unwrap();
    stand.serves(&new).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_stored_components_a_restart_serves_the_manifests_file_if_it_was_active() {
    let mut stand = Stand::open().await;
    let old = stand.active().await;
    stand.shop.stop().await;
    std::fs::remove_dir_all(stand.shop.data.path().join("revisions")).unwrap();
    stand.shop.start_again().await;
    stand.serves(&old).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_cannot_serve_the_active_revision_reports_it() {
    let mut stand = Stand::open().await;
    let new = stand.deployed("good-2").await;
    stand.shop.stop().await;
    std::fs::remove_dir_all(stand.shop.data.path().join("revisions")).unwrap();
    let refused = stand.shop.start_again_as(manifest("", ""), None).await.unwrap_err().to_string();
    assert!(refused.contains(&new) && refused.contains("is missing from the data folder"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_reports_that_the_manifests_file_is_no_longer_active() {
    let mut stand = Stand::open().await;
    let old = stand.active().await;
    let file = stand.shop.data.path().join("built.wasm");
    let said = async |stand: &Stand| {
        let ready = stand.shop.operator().get("/readyz").await;
        assert_eq!(ready.status, 200, "{}", ready.text);
        assert_eq!(ready.body["notes"]["variant"], stand.status().await["note"]);
        ready.body["notes"]["variant"].as_str().unwrap_or_default().to_owned()
    };
    std::fs::write(&file, variant("good-2")).unwrap();
    stand.shop.stop().await;
    stand.shop.start_again_as(with_component(&file), None).await.unwrap();
    let new = digest(&variant("good-2"));
    stand.serves(&new).await;
    assert_eq!(said(&stand).await, "");

    std::fs::write(&file, variant("good")).unwrap();
    stand.shop.restart().await;
    stand.serves(&new).await;
    let note = said(&stand).await;
    for part in [&old[..12], &new[..12], &format!("comptoir deploy variant {}", file.display())] {
        assert!(note.contains(part), "the note lacks `{part}`: {note}");
    }
    assert_eq!(stand.deployed("good").await, old);
    assert_eq!(said(&stand).await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_whose_deploy_was_interrupted_is_loaded_from_the_manifest() {
    let mut stand = Stand::open().await;
    let file = stand.shop.data.path().join("built.wasm");
    std::fs::write(&file, variant("good-2")).unwrap();
    let new = digest(&variant("good-2"));
    stand.shop.stop().await;
    let record = rusqlite::Connection::open(stand.shop.data.path().join("deploys.db")).unwrap();
    let begun = "INSERT INTO history (at, service, action, after, by, reason, result)
                 VALUES (1, 'variant', 'deploy', ?1, 'operator', '', 'running')";
    record.execute(begun, [&new]).unwrap();
    drop(record);
    stand.shop.start_again_as(with_component(&file), None).await.unwrap();
    stand.serves(&new).await;
    let history = stand.history().await;
    assert_eq!([&history[0]["action"], &history[1]["result"]], ["start", "interrupted"], "{history:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_stored_component_is_stored_again_by_a_deploy_or_a_start() {
    let mut stand = Stand::open().await;
    let old = stand.active().await;
    let new = stand.deployed("good-2").await;
    let stored = |digest: &str| stand.shop.data.path().join("revisions").join(format!("{digest}.wasm"));
    let (old_file, new_file) = (stored(&old), stored(&new));
    for damage in [None, Some("damaged")] {
        std::fs::remove_file(&new_file).unwrap();
        if let Some(damage) = damage {
            std::fs::write(&new_file, damage).unwrap();
        }
        assert_eq!(stand.deploy("good-2").await.succeeds(200)["changed"], false);
        assert_eq!(std::fs::read(&new_file).unwrap(), variant("good-2"));
    }
    stand.shop.restart().await;
    stand.serves(&new).await;
    stand.roll_back("").await.succeeds(200);
    std::fs::remove_file(&old_file).unwrap();
    // The manifest names the same component.
    stand.shop.restart().await;
    assert_eq!(std::fs::read(&old_file).unwrap(), variant("good"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_activates_the_manifests_new_file_once_it_passes_the_probes() {
    let mut stand = Stand::open().await;
    let old = stand.active().await;
    let file = stand.shop.data.path().join("built.wasm");

    std::fs::write(&file, variant("health-500")).unwrap();
    stand.shop.stop().await;
    stand.shop.start_again_as(with_component(&file), None).await.unwrap();
    stand.serves(&old).await;
    let line = &stand.history().await[0];
    assert_eq!([&line["action"], &line["result"]], ["start", "refused"], "{line:#}");
    let ready = stand.shop.operator().get("/readyz").await;
    assert_eq!(ready.status, 200);
    assert!(ready.body["notes"]["variant"].as_str().unwrap().contains("the probe GET /health"), "{}", ready.text);

    std::fs::write(&file, variant("good-2")).unwrap();
    stand.shop.restart().await;
    let new = digest(&variant("good-2"));
    stand.serves(&new).await;
    let line = &stand.history().await[0];
    assert_eq!([&line["action"], &line["by"], &line["result"]], ["start", "host", "active"], "{line:#}");
    assert_eq!([&line["from"], &line["to"]], [&old, &new]);

    stand.roll_back("").await.succeeds(200);
    stand.shop.restart().await;
    stand.serves(&old).await;
}
