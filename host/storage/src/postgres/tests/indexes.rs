//! Indexes that are built before their migration.

use futures::future::{Either, select};
use tokio_postgres::Client;

use super::*;

const BY_STOCK: &str = "CREATE INDEX by_stock ON mugs (stock)";

/// The migrations of `host`, and these after them.
fn with_mugs<const N: usize>(texts: [&str; N]) -> Vec<Migration> {
    let mugs = "CREATE TABLE mugs (id INTEGER PRIMARY KEY, stock INTEGER NOT NULL) STRICT; \
                INSERT INTO mugs (id, stock) VALUES (1, 10)";
    let texts = std::iter::once(mugs).chain(texts);
    (1..).zip(texts).map(|(version, sql)| Migration { version, sql: sql.into() }).collect()
}

/// A transaction that holds every concurrent build of an index up until it ends.
async fn old_snapshot(service: &str) -> Client {
    let reader = operator().await;
    let read = format!("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT stock FROM service_{service}.mugs");
    reader.batch_execute(&read).await.unwrap();
    reader
}

/// The complete and the incomplete indexes of a service, by name, without those of primary keys.
async fn indexes(service: &str) -> [Vec<String>; 2] {
    let asked = "SELECT relname::text, indisvalid FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
                 WHERE relnamespace = to_regnamespace($1)::oid AND NOT indisprimary ORDER BY relname";
    let rows = operator().await.query(asked, &[&format!("service_{service}")]).await.unwrap();
    let of = |complete| rows.iter().filter(|row| row.get::<_, bool>(1) == complete).map(|row| row.get(0)).collect();
    [of(true), of(false)]
}

/// Waits until a service has an incomplete index.
async fn building(service: &str) -> String {
    loop {
        if let [_, incomplete] = indexes(service).await
            && let [name] = incomplete.as_slice()
            && name.starts_with("comptoir_index_")
        {
            return name.clone();
        }
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn writes_continue_while_the_index_of_a_migration_is_built() {
    let service = service();
    let (shop, other) = (host(&service, patient()).await, host(&service, patient()).await);
    let reader = old_snapshot(&service).await;
    let migrating = shop.migrate(with_mugs([BY_STOCK]));
    let selling = async {
        building(&service).await;
        for seller in [&shop, &other, &shop] {
            assert_eq!(seller.execute(sql(SELL_ONE)).await, Ok(1));
        }
    };
    match select(migrating, Box::pin(selling)).await {
        Either::Left(_) => panic!("the index was complete although an older transaction still ran"),
        Either::Right(((), migrating)) => {
            reader.batch_execute("COMMIT").await.unwrap();
            assert_eq!(migrating.await, Ok(vec![2]));
        }
    }
    assert_eq!(indexes(&service).await, [vec!["by_stock".to_owned()], vec![]]);
    assert_eq!(stock(&shop).await, [Value::Integer(7)]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn an_index_whose_build_was_interrupted_is_built_again() {
    let service = service();
    let shop = host(&service, patient()).await;
    let reader = old_snapshot(&service).await;
    let migrating = shop.migrate(with_mugs([BY_STOCK]));
    match select(migrating, Box::pin(building(&service))).await {
        Either::Left(_) => panic!("the index was complete although an older transaction still ran"),
        Either::Right((name, migrating)) => {
            drop(migrating);
            assert_eq!(indexes(&service).await, [vec![], vec![name]]);
        }
    }
    reader.batch_execute("COMMIT").await.unwrap();
    assert_eq!(shop.migrate(with_mugs([BY_STOCK])).await, Ok(vec![2]));
    assert_eq!(indexes(&service).await, [vec!["by_stock".to_owned()], vec![]]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn a_failed_migration_keeps_its_index_for_the_next_and_no_other() {
    let service = service();
    let shop = host(&service, patient()).await;
    let broken = format!("{BY_STOCK}; INSERT INTO mugs (id, stock) VALUES (1, 1)");
    let failed = shop.migrate(with_mugs([&broken])).await;
    assert!(matches!(failed, Err(MigrationError::Failed { version: 2, .. })), "{failed:?}");
    let [complete, incomplete] = indexes(&service).await;
    assert!(complete[0].starts_with("comptoir_index_") && incomplete.is_empty(), "{complete:?}, {incomplete:?}");
    // The draft that succeeds wants another index.
    assert_eq!(shop.migrate(with_mugs(["CREATE INDEX by_both ON mugs (stock, id)"])).await, Ok(vec![2]));
    assert_eq!(indexes(&service).await, [vec!["by_both".to_owned()], vec![]]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: `just test-postgres`"]
async fn an_index_on_a_table_that_gets_its_name_in_the_same_run_is_not_built_ahead() {
    let service = service();
    let shop = host(&service, patient()).await;
    let rename = "ALTER TABLE mugs RENAME TO cups; \
                  CREATE TABLE mugs (id INTEGER PRIMARY KEY, stock INTEGER NOT NULL) STRICT";
    assert_eq!(shop.migrate(with_mugs([rename, BY_STOCK])).await, Ok(vec![2, 3]));
    let asked = "SELECT indrelid::regclass::text FROM pg_index WHERE indexrelid = to_regclass($1)";
    let table: String =
        operator().await.query_one(asked, &[&format!("service_{service}.by_stock")]).await.unwrap().get(0);
    assert_eq!(table, format!("service_{service}.mugs"));
    let columns = ["ALTER TABLE mugs ADD COLUMN note TEXT", "CREATE INDEX by_note ON mugs (note)"].join("; ");
    assert_eq!(shop.migrate(with_mugs([rename, BY_STOCK, &columns])).await, Ok(vec![4]));
    assert_eq!(indexes(&service).await, [vec!["by_note".to_owned(), "by_stock".to_owned()], vec![]]);
}
