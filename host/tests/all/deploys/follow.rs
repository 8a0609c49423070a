//! `--watch`: the host deploys every changed component file.

use comptoir::host::Options;

use serde_json::Value;
use testing::{Shop, manifest_of};

use super::{Stand, digest, manifest_text, variant};

/// Waits until a component is active, and returns the history.
async fn deployed(stand: &Stand, component: &[u8]) -> Vec<Value> {
    let new = digest(component);
    let history = stand.until(|history| history[0]["result"] == "active" && history[0]["to"] == new).await;
    // The history has the line a moment before the pointer moves.
    while stand.active().await != new {
        tokio::task::yield_now().await;
    }
    stand.serves(&new).await;
    history
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_is_activated_and_a_broken_one_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("variant.wasm");
    let write = |component: &[u8]| std::fs::write(&file, component).unwrap();
    write(&variant("good"));
    let manifest = manifest_of(&manifest_text("", "", file.to_str().unwrap()));
    let shop = Shop::with_options(manifest, |options| Options { watch: true, ..options }).await;
    let stand = Stand { shop };
    stand.serves(&digest(&variant("good"))).await;

    let second = variant("good-2");
    write(&second);
    assert_eq!(deployed(&stand, &second).await[0]["reason"], "its file changed");

    for broken in [variant("health-500"), second[..1000].to_vec()] {
        write(&broken);
        stand.until(|history| history[0]["result"] == "refused" && history[0]["to"] == digest(&broken)).await;
        stand.serves(&digest(&second)).await;
    }

    let third = variant("good-3");
    write(&third);
    deployed(&stand, &third).await;
}
