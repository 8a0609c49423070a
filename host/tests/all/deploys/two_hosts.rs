//! Deploys on two hosts that share a PostgreSQL database.

use testing::databases::Database;

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn after_an_additive_migration_on_one_host_the_other_restarts_and_both_roll_back() {
    let database = std::sync::Arc::new(Database::create().await);
    let stand =
        || async { Stand { shop: Shop::on(Some(database.clone()), manifest("", ""), |options| options).await } };
    let (one, mut other) = (stand().await, stand().await);
    let old = one.active().await;
    let new = one.deployed("additive").await;
    assert_ne!(old, new);
    assert_eq!(one.shop.schema_version("variant").await, 2);
    // The other host does not know the migration and does not need it.
    other.shop.restart().await;
    other.serves(&old).await;
    assert_eq!(other.add("written by the old").await.status, 201);
    assert_eq!(one.add("written by the new").await.status, 201);
    assert_eq!(other.deployed("additive").await, new);
    for stand in [&one, &other] {
        assert_eq!(stand.roll_back("").await.succeeds(200)["to"], old);
        stand.serves(&old).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_host_that_starts_beside_others_refuses_a_breaking_migration() {
    let database = std::sync::Arc::new(Database::create().await);
    let one = Stand { shop: Shop::on(Some(database.clone()), manifest("", ""), |options| options).await };
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let destructive = folder.path().join("destructive.wasm");
    std::fs::write(&destructive, variant("destructive")).unwrap();
    let mut manifest = manifest("", "");
    manifest.services.get_mut("variant").unwrap().component = destructive;
    manifest.postgres = Some(database.manifest());
    let options = testing::options(&one.shop.clock);
    let refused =
        comptoir::host::Host::start(manifest, data.path(), options).await.err().expect("the host refuses to start");
    assert!(format!("{refused:#}").contains("is not additive"), "{refused:#}");
    assert_eq!(one.shop.schema_version("variant").await, 1);
    assert_eq!(one.add("still served").await.status, 201);
}
