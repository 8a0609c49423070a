//! The SQL of a migration must not change after it ran.

use testing::manifest_of;

use super::{Stand, digest, manifest_text, refuses, variant};

/// A variant in which a text is replaced by another of the same length.
pub(crate) fn rewritten(words: &str, text: &str, other: &str) -> Vec<u8> {
    let mut bytes = variant(words);
    let found = bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes())
        .expect("the component contains the text");
    bytes[found..found + text.len()].copy_from_slice(other.as_bytes());
    bytes
}

/// Changes the deploy record of a stopped host.
fn change_record(stand: &Stand, sql: &str) {
    let record = rusqlite::Connection::open(stand.shop.data.path().join("deploys.db")).unwrap();
    assert!(record.execute(sql, []).unwrap() > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_component_that_changed_a_migration_that_ran_is_refused_with_the_next_step() {
    let stand = Stand::open().await;
    let other_first = rewritten("good-2", "CREATE TABLE flags", "CREATE TABLE Flags");
    let answer = stand.send("", other_first).await;
    refuses(&answer, 422, "DEPLOY_REFUSED", "migrated", "its migration 1 (sha256 ");
    refuses(&answer, 422, "DEPLOY_REFUSED", "migrated", "differs from the one that ran (");
    refuses(&answer, 422, "DEPLOY_REFUSED", "migrated", "put the change into a new migration 2");
    let additive = stand.deployed("additive").await;
    let other_second = rewritten("additive good-2", "labels (id INTEGER PRIMARY KEY", "labels (ID INTEGER PRIMARY KEY");
    let answer = stand.send("", other_second.clone()).await;
    refuses(&answer, 422, "DEPLOY_REFUSED", "migrated", "its migration 2 (sha256 ");
    refuses(
        &stand.send("?force=true", other_second).await,
        422,
        "DEPLOY_REFUSED",
        "migrated",
        "into a new migration 3",
    );
    stand.serves(&additive).await;
    stand.deployed("additive good-3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_database_without_stored_texts_accepts_those_of_the_first_component() {
    let mut stand = Stand::open().await;
    stand.shop.stop().await;
    change_record(&stand, "DELETE FROM migrations");
    stand.shop.start_again().await;
    let other = rewritten("good-2", "CREATE TABLE flags", "CREATE TABLE Flags");
    refuses(&stand.send("", other).await, 422, "DEPLOY_REFUSED", "migrated", "its migration 1 (sha256 ");
    stand.deployed("good-3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_database_without_stored_texts_accepts_those_of_the_active_revision_first() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("variant.wasm");
    std::fs::write(&file, variant("good")).unwrap();
    let mut stand = Stand::with(manifest_of(&manifest_text("", "", file.to_str().unwrap()))).await;
    let old = stand.active().await;
    stand.shop.stop().await;
    change_record(&stand, "DELETE FROM migrations");
    std::fs::write(&file, rewritten("good-2", "CREATE TABLE flags", "CREATE TABLE Flags")).unwrap();
    stand.shop.start_again().await;
    stand.serves(&old).await;
    let new = variant("good-3");
    std::fs::write(&file, &new).unwrap();
    stand.shop.restart().await;
    stand.serves(&digest(&new)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_new_components_are_checked_for_changed_migrations() {
    let mut stand = Stand::open().await;
    let old = stand.active().await;
    let new = stand.deployed("good-2").await;
    stand.shop.stop().await;
    change_record(&stand, "UPDATE migrations SET sha256 = 'another text'");
    stand.shop.start_again().await;
    stand.serves(&new).await;
    stand.roll_back("").await.succeeds(200);
    stand.serves(&old).await;
    refuses(&stand.deploy("good-3").await, 422, "DEPLOY_REFUSED", "migrated", "its migration 1 (sha256 ");
}
