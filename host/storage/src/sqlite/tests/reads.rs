//! Queries outside a transaction.

use std::sync::atomic::Ordering;

use super::*;
use crate::sqlite_connection::Blueprint;

#[tokio::test]
async fn a_short_query_runs_inline() {
    let shop = Shop::new().await;
    let stock = shop.query("SELECT stock FROM products WHERE id = 1", &[]).now_or_never();
    assert_eq!(number(stock.expect("the query runs inline")), 10);
}

#[tokio::test]
async fn a_long_query_moves_to_a_blocking_thread() {
    let config = SqliteConfig { inline_budget: Duration::ZERO, statement_deadline: LONG, ..SqliteConfig::default() };
    let shop = Shop::open(config).await;
    let count =
        "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 100000) SELECT count(*) FROM c";
    assert!(shop.storage.readers.query_inline(&Statement::new(count, [])).is_none());
    assert_eq!(number(shop.query(count, &[]).await), 100_000);
    assert_eq!(shop.storage.usage().long_queries.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_query_that_was_slow_once_can_run_inline_again() {
    let shop = Shop::new().await;
    let statement = Statement::new("SELECT stock FROM products", []);
    shop.storage.readers.mark_late(&statement.sql);
    assert!(shop.storage.readers.query_inline(&statement).is_none());
    while shop.storage.readers.query_inline(&statement).is_none() {
        shop.storage.query(statement.clone()).await.unwrap();
    }
}

#[tokio::test]
async fn like_and_glob_never_run_inline() {
    let shop = Shop::new().await;
    for sql in ["SELECT name FROM products WHERE name LIKE '%u%'", "SELECT name GLOB 'm*' FROM products"] {
        for _ in 0..3 {
            assert!(shop.storage.readers.query_inline(&Statement::new(sql, [])).is_none(), "{sql}");
            shop.query(sql, &[]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn long_queries_take_turns() {
    let config = SqliteConfig {
        long_queries: 1,
        longest_wait: Duration::from_millis(10),
        inline_budget: Duration::ZERO,
        statement_deadline: Duration::from_millis(300),
        ..SqliteConfig::default()
    };
    let shop = Shop::open(config).await;
    let (first, second) = tokio::join!(shop.query(FOREVER, &[]), shop.query(FOREVER, &[]));
    let mut ends = [first.unwrap_err(), second.unwrap_err()];
    ends.sort_by_key(|error| *error == StorageError::TimedOut);
    assert_eq!(ends, [StorageError::Busy, StorageError::TimedOut]);
}

#[tokio::test]
async fn a_query_cannot_write() {
    let shop = Shop::new().await;
    for sql in [SELL_ONE, "DELETE FROM lines", "INSERT INTO lines (product, quantity) VALUES (1, 1) RETURNING id"] {
        assert!(matches!(shop.query(sql, &[]).await, Err(StorageError::Invalid(_))), "{sql}");
    }
    assert_eq!(shop.stock().await, 10);
}

#[tokio::test]
async fn readers_see_the_old_state_during_a_transaction() {
    let shop = Shop::new().await;
    let transaction = shop.begin().await;
    run(&*transaction, SELL_ONE).await.unwrap();
    assert_eq!(shop.stock().await, 10);
    assert_eq!(number(ask(&*transaction, "SELECT stock FROM products").await), 9);
    transaction.commit().await.unwrap();
    assert_eq!(shop.stock().await, 9);
}

#[tokio::test]
async fn a_query_sees_a_changed_schema_at_once() {
    let shop = Shop::new().await;
    assert_eq!(shop.query("SELECT * FROM numbers", &[]).await.unwrap().columns(), ["n"]);
    let second = Migration { version: 2, sql: "ALTER TABLE numbers ADD COLUMN m ANY".into() };
    shop.storage.migrate(vec![schema(), second]).await.unwrap();
    assert_eq!(shop.query("SELECT * FROM numbers", &[]).await.unwrap().columns(), ["n", "m"]);
}

#[tokio::test]
async fn overlapping_readers_cannot_make_the_log_grow() {
    let config = SqliteConfig {
        wal_bytes: 8 << 20,
        statement_deadline: Duration::from_millis(100),
        transaction_lease: LONG,
        longest_wait: LONG,
        ..SqliteConfig::default()
    };
    let shop = Shop::open(config).await;
    let snapshot = format!("SELECT (SELECT stock FROM products) + ({FOREVER})");
    let read = async || loop {
        assert_eq!(shop.query(&snapshot, &[]).await, Err(StorageError::TimedOut));
    };
    let write = async {
        let mut longest = 0;
        for _ in 0..60 {
            write_a_megabyte(&shop).await;
            longest = longest.max(std::fs::metadata(shop.folder.path().join("shop.db-wal")).unwrap().len());
        }
        longest
    };
    let longest = tokio::select! {
        _ = read() => unreachable!("the readers never stop"),
        _ = async { shop.query(&snapshot, &[]).await.unwrap_err(); read().await } => unreachable!("the readers never stop"),
        longest = write => longest,
    };
    // If the writer did not wait for readers, the log would grow to all of the 60 MB. A failed attempt is repeated after a
    // quarter of the limit.
    assert!(longest <= 24 << 20, "{longest} bytes");
}

/// Writes a large row and deletes it.
///
/// So the database stays small, but the log grows.
async fn write_a_megabyte(shop: &Shop) {
    shop.execute("INSERT INTO numbers VALUES ($1)", &[Value::Blob(vec![7; 1_000_000])]).await.unwrap();
    shop.execute("DELETE FROM numbers", &[]).await.unwrap();
}

#[test]
fn a_statement_is_compiled_once_for_all_values_of_its_parameters() {
    let connection = Blueprint::without_file().sandbox().unwrap();
    connection
        .policy
        .as_host(|| connection.raw.execute_batch("CREATE TABLE t (a TEXT) STRICT; CREATE INDEX by_a ON t (a)"))
        .unwrap();
    let mut statement = connection.raw.prepare("SELECT a FROM t WHERE a > $1 ORDER BY a LIMIT $2 OFFSET $3").unwrap();
    for limit in 1..=3 {
        let mut rows = statement.query(rusqlite::params!["a", limit, limit]).unwrap();
        assert!(rows.next().unwrap().is_none());
    }
    assert_eq!(statement.get_status(rusqlite::StatementStatus::RePrepare), 0);
}
