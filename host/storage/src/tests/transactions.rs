//! The part of the contract about transactions, constraints, and what readers see.

use futures::future::join_all;

use super::shop::{Bounds, ONE_LINE, Opened, SELL_ONE, ask, count, execute, number, query, run, shop, stock};
use crate::{Constraint, Statement, StorageError, Value};

pub(crate) async fn a_transaction_is_all_or_nothing(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    let transaction = shop.begin().await.unwrap();
    assert_eq!(run(&*transaction, SELL_ONE).await, Ok(1));
    assert_eq!(run(&*transaction, ONE_LINE).await, Ok(1));
    drop(transaction);
    // The writer is free again, and nothing of the transaction remains.
    assert_eq!(execute(&shop, "UPDATE products SET name = 'cup'").await, Ok(1));
    assert_eq!((stock(&shop).await, count(&shop, "lines").await), (10, 0));
    let transaction = shop.begin().await.unwrap();
    run(&*transaction, SELL_ONE).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(stock(&shop).await, 9);
}

pub(crate) async fn a_failed_statement_is_rolled_back_alone(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    let transaction = shop.begin().await.unwrap();
    run(&*transaction, SELL_ONE).await.unwrap();
    let twice = "INSERT INTO products (id, name, stock) VALUES (2, 'a', 1), (3, 'mug', 1)";
    for _ in 0..2 {
        assert_eq!(run(&*transaction, twice).await, Err(StorageError::Constraint(Constraint::Unique)));
    }
    assert!(matches!(run(&*transaction, "UPDATE nothing SET x = 1").await, Err(StorageError::Invalid(_))));
    run(&*transaction, SELL_ONE).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!((stock(&shop).await, count(&shop, "products").await), (8, 1));
}

pub(crate) async fn fifty_buyers_of_ten_mugs_get_ten(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    let sold = join_all((0..50).map(|_| execute(&shop, SELL_ONE))).await;
    assert_eq!(sold.into_iter().map(Result::unwrap).sum::<u64>(), 10);
    assert_eq!(stock(&shop).await, 0);
}

pub(crate) async fn fifty_transactions_on_ten_mugs_sell_ten(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    // No other transaction can change what this one has read.
    let buy = async || {
        let transaction = shop.begin().await.unwrap();
        let left = number(ask(&*transaction, "SELECT stock FROM products WHERE id = 1").await);
        if left == 0 {
            return 0;
        }
        let sell = Statement::new("UPDATE products SET stock = $1 WHERE id = 1", [Value::Integer(left - 1)]);
        assert_eq!(transaction.execute(sell).await, Ok(1));
        run(&*transaction, ONE_LINE).await.unwrap();
        transaction.commit().await.unwrap();
        1
    };
    assert_eq!(join_all((0..50).map(|_| buy())).await.into_iter().sum::<i64>(), 10);
    assert_eq!((stock(&shop).await, count(&shop, "lines").await), (0, 10));
}

pub(crate) async fn a_unique_key_is_taken_once_by_many_callers(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    let take = || execute(&shop, "INSERT INTO products (name, stock) VALUES ('jug', 1)");
    let taken = join_all((0..20).map(|_| take())).await;
    assert_eq!(taken.iter().filter(|taken| **taken == Ok(1)).count(), 1);
    let refused = Err(StorageError::Constraint(Constraint::Unique));
    assert_eq!(taken.iter().filter(|taken| **taken == refused).count(), 19);
}

pub(crate) async fn a_broken_constraint_is_named(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    execute(&shop, ONE_LINE).await.unwrap();
    for (sql, constraint) in [
        ("INSERT INTO products (name, stock) VALUES ('mug', 1)", Constraint::Unique),
        ("INSERT INTO products (id, name, stock) VALUES (1, 'cup', 1)", Constraint::Unique),
        ("INSERT INTO lines (product, quantity) VALUES (7, 1)", Constraint::ForeignKey),
        ("DELETE FROM products", Constraint::ForeignKey),
        ("UPDATE products SET stock = -1", Constraint::Check),
        ("UPDATE products SET name = NULL", Constraint::NotNull),
        ("UPDATE products SET stock = 'many'", Constraint::Other),
    ] {
        assert_eq!(execute(&shop, sql).await, Err(StorageError::Constraint(constraint)), "{sql}");
    }
    assert_eq!(stock(&shop).await, 10);
}

pub(crate) async fn execute_refuses_reads_and_query_refuses_writes(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    for sql in ["SELECT 1", &format!("{ONE_LINE} RETURNING id"), "UPDATE nothing SET x = 1", "SELEC 1", ""] {
        let refused = execute(&shop, sql).await;
        assert!(matches!(refused, Err(StorageError::Invalid(_))), "{sql}: {refused:?}");
    }
    for sql in [SELL_ONE, "DELETE FROM lines", &format!("{ONE_LINE} RETURNING id"), "SELECT 1; SELECT 2"] {
        let refused = query(&shop, sql).await;
        assert!(matches!(refused, Err(StorageError::Invalid(_))), "{sql}: {refused:?}");
    }
    assert_eq!((stock(&shop).await, count(&shop, "lines").await), (10, 0));
    assert_eq!(execute(&shop, "UPDATE products SET stock = 1 WHERE id = 9").await, Ok(0));
}

pub(crate) async fn forbidden_statements_are_denied(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    for sql in [
        "CREATE TABLE t (x INTEGER) STRICT",
        "DROP TABLE lines",
        "ALTER TABLE lines ADD COLUMN x INTEGER",
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT guest",
        "VACUUM",
        "EXPLAIN SELECT 1",
        "SELECT random()",
        "SELECT load_extension('x')",
        "SELECT sqlite_version()",
    ] {
        for refused in [query(&shop, sql).await.map(drop), execute(&shop, sql).await.map(drop)] {
            assert!(matches!(refused, Err(StorageError::Denied(_))), "{sql}: {refused:?}");
        }
    }
    let transaction = shop.begin().await.unwrap();
    assert!(matches!(run(&*transaction, "COMMIT").await, Err(StorageError::Denied(_))));
    assert_eq!(run(&*transaction, SELL_ONE).await, Ok(1));
}

pub(crate) async fn readers_see_the_old_state_during_a_transaction(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    let transaction = shop.begin().await.unwrap();
    run(&*transaction, SELL_ONE).await.unwrap();
    assert_eq!(stock(&shop).await, 10);
    assert_eq!(number(ask(&*transaction, "SELECT stock FROM products").await), 9);
    transaction.commit().await.unwrap();
    assert_eq!(stock(&shop).await, 9);
}

pub(crate) async fn every_later_read_sees_an_acknowledged_write(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    for left in (0..10).rev() {
        assert_eq!(execute(&shop, SELL_ONE).await, Ok(1));
        let seen = join_all((0..4).map(|_| stock(&shop))).await;
        assert_eq!(seen, [left; 4]);
    }
}
