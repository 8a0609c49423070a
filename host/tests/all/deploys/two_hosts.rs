//! Deploys at two hosts on one database in PostgreSQL.

use testing::databases::Database;

use super::*;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn what_only_adds_at_one_host_lets_the_other_start_again_and_both_go_back() {
    let database = std::sync::Arc::new(Database::create().await);
    let stand =
        || async { Stand { shop: Shop::on(Some(database.clone()), manifest("", ""), |options| options).await } };
    let (one, mut other) = (stand().await, stand().await);
    let old = one.active().await;
    let new = one.deployed("additive").await;
    assert_ne!(old, new);
    assert_eq!(one.shop.schema_version("variant").await, 2);
    // The other one knows nothing of the migration, and it is none of its business.
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
async fn a_host_that_starts_beside_others_brings_no_migration_that_they_might_not_survive() {
    let database = std::sync::Arc::new(Database::create().await);
    let one = Stand { shop: Shop::on(Some(database.clone()), manifest("", ""), |options| options).await };
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let destructive = folder.path().join("destructive.wasm");
    std::fs::write(&destructive, variant("destructive")).unwrap();
    let mut manifest = manifest("", "");
    manifest.services.get_mut("variant").unwrap().component = destructive;
    manifest.postgres = Some(database.manifest());
    let options = testing::options(&one.shop.clock);
    let refused = comptoir::host::Host::start(manifest, data.path(), options).await.err().expect("it is refused");
    assert!(format!("{refused:#}").contains("is not additive"), "{refused:#}");
    assert_eq!(one.shop.schema_version("variant").await, 1);
    assert_eq!(one.add("still served").await.status, 201);
}
