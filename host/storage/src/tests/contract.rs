//! The contract as tests. Each engine runs all of them.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;

use crate::rehearsal::Rehearsal;
use crate::{
    Constraint, Migration, MigrationError, NotAdditive, Rows, Statement, Storage, StorageError, Transaction, Value,
};

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(600);

/// Limits that a test sets. The defaults are longer than any test waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) statement_deadline: Duration,
    pub(crate) transaction_lease: Duration,
    pub(crate) longest_wait: Duration,
    pub(crate) result_rows: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { statement_deadline: LONG, transaction_lease: LONG, longest_wait: LONG, result_rows: 10_000 }
    }
}

/// Makes a test for one part of the contract.
///
/// `open` opens an empty database, with limits and a folder, for this test only.
macro_rules! promise {
    ($promise:ident, $open:path, [$($attribute:meta)?]) => {
        #[tokio::test]
        $(#[$attribute])?
        async fn $promise() {
            let folder = tempfile::tempdir().unwrap();
            $crate::tests::contract::$promise(async |bounds| $open(bounds, folder.path()).await).await;
        }
    };
}

macro_rules! promises {
    ($open:path, $attributes:tt, $($promise:ident)*) => {
        $($crate::tests::contract::promise!($promise, $open, $attributes);)*
    };
}

/// Makes a test for each part of the contract.
macro_rules! keeps_the_contract {
    ($open:path, $attributes:tt) => {
        $crate::tests::contract::promises! { $open, $attributes,
            a_transaction_is_all_or_nothing
            a_failed_statement_is_rolled_back_alone
            fifty_buyers_of_ten_mugs_get_ten
            fifty_transactions_on_ten_mugs_sell_ten
            a_unique_key_is_taken_once_by_many_callers
            a_broken_constraint_is_named
            execute_refuses_reads_and_query_refuses_writes
            forbidden_statements_are_denied
            readers_see_the_old_state_during_a_transaction
            every_later_read_sees_an_acknowledged_write
            parameters_are_bound_by_their_number
            values_are_read_as_they_were_written
            a_sum_is_an_integer_and_an_average_is_real
            a_result_is_limited
            a_write_with_too_large_a_result_has_no_effect
            a_value_is_limited
            an_endless_statement_is_stopped
            the_end_of_a_lease_frees_the_writer
            waiting_for_the_writer_ends
            a_caller_that_gives_up_frees_the_writer
            migrations_run_once_and_in_order
            a_failed_migration_rolls_back_its_whole_run
            a_query_sees_a_changed_schema_at_once
            generated_ids_continue_after_those_of_a_migration
            only_additions_are_additive
            a_rehearsal_leaves_no_trace
            a_key_has_its_last_value_until_it_is_deleted
            a_list_of_keys_continues_at_its_cursor
            many_increments_lose_none
            a_batch_of_entries_is_all_or_nothing
            entries_and_batches_are_limited
            a_rehearsal_of_entries_leaves_no_trace
        }
    };
}

pub(crate) use super::keyvalue::{
    a_batch_of_entries_is_all_or_nothing, a_key_has_its_last_value_until_it_is_deleted,
    a_list_of_keys_continues_at_its_cursor, a_rehearsal_of_entries_leaves_no_trace, entries_and_batches_are_limited,
    many_increments_lose_none,
};
pub(crate) use {keeps_the_contract, promise, promises};

pub(crate) type Opened = Arc<dyn Storage>;

fn schema() -> Migration {
    let sql = "
        CREATE TABLE products (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            stock INTEGER NOT NULL CHECK (stock >= 0)
        ) STRICT;
        CREATE TABLE lines (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            product INTEGER NOT NULL REFERENCES products (id),
            quantity INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE numbers (i INTEGER, r REAL, t TEXT, b BLOB) STRICT;
        INSERT INTO products (id, name, stock) VALUES (1, 'mug', 10);";
    Migration { version: 1, sql: sql.into() }
}

fn step(version: u32, sql: &str) -> Migration {
    Migration { version, sql: sql.into() }
}

/// A database with the tables of [`schema`].
async fn shop(open: impl AsyncFn(Bounds) -> Opened, bounds: Bounds) -> Opened {
    let storage = open(bounds).await;
    assert_eq!(storage.migrate(vec![schema()]).await, Ok(vec![1]));
    storage
}

async fn query(storage: &Opened, sql: &str) -> Result<Rows, StorageError> {
    storage.query(Statement::new(sql, [])).await
}

async fn execute(storage: &Opened, sql: &str) -> Result<u64, StorageError> {
    storage.execute(Statement::new(sql, [])).await
}

async fn run(transaction: &dyn Transaction, sql: &str) -> Result<u64, StorageError> {
    transaction.execute(Statement::new(sql, [])).await
}

async fn ask(transaction: &dyn Transaction, sql: &str) -> Result<Rows, StorageError> {
    transaction.query(Statement::new(sql, [])).await
}

/// The single number of a result.
fn number(rows: Result<Rows, StorageError>) -> i64 {
    match rows.unwrap().values().as_slice() {
        [Value::Integer(number)] => *number,
        other => panic!("not one number: {other:?}"),
    }
}

async fn stock(storage: &Opened) -> i64 {
    number(query(storage, "SELECT stock FROM products WHERE id = 1").await)
}

async fn count(storage: &Opened, table: &str) -> i64 {
    number(query(storage, &format!("SELECT count(*) FROM {table}")).await)
}

const SELL_ONE: &str = "UPDATE products SET stock = stock - 1 WHERE id = 1 AND stock >= 1";
const ONE_LINE: &str = "INSERT INTO lines (product, quantity) VALUES (1, 1)";

/// A query that never ends.
const FOREVER: &str = "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";

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

pub(crate) async fn parameters_are_bound_by_their_number(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    let given = [Value::Text("one".into()), Value::Integer(2), Value::Real(3.5)];
    let rows = shop.query(Statement::new("SELECT $2, $1, $3, $2", given.clone())).await.unwrap();
    assert_eq!(rows.values(), [Value::Integer(2), Value::Text("one".into()), Value::Real(3.5), Value::Integer(2)]);
    for (sql, params) in [
        ("SELECT $1", &given[..0]),
        ("SELECT $1", &given[..2]),
        ("SELECT 1", &given[..1]),
        ("SELECT $2", &given[..1]),
        ("SELECT ?", &given[..1]),
        ("SELECT :a", &given[..1]),
        ("SELECT $01", &given[..1]),
        ("SELECT $0", &given[..0]),
        ("SELECT $1::text", &given[..1]),
        ("SELECT $1", &[Value::Real(f64::NAN)]),
    ] {
        let refusal = shop.query(Statement::new(sql, params)).await;
        assert!(matches!(refusal, Err(StorageError::Invalid(_))), "{sql}: {refusal:?}");
    }
}

pub(crate) async fn values_are_read_as_they_were_written(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    for (column, value) in [
        ("i", Value::Null),
        ("i", Value::Integer(i64::MIN)),
        ("i", Value::Integer(i64::MAX)),
        ("r", Value::Null),
        ("r", Value::Real(0.1)),
        ("r", Value::Real(f64::INFINITY)),
        ("t", Value::Null),
        ("t", Value::Text(String::new())),
        ("t", Value::Text("it's ✓ \\ \"".into())),
        ("t", Value::Text("a\0b \u{1a}0".into())),
        ("b", Value::Blob(vec![])),
        ("b", Value::Blob(vec![0, 255])),
    ] {
        execute(&shop, "DELETE FROM numbers").await.unwrap();
        let insert = Statement::new(format!("INSERT INTO numbers ({column}) VALUES ($1)"), [value.clone()]);
        assert_eq!(shop.execute(insert).await, Ok(1), "{column} {value:?}");
        let found = query(&shop, &format!("SELECT {column} FROM numbers")).await.unwrap();
        assert_eq!(found.values(), [value]);
    }
    let rows = query(&shop, "SELECT 1 AS a, 2 AS \"b c\" UNION SELECT 3, 4").await.unwrap();
    assert_eq!((rows.columns().as_slice(), rows.values().len()), (["a".to_owned(), "b c".to_owned()].as_slice(), 4));
    let none = query(&shop, "SELECT i, t FROM numbers WHERE i = 7").await.unwrap();
    assert_eq!((none.columns().len(), none.values()), (2, vec![]));
}

pub(crate) async fn a_sum_is_an_integer_and_an_average_is_real(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    execute(&shop, "INSERT INTO numbers (i, r) VALUES (1, 0.5), (2, 0.25), (-10000, 0)").await.unwrap();
    let sums = query(&shop, "SELECT sum(i), avg(i), sum(r), max(i), count(*) FROM numbers WHERE i > 0").await.unwrap();
    let expected = [Value::Integer(3), Value::Real(1.5), Value::Real(0.75), Value::Integer(2), Value::Integer(2)];
    assert_eq!(sums.values(), expected);
    assert_eq!(number(query(&shop, "SELECT sum(i) FROM numbers").await), -9_997);
    for (sql, expected) in [
        ("SELECT (sum(i) + 1) / 3 FROM numbers WHERE i > 0", Value::Integer(1)),
        ("SELECT sum(i) / count(*) FROM numbers WHERE i > 0", Value::Integer(1)),
        ("SELECT sum(i) FROM numbers WHERE i > 9", Value::Null),
        ("SELECT avg(i) FROM numbers WHERE i > 9", Value::Null),
        ("SELECT CAST(2.7 AS INTEGER)", Value::Integer(2)),
        ("SELECT CAST(-2.7 AS INTEGER)", Value::Integer(-2)),
        ("SELECT CAST('12' AS INTEGER)", Value::Integer(12)),
        ("SELECT 1e3", Value::Real(1000.0)),
        ("SELECT 0.1 + 0.2", Value::Real(0.1 + 0.2)),
        ("SELECT 7 / 2", Value::Integer(3)),
        ("SELECT -7 % 4", Value::Integer(-3)),
        ("SELECT 1 || 'a' || NULL", Value::Null),
        ("SELECT 1 || 'a' || 2", Value::Text("1a2".into())),
        ("SELECT 99999999999999999999", Value::Real(1e20)),
        ("SELECT 9223372036854775807", Value::Integer(i64::MAX)),
    ] {
        assert_eq!(query(&shop, sql).await.unwrap().values(), [expected], "{sql}");
    }
}

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

pub(crate) async fn migrations_run_once_and_in_order(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    assert_eq!(shop.schema_version().await, Ok(1));
    let list = vec![
        schema(),
        step(2, "ALTER TABLE products ADD COLUMN price INTEGER; UPDATE products SET price = 5"),
        step(3, "-- Dearer.\nUPDATE products SET price = price * 2; CREATE INDEX by_price ON products (price)"),
    ];
    assert_eq!(shop.migrate(list.clone()).await, Ok(vec![2, 3]));
    assert_eq!(shop.migrate(list).await, Ok(vec![]));
    assert_eq!(shop.schema_version().await, Ok(3));
    assert_eq!(number(query(&shop, "SELECT price FROM products").await), 10);
    let gap = shop.migrate(vec![schema(), step(3, "")]).await;
    assert_eq!(gap, Err(MigrationError::Numbering { expected: 2, found: 3 }));
}

pub(crate) async fn a_failed_migration_rolls_back_its_whole_run(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    for broken in [
        "CREATE TABLE more (x INTEGER) STRICT; INSERT INTO products (name, stock) VALUES ('mug', 1)",
        "CREATE TABLE more (x INTEGER) STRICT; UPDATE nothing SET x = 1",
        "CREATE TABLE more (x INTEGER) STRICT; SELEC 1",
    ] {
        let list = vec![schema(), step(2, "UPDATE products SET stock = 7"), step(3, broken)];
        let failed = shop.migrate(list).await;
        assert!(matches!(failed, Err(MigrationError::Failed { version: 3, .. })), "{broken}: {failed:?}");
        assert!(failed.unwrap_err().to_string().contains("statement 2"), "{broken}");
        assert_eq!((shop.schema_version().await, stock(&shop).await), (Ok(1), 10));
        assert!(matches!(query(&shop, "SELECT x FROM more").await, Err(StorageError::Invalid(_))));
    }
}

pub(crate) async fn a_query_sees_a_changed_schema_at_once(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    let all = "SELECT * FROM lines";
    assert_eq!(query(&shop, all).await.unwrap().columns().len(), 3);
    let note = step(2, "ALTER TABLE lines ADD COLUMN note TEXT");
    shop.migrate(vec![schema(), note]).await.unwrap();
    assert_eq!(query(&shop, all).await.unwrap().columns().len(), 4);
    let transaction = shop.begin().await.unwrap();
    assert_eq!(ask(&*transaction, all).await.unwrap().columns().len(), 4);
}

pub(crate) async fn generated_ids_continue_after_those_of_a_migration(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    let transaction = shop.begin().await.unwrap();
    let insert = "INSERT INTO products (name, stock) VALUES ('jug', 1) RETURNING id";
    assert_eq!(number(ask(&*transaction, insert).await), 2);
    let line = "INSERT INTO lines (product, quantity) VALUES (1, 1) RETURNING id";
    assert_eq!(number(ask(&*transaction, line).await), 1);
    transaction.commit().await.unwrap();
}

pub(crate) async fn only_additions_are_additive(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    let check = async |sql: &str| shop.check_additive(vec![schema(), step(2, sql)]).await;
    for additive in [
        "CREATE TABLE more (x INTEGER) STRICT; INSERT INTO more (x) VALUES (1)",
        "ALTER TABLE products ADD COLUMN note TEXT",
        "CREATE INDEX by_stock ON products (stock)",
    ] {
        assert_eq!(check(additive).await, Ok(()), "{additive}");
    }
    for breaking in ["DROP TABLE lines", "DELETE FROM products", "ALTER TABLE products RENAME COLUMN stock TO units"] {
        let refused = check(breaking).await;
        assert!(matches!(refused, Err(NotAdditive::Breaks { version: 2, .. })), "{breaking}: {refused:?}");
    }
    let wrong = check("SELEC 1").await;
    assert!(matches!(wrong, Err(NotAdditive::Fails(MigrationError::Failed { version: 2, .. }))), "{wrong:?}");
    assert_eq!(shop.schema_version().await, Ok(1));
}

pub(crate) async fn a_rehearsal_leaves_no_trace(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    let rehearsal = Rehearsal::new(shop.clone());
    assert_eq!(rehearsal.execute(Statement::new(SELL_ONE, [])).await, Ok(1));
    let transaction = rehearsal.begin().await.unwrap();
    assert_eq!(run(&*transaction, SELL_ONE).await, Ok(1));
    assert_eq!(number(ask(&*transaction, "SELECT stock FROM products").await), 9);
    assert_eq!(transaction.commit().await, Ok(()));
    let taken = rehearsal.execute(Statement::new("INSERT INTO products (name, stock) VALUES ('mug', 1)", [])).await;
    assert_eq!(taken, Err(StorageError::Constraint(Constraint::Unique)));
    assert_eq!(stock(&shop).await, 10);
}
