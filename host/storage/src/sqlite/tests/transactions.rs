//! Transactions that a guest controls.

use super::*;

#[tokio::test]
async fn a_transaction_is_all_or_nothing() {
    let shop = Shop::new().await;
    let transaction = shop.begin().await;
    run(&*transaction, SELL_ONE).await.unwrap();
    run(&*transaction, "INSERT INTO lines (product, quantity) VALUES (1, 1)").await.unwrap();
    drop(transaction);
    // The writer is free again, and nothing of the transaction remains.
    assert_eq!(shop.execute("UPDATE products SET name = 'cup'", &[]).await, Ok(1));
    assert_eq!((shop.stock().await, shop.count("lines").await), (10, 0));

    let transaction = shop.begin().await;
    run(&*transaction, SELL_ONE).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(shop.stock().await, 9);
}

#[tokio::test]
async fn a_failed_statement_is_rolled_back_alone() {
    let shop = Shop::new().await;
    let transaction = shop.begin().await;
    run(&*transaction, SELL_ONE).await.unwrap();
    // OR FAIL would keep the rows before the failing one. Here a failed statement has no effect.
    for sql in [
        "INSERT INTO products VALUES (2, 'a', 1), (3, 'mug', 1)",
        "INSERT OR FAIL INTO products VALUES (2, 'a', 1), (3, 'mug', 1)",
    ] {
        assert_eq!(run(&*transaction, sql).await, Err(StorageError::Constraint(crate::Constraint::Unique)));
    }
    transaction.commit().await.unwrap();
    assert_eq!((shop.stock().await, shop.count("products").await), (9, 1));
}

#[tokio::test]
async fn the_end_of_a_lease_frees_the_writer() {
    let config =
        SqliteConfig { transaction_lease: Duration::from_millis(10), longest_wait: LONG, ..SqliteConfig::default() };
    let shop = Shop::open(config).await;
    let transaction = shop.begin().await;
    // The owner stays idle. The writer serves the next caller when the lease ends.
    assert_eq!(shop.execute("UPDATE products SET name = 'cup'", &[]).await, Ok(1));
    assert_eq!(run(&*transaction, SELL_ONE).await, Err(StorageError::TimedOut));
    assert_eq!(ask(&*transaction, "SELECT 1").await, Err(StorageError::TimedOut));
    assert_eq!(transaction.commit().await, Err(StorageError::TimedOut));
    assert_eq!(shop.stock().await, 10);
}

#[tokio::test]
async fn a_lease_also_ends_for_a_busy_guest() {
    let config =
        SqliteConfig { transaction_lease: Duration::from_millis(20), longest_wait: LONG, ..SqliteConfig::default() };
    let shop = Shop::open(config).await;
    let transaction = shop.begin().await;
    let end = loop {
        if let Err(error) = run(&*transaction, "UPDATE products SET stock = stock").await {
            break error;
        }
    };
    assert_eq!(end, StorageError::TimedOut);
    assert_eq!(shop.execute(SELL_ONE, &[]).await, Ok(1));
}

#[tokio::test]
async fn waiting_for_the_writer_ends() {
    let config =
        SqliteConfig { longest_wait: Duration::from_millis(5), transaction_lease: LONG, ..SqliteConfig::default() };
    let shop = Shop::open(config).await;
    let transaction = loop {
        // On a slow machine, opening may take longer than the configured wait.
        if let Ok(transaction) = shop.storage.begin().await {
            break transaction;
        }
    };
    assert_eq!(shop.execute(SELL_ONE, &[]).await, Err(StorageError::Busy));
    assert_eq!(shop.storage.begin().await.err(), Some(StorageError::Busy));
    transaction.commit().await.unwrap();
    // The calls that gave up never ran.
    assert_eq!(shop.stock().await, 10);
}

#[tokio::test]
async fn the_queue_for_the_writer_is_limited() {
    let config =
        SqliteConfig { waiting_writes: 2, longest_wait: LONG, transaction_lease: LONG, ..SqliteConfig::default() };
    let shop = Shop::open(config).await;
    let transaction = shop.begin().await;
    let mut first = Box::pin(shop.execute(SELL_ONE, &[]));
    let mut second = Box::pin(shop.execute(SELL_ONE, &[]));
    assert!(waits(&mut first) && waits(&mut second));
    assert_eq!(shop.execute(SELL_ONE, &[]).await, Err(StorageError::Busy));
    drop(transaction);
    assert_eq!((first.await, second.await), (Ok(1), Ok(1)));
    assert_eq!(shop.stock().await, 8);
}

#[tokio::test]
async fn a_caller_that_gives_up_frees_the_writer() {
    let shop =
        Shop::open(SqliteConfig { longest_wait: LONG, transaction_lease: LONG, ..SqliteConfig::default() }).await;
    let transaction = shop.begin().await;
    {
        let mut waiting = Box::pin(shop.storage.begin());
        assert!(waits(&mut waiting));
    }
    drop(transaction);
    assert_eq!(shop.execute(SELL_ONE, &[]).await, Ok(1));
}

#[tokio::test]
async fn a_broken_deferred_reference_fails_the_right_transaction() {
    let shop = Shop::open(SqliteConfig { longest_wait: LONG, group_window: LONG, ..SqliteConfig::default() }).await;
    let sql = "CREATE TABLE later (product INTEGER REFERENCES products (id) DEFERRABLE INITIALLY DEFERRED)";
    shop.storage.migrate(vec![schema(), Migration { version: 2, sql: sql.into() }]).await.unwrap();
    let (good, bad, fine) = tokio::join!(
        shop.execute("INSERT INTO later VALUES (1)", &[]),
        shop.execute("INSERT INTO later VALUES (2)", &[]),
        shop.execute("INSERT INTO later VALUES (1)", &[]),
    );
    assert_eq!((good, fine), (Ok(1), Ok(1)));
    assert_eq!(bad, Err(StorageError::Constraint(crate::Constraint::ForeignKey)));
    let transaction = shop.begin().await;
    run(&*transaction, "INSERT INTO later VALUES (3)").await.unwrap();
    run(&*transaction, "INSERT INTO products VALUES (3, 'jug', 1)").await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(shop.count("later").await, 3);
}
