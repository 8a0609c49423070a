//! The part of the contract about limits of results, values and time.

use futures::FutureExt;
use std::time::Duration;

use super::shop::{Bounds, FOREVER, Opened, SELL_ONE, ask, count, execute, number, query, run, schema, shop, stock};
use crate::{Statement, StorageError, Value};

pub(crate) async fn a_result_is_limited(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    let up_to =
        |n| format!("WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {n}) SELECT n FROM c");
    assert_eq!(query(&shop, &up_to(10_000)).await.unwrap().values().len(), 10_000);
    assert!(matches!(query(&shop, &up_to(10_001)).await, Err(StorageError::TooLarge(_))));
    assert!(matches!(query(&shop, &up_to(1_000_000)).await, Err(StorageError::TooLarge(_))));
    let wide = format!("SELECT {} FROM ({}) AS c", ["n"; 200].join(","), up_to(9_999));
    assert!(matches!(query(&shop, &wide).await, Err(StorageError::TooLarge(_))));
    assert_eq!(stock(&shop).await, 10);
}

pub(crate) async fn a_write_with_too_large_a_result_has_no_effect(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds { result_rows: 3, ..Bounds::default() }).await;
    let transaction = shop.begin().await.unwrap();
    let four = "INSERT INTO numbers (i) VALUES (1), (2), (3), (4) RETURNING i";
    assert!(matches!(ask(&*transaction, four).await, Err(StorageError::TooLarge(_))));
    let three = "INSERT INTO numbers (i) VALUES (5), (6), (7) RETURNING i";
    assert_eq!(ask(&*transaction, three).await.unwrap().values().len(), 3);
    transaction.commit().await.unwrap();
    assert_eq!(count(&shop, "numbers").await, 3);
}

pub(crate) async fn a_value_is_limited(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    let insert = |bytes| Statement::new("INSERT INTO numbers (b) VALUES ($1)", [Value::Blob(vec![7; bytes])]);
    assert_eq!(shop.execute(insert(1_000_000)).await, Ok(1));
    assert!(matches!(shop.execute(insert((1 << 20) + 1)).await, Err(StorageError::TooLarge(_))));
    assert_eq!(number(query(&shop, "SELECT length(b) FROM numbers").await), 1_000_000);
    let grown = "UPDATE numbers SET t = coalesce(t, 'x') || coalesce(t, 'x')";
    let grow = async || {
        for _ in 0..20 {
            execute(&shop, grown).await?;
        }
        execute(&shop, grown).await
    };
    assert!(matches!(grow().await, Err(StorageError::TooLarge(_))), "a text of more than one mebibyte");
    let text = format!("SELECT '{}'", "x".repeat(64 << 10));
    assert!(matches!(query(&shop, &text).await, Err(StorageError::TooLarge(_))));
}

pub(crate) async fn an_endless_statement_is_stopped(open: impl AsyncFn(Bounds) -> Opened) {
    let bounds = Bounds { statement_deadline: Duration::from_millis(20), ..Bounds::default() };
    let shop = shop(open, bounds).await;
    assert_eq!(query(&shop, FOREVER).await, Err(StorageError::TimedOut));
    let transaction = shop.begin().await.unwrap();
    assert_eq!(ask(&*transaction, FOREVER).await, Err(StorageError::TimedOut));
    // A failed read leaves its transaction unchanged.
    while run(&*transaction, SELL_ONE).await != Ok(1) {}
    transaction.commit().await.unwrap();
    assert_eq!(stock(&shop).await, 9);
}

pub(crate) async fn the_end_of_a_lease_frees_the_writer(open: impl AsyncFn(Bounds) -> Opened) {
    let bounds = Bounds { transaction_lease: Duration::from_millis(10), ..Bounds::default() };
    let shop = shop(open, bounds).await;
    let transaction = shop.begin().await.unwrap();
    // The owner stays idle. The next caller gets the writer when the lease ends.
    assert_eq!(execute(&shop, "UPDATE products SET name = 'cup'").await, Ok(1));
    assert_eq!(run(&*transaction, SELL_ONE).await, Err(StorageError::TimedOut));
    assert_eq!(ask(&*transaction, "SELECT 1").await, Err(StorageError::TimedOut));
    assert_eq!(transaction.commit().await, Err(StorageError::TimedOut));
    let busy = shop.begin().await.unwrap();
    while run(&*busy, "UPDATE products SET stock = stock").await.is_ok() {}
    assert_eq!(execute(&shop, SELL_ONE).await, Ok(1));
    assert_eq!(stock(&shop).await, 9);
}

pub(crate) async fn waiting_for_the_writer_ends(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = open(Bounds { longest_wait: Duration::from_millis(50), ..Bounds::default() }).await;
    // On a slow machine, migrating may take longer than the configured wait.
    while shop.migrate(vec![schema()]).await == Err(StorageError::Busy.into()) {}
    let transaction = loop {
        if let Ok(transaction) = shop.begin().await {
            break transaction;
        }
    };
    assert_eq!(execute(&shop, SELL_ONE).await, Err(StorageError::Busy));
    assert_eq!(shop.begin().await.err(), Some(StorageError::Busy));
    transaction.commit().await.unwrap();
    // The calls that gave up never ran.
    assert_eq!(stock(&shop).await, 10);
}

pub(crate) async fn a_caller_that_gives_up_frees_the_writer(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    let transaction = shop.begin().await.unwrap();
    {
        let mut waiting = Box::pin(shop.begin());
        assert!((&mut waiting).now_or_never().is_none(), "the second transaction must wait");
    }
    drop(transaction);
    assert_eq!(execute(&shop, SELL_ONE).await, Ok(1));
    let transaction = shop.begin().await.unwrap();
    run(&*transaction, SELL_ONE).await.unwrap();
    {
        let mut running = Box::pin(ask(&*transaction, "SELECT count(*) FROM products"));
        let _ = (&mut running).now_or_never();
    }
    drop(transaction);
    assert_eq!(execute(&shop, SELL_ONE).await, Ok(1));
    assert_eq!(stock(&shop).await, 8);
}
