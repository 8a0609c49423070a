//! What a rehearsal shows, and that its changes are rolled back.

use std::sync::Arc;

use super::*;
use crate::rehearsal::Rehearsal;
use crate::{Constraint, MigrationError};

/// A rehearsal on a shop's file, with its own storage.
fn rehearse(shop: &Shop, config: SqliteConfig) -> Rehearsal {
    Rehearsal::new(Arc::new(SqliteStorage::open(shop.file(), config).unwrap()))
}

fn sql(text: &str) -> Statement {
    Statement::new(text, [])
}

#[tokio::test]
async fn writes_run_and_leave_no_trace() {
    let shop = Shop::new().await;
    let rehearsal = rehearse(&shop, SqliteConfig::default());
    let order = "INSERT INTO lines (product, quantity) VALUES (1, 1)";
    assert_eq!(rehearsal.execute(sql(SELL_ONE)).await, Ok(1));
    assert_eq!(rehearsal.execute(sql(order)).await, Ok(1));
    let transaction = rehearsal.begin().await.unwrap();
    assert_eq!(run(&*transaction, SELL_ONE).await, Ok(1));
    let returned = ask(&*transaction, &format!("{order} RETURNING id")).await;
    assert_eq!(number(returned), 1);
    assert_eq!(number(ask(&*transaction, "SELECT stock FROM products").await), 9);
    assert_eq!(transaction.commit().await, Ok(()));
    assert_eq!(number(rehearsal.query(sql("SELECT stock FROM products")).await), 10);
    assert_eq!((shop.stock().await, shop.count("lines").await), (10, 0));
    let ids: i64 = shop.outsider().query_row("SELECT count(*) FROM sqlite_sequence", [], |row| row.get(0)).unwrap();
    assert_eq!(ids, 0);
}

#[tokio::test]
async fn reads_and_errors_are_those_of_the_database() {
    let shop = Shop::new().await;
    let rehearsal = rehearse(&shop, SqliteConfig::default());
    shop.execute(SELL_ONE, &[]).await.unwrap();
    assert_eq!(number(rehearsal.query(sql("SELECT stock FROM products")).await), 9);
    let refused = rehearsal.execute(sql("INSERT INTO products VALUES (1, 'cup', 1)")).await;
    assert_eq!(refused, Err(StorageError::Constraint(Constraint::Unique)));
    let denied = rehearsal.execute(sql("DROP TABLE products")).await;
    assert_eq!(denied, Err(StorageError::Denied("DROP".into())));
    assert_eq!(rehearsal.schema_version().await, Ok(1));
}

#[tokio::test]
async fn a_commit_after_the_lease_fails() {
    let shop = Shop::new().await;
    let rehearsal = rehearse(&shop, SqliteConfig { transaction_lease: Duration::ZERO, ..SqliteConfig::default() });
    let transaction = rehearsal.begin().await.unwrap();
    assert_eq!(transaction.commit().await, Err(StorageError::TimedOut));
}

#[tokio::test]
async fn the_writer_is_free_again_after_each_write() {
    let shop = Shop::new().await;
    let rehearsal = rehearse(&shop, SqliteConfig::default());
    for _ in 0..3 {
        rehearsal.begin().await.unwrap().commit().await.unwrap();
        rehearsal.execute(sql(SELL_ONE)).await.unwrap();
        assert_eq!(shop.execute(SELL_ONE, &[]).await, Ok(1));
    }
    assert_eq!(shop.stock().await, 7);
}

#[tokio::test]
async fn migrations_are_checked_and_not_run() {
    let shop = Shop::new().await;
    let rehearsal = rehearse(&shop, SqliteConfig::default());
    let list = vec![schema(), Migration { version: 2, sql: "CREATE TABLE more (x)".into() }];
    assert_eq!(rehearsal.check_additive(list.clone()).await, Ok(()));
    let refused = rehearsal.migrate(list).await;
    assert!(matches!(refused, Err(MigrationError::Storage(StorageError::Denied(_)))), "{refused:?}");
    assert_eq!(shop.storage.schema_version().await, Ok(1));
}
