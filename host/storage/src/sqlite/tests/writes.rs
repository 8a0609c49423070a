//! Writes, their groups, and which changes survive which failure.

use std::sync::atomic::Ordering;

use futures::future::join_all;

use super::*;
use crate::Constraint;

/// A configuration with which a group stays open as long as a job waits.
fn patient() -> SqliteConfig {
    SqliteConfig { group_window: LONG, longest_wait: LONG, transaction_lease: LONG, ..SqliteConfig::default() }
}

#[tokio::test]
async fn fifty_buyers_of_ten_mugs_get_ten() {
    let shop = Shop::new().await;
    let sold = join_all((0..50).map(|_| shop.execute(SELL_ONE, &[]))).await;
    assert_eq!(sold.into_iter().map(Result::unwrap).sum::<u64>(), 10);
    assert_eq!(shop.stock().await, 0);
}

#[tokio::test]
async fn fifty_transactions_on_ten_mugs_sell_ten() {
    let shop =
        Shop::open(SqliteConfig { longest_wait: LONG, transaction_lease: LONG, ..SqliteConfig::default() }).await;
    let buy = async || {
        let transaction = shop.begin().await;
        if run(&*transaction, SELL_ONE).await.unwrap() == 0 {
            return 0;
        }
        run(&*transaction, "INSERT INTO lines (product, quantity) VALUES (1, 1)").await.unwrap();
        transaction.commit().await.unwrap();
        1
    };
    assert_eq!(join_all((0..50).map(|_| buy())).await.into_iter().sum::<i64>(), 10);
    assert_eq!((shop.stock().await, shop.count("lines").await), (0, 10));
    // The writer runs jobs in order. When it answers this one, it has finished all dropped transactions.
    assert_eq!(shop.execute(SELL_ONE, &[]).await, Ok(0));
    let usage = shop.storage.usage();
    assert_eq!(usage.commits.load(Ordering::Relaxed), 11);
    assert_eq!(usage.rollbacks.load(Ordering::Relaxed), 40);
}

#[tokio::test]
async fn a_broken_constraint_is_named() {
    let shop = Shop::new().await;
    shop.execute("INSERT INTO lines (product, quantity) VALUES (1, 1)", &[]).await.unwrap();
    for (sql, constraint) in [
        ("INSERT INTO products VALUES (2, 'mug', 1)", Constraint::Unique),
        ("INSERT INTO products VALUES (1, 'cup', 1)", Constraint::Unique),
        ("INSERT INTO lines (product, quantity) VALUES (7, 1)", Constraint::ForeignKey),
        ("DELETE FROM products", Constraint::ForeignKey),
        ("UPDATE products SET stock = -1", Constraint::Check),
        ("UPDATE products SET name = NULL", Constraint::NotNull),
        ("UPDATE products SET stock = 'many'", Constraint::Other),
        ("UPDATE products SET id = 'one'", Constraint::Other),
    ] {
        assert_eq!(shop.execute(sql, &[]).await, Err(StorageError::Constraint(constraint)), "{sql}");
    }
    assert_eq!(shop.stock().await, 10);
}

#[tokio::test]
async fn execute_is_for_writes_without_rows() {
    let shop = Shop::new().await;
    for sql in
        ["SELECT 1", "INSERT INTO lines (product, quantity) VALUES (1, 1) RETURNING id", "UPDATE nothing SET x = 1"]
    {
        assert!(matches!(shop.execute(sql, &[]).await, Err(StorageError::Invalid(_))), "{sql}");
    }
    assert_eq!(shop.count("lines").await, 0);
    assert_eq!(shop.execute("UPDATE products SET stock = 1 WHERE id = 9", &[]).await, Ok(0));
}

#[tokio::test]
async fn nothing_is_acknowledged_before_its_group_is_durable() {
    let shop = Shop::open(patient()).await;
    let outsider = shop.outsider();
    let visible = || outsider.query_row("SELECT stock FROM products", [], |row| row.get::<_, i64>(0)).unwrap();

    // Two jobs wait behind this transaction, so they form one group with it.
    let first = shop.begin().await;
    let mut sale = Box::pin(shop.execute(SELL_ONE, &[]));
    let mut second = Box::pin(shop.storage.begin());
    assert!(waits(&mut sale) && waits(&mut second));
    run(&*first, SELL_ONE).await.unwrap();
    let mut commit = first.commit();
    assert!(waits(&mut commit));

    let second = second.await.unwrap();
    run(&*second, SELL_ONE).await.unwrap();
    // Both transactions are done and the second sees their changes. But no caller was told, and no reader sees them.
    assert_eq!(number(ask(&*second, "SELECT stock FROM products").await), 7);
    assert!(waits(&mut sale) && waits(&mut commit));
    assert_eq!(visible(), 10);

    let syncs = shop.storage.usage().syncs.load(Ordering::Relaxed);
    drop(second);
    assert_eq!((commit.await, sale.await), (Ok(()), Ok(1)));
    assert_eq!(visible(), 8);
    assert_eq!(shop.storage.usage().syncs.load(Ordering::Relaxed), syncs + 1);
}

#[tokio::test]
async fn a_group_is_committed_before_a_transaction_that_only_read() {
    let shop = Shop::open(SqliteConfig { group_window: Duration::from_millis(500), ..patient() }).await;
    let first = shop.begin().await;
    let mut sale = Box::pin(shop.execute(SELL_ONE, &[]));
    let mut second = Box::pin(shop.storage.begin());
    assert!(waits(&mut sale) && waits(&mut second));
    drop(first);
    let second = second.await.unwrap();
    assert_eq!(number(ask(&*second, "SELECT stock FROM products").await), 9);
    // The second transaction holds the writer and stays idle.
    assert_eq!(sale.await, Ok(1));
    assert_eq!(shop.stock().await, 9);
    run(&*second, SELL_ONE).await.unwrap();
    second.commit().await.unwrap();
    assert_eq!(shop.stock().await, 8);
}

/// Adds a finished sale to the group of a transaction.
///
/// The transaction's next statement rolls back the whole group.
async fn ruin(shop: &Shop, sql: &str) -> (Result<u64, StorageError>, Result<u64, StorageError>) {
    let first = shop.begin().await;
    let mut sale = Box::pin(shop.execute(SELL_ONE, &[]));
    let mut second = Box::pin(shop.storage.begin());
    assert!(waits(&mut sale) && waits(&mut second));
    drop(first);
    let second = second.await.unwrap();
    run(&*second, SELL_ONE).await.unwrap();
    let culprit = run(&*second, sql).await;
    assert!(run(&*second, SELL_ONE).await.is_err());
    assert!(second.commit().await.is_err());
    (culprit, sale.await)
}

#[tokio::test]
async fn after_a_rollback_of_the_group_the_writer_continues() {
    let shop = Shop::open(patient()).await;
    let (culprit, bystander) = ruin(&shop, "INSERT OR ROLLBACK INTO products VALUES (1, 'cup', 1)").await;
    assert_eq!(culprit, Err(StorageError::Constraint(Constraint::Unique)));
    assert_eq!(bystander, Err(StorageError::Busy));
    assert_eq!(shop.stock().await, 10);
    assert_eq!(shop.execute(SELL_ONE, &[]).await, Ok(1));
    assert_eq!(shop.stock().await, 9);
}

#[tokio::test]
async fn after_an_interrupted_write_the_writer_continues() {
    let shop = Shop::open(SqliteConfig { statement_deadline: Duration::from_millis(50), ..patient() }).await;
    let (culprit, bystander) = ruin(&shop, WRITE_FOREVER).await;
    assert_eq!((culprit, bystander), (Err(StorageError::TimedOut), Err(StorageError::Busy)));
    assert_eq!(shop.stock().await, 10);
    assert_eq!(shop.execute(SELL_ONE, &[]).await, Ok(1));
}

#[tokio::test]
async fn a_full_database_refuses_writes_until_there_is_space() {
    let shop = Shop::open(SqliteConfig { database_bytes: 512 << 10, ..patient() }).await;
    let fill = "INSERT INTO numbers VALUES (zeroblob(100000))";
    let full = loop {
        if let Err(error) = shop.execute(fill, &[]).await {
            break error;
        }
    };
    assert!(matches!(&full, StorageError::Unavailable(cause) if cause.contains("full")), "{full}");
    let held = shop.count("numbers").await;
    assert!(held > 0);
    let (culprit, bystander) = ruin(&shop, fill).await;
    assert!(matches!(culprit, Err(StorageError::Unavailable(_))), "{culprit:?}");
    assert!(matches!(bystander, Err(StorageError::Unavailable(_))), "{bystander:?}");
    assert_eq!((shop.stock().await, shop.count("numbers").await), (10, held));
    assert_eq!(shop.execute("DELETE FROM numbers", &[]).await, Ok(held.unsigned_abs()));
    assert_eq!(shop.execute(fill, &[]).await, Ok(1));
}

#[tokio::test]
async fn a_lock_of_another_process_makes_writes_busy() {
    let shop = Shop::open(SqliteConfig { longest_wait: Duration::from_millis(5), ..SqliteConfig::default() }).await;
    let outsider = shop.outsider();
    outsider.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(shop.execute(SELL_ONE, &[]).await, Err(StorageError::Busy));
    assert_eq!(shop.stock().await, 10);
    outsider.execute_batch("ROLLBACK").unwrap();
    while shop.execute(SELL_ONE, &[]).await.is_err() {}
    assert_eq!(shop.stock().await, 9);
}

#[tokio::test]
async fn acknowledged_writes_survive_reopening() {
    let shop = Shop::new().await;
    shop.execute(SELL_ONE, &[]).await.unwrap();
    // As after a crash: the first storage never closes its files.
    let path = shop.file();
    std::mem::forget(shop);
    let again = SqliteStorage::open(path, SqliteConfig::default()).unwrap();
    let stock = again.query(Statement::new("SELECT stock FROM products", [])).await;
    assert_eq!(number(stock), 9);
}
