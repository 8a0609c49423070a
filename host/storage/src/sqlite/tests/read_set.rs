//! What rows rest on, and which writes end that.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::read_set::ReadSet;
use crate::rehearsal::Rehearsal;

/// Views, triggers and references of every kind, on top of the tables that every shop has.
const MORE: &str = "
    CREATE VIEW stocked AS SELECT id, name FROM products WHERE stock > 0;
    CREATE VIEW some AS SELECT 1 FROM numbers;
    CREATE TABLE log (entry TEXT) STRICT;
    CREATE TRIGGER sold AFTER UPDATE OF stock ON products BEGIN INSERT INTO log VALUES ('sold'); END;
    CREATE TABLE shelves (id INTEGER PRIMARY KEY) STRICT;
    CREATE TABLE boxes (id INTEGER PRIMARY KEY, shelf INTEGER REFERENCES shelves (id) ON DELETE CASCADE) STRICT;
    CREATE TABLE labels (text TEXT PRIMARY KEY, box INTEGER REFERENCES boxes (id) ON DELETE SET NULL) STRICT, WITHOUT ROWID;
    INSERT INTO shelves VALUES (1), (2);
    INSERT INTO boxes VALUES (1, 1), (2, 2);
    INSERT INTO labels VALUES ('a', 1), ('b', 2);";

fn more() -> Migration {
    Migration { version: 2, sql: MORE.into() }
}

async fn shop() -> Shop {
    let shop = Shop::new().await;
    shop.storage.migrate(vec![schema(), more()]).await.unwrap();
    shop
}

impl Shop {
    async fn read_set(&self, sql: &str) -> ReadSet {
        let (_, read_set) = self.storage.read(Statement::new(sql, [])).await.unwrap();
        read_set.unwrap_or_else(|| panic!("no read_set: {sql}"))
    }

    /// Whether rows of the first statement still hold after the second ran.
    async fn survives(&self, query: &str, write: &str) -> bool {
        let read_set = self.read_set(query).await;
        assert!(read_set.is_current(), "{query}");
        self.execute(write, &[]).await.unwrap();
        read_set.is_current()
    }
}

#[tokio::test]
async fn rows_hold_until_a_table_that_they_came_from_is_written() {
    let shop = shop().await;
    for query in [
        "SELECT stock FROM products WHERE id = 1",
        "SELECT count(*) FROM products",
        "SELECT 1 FROM PRODUCTS",
        "SELECT count(*) FROM stocked",
        "SELECT 1 WHERE EXISTS (SELECT * FROM \"Products\")",
        "SELECT n, (SELECT name FROM products WHERE id = n) FROM numbers",
        "WITH p AS (SELECT * FROM products) SELECT 1 FROM p",
        "SELECT lines.* FROM lines LEFT JOIN products AS p",
        "SELECT 1 FROM lines WHERE product IN (SELECT id FROM products)",
        "SELECT id FROM lines UNION ALL SELECT 2 FROM products",
        "SELECT max(stock) OVER () FROM products WHERE name LIKE 'm%'",
    ] {
        assert!(shop.survives(query, "INSERT INTO log VALUES ('other')").await, "{query}");
        // A second time, since both statements are compiled by then.
        for _ in 0..2 {
            assert!(!shop.survives(query, "UPDATE products SET name = name || 'x'").await, "{query}");
        }
    }
    assert!(shop.survives("SELECT 1", "UPDATE products SET stock = 9").await, "no table at all");
    assert!(
        !shop.survives("SELECT count(*) FROM some", "INSERT INTO numbers VALUES (1)").await,
        "a view without a column"
    );
}

#[tokio::test]
async fn what_triggers_and_references_write_counts_too() {
    let shop = shop().await;
    for (table, write) in [
        ("log", SELL_ONE),
        ("boxes", "DELETE FROM shelves WHERE id = 1"),
        ("labels", "DELETE FROM shelves WHERE id = 2"),
        ("shelves", "INSERT INTO shelves VALUES (3) ON CONFLICT DO NOTHING"),
        ("boxes", "REPLACE INTO shelves VALUES (3)"),
        ("labels", "REPLACE INTO shelves VALUES (3)"),
        ("labels", "INSERT OR REPLACE INTO labels VALUES ('c', NULL)"),
        ("labels", "DELETE FROM labels"),
        ("numbers", "WITH n (n) AS (VALUES (1)) INSERT INTO numbers SELECT n FROM n"),
    ] {
        assert!(!shop.survives(&format!("SELECT count(*) FROM {table}"), write).await, "{write} changes {table}");
    }
    let read_set = shop.read_set("SELECT count(*) FROM lines").await;
    assert!(read_set.is_current());
}

#[tokio::test]
async fn a_transaction_ends_what_rests_on_its_tables_when_it_is_committed_and_not_before() {
    let shop = shop().await;
    let (products, numbers) = ("SELECT * FROM products", "SELECT * FROM numbers");
    let (held, untouched) = (shop.read_set(products).await, shop.read_set(numbers).await);
    let transaction = shop.begin().await;
    run(&*transaction, SELL_ONE).await.unwrap();
    run(&*transaction, "INSERT INTO absent VALUES (1)").await.unwrap_err();
    assert!(held.is_current(), "it may still be undone");
    transaction.commit().await.unwrap();
    assert!(!held.is_current() && untouched.is_current());
}

#[tokio::test]
async fn what_is_undone_ends_nothing() {
    let shop = shop().await;
    let held = shop.read_set("SELECT * FROM products").await;
    let transaction = shop.begin().await;
    run(&*transaction, SELL_ONE).await.unwrap();
    drop(transaction);
    shop.execute("UPDATE products SET stock = -1", &[]).await.unwrap_err();
    let rehearsal =
        Rehearsal::new(std::sync::Arc::new(SqliteStorage::open(shop.file(), SqliteConfig::default()).unwrap()));
    let rehearsed = rehearsal.read(Statement::new("SELECT * FROM products", [])).await.unwrap().1.unwrap();
    rehearsal.execute(Statement::new(SELL_ONE, [])).await.unwrap();
    let transaction = rehearsal.begin().await.unwrap();
    run(&*transaction, SELL_ONE).await.unwrap();
    transaction.commit().await.unwrap();
    assert!(rehearsed.is_current(), "a rehearsal leaves no trace");
    // The writer takes its jobs in order: this one is done with the dropped transaction.
    shop.execute("INSERT INTO log VALUES ('other')", &[]).await.unwrap();
    assert!(held.is_current());
    assert_eq!(shop.stock().await, 10);
}

#[tokio::test]
async fn a_migration_ends_everything_and_one_that_has_nothing_to_do_ends_nothing() {
    let shop = shop().await;
    let held = shop.read_set("SELECT 1").await;
    shop.storage.migrate(vec![schema(), more()]).await.unwrap();
    assert!(held.is_current());
    let third = Migration { version: 3, sql: "CREATE TABLE another (id INTEGER) STRICT".into() };
    shop.storage.migrate(vec![schema(), more(), third]).await.unwrap();
    assert!(!held.is_current());
}

#[tokio::test]
async fn a_statement_that_means_another_table_since_the_schema_changed_rests_on_that_one() {
    let shop = shop().await;
    let query = "SELECT count(*) FROM stocked";
    shop.read_set(query).await;
    let sql = "DROP VIEW stocked; CREATE VIEW stocked AS SELECT n AS id FROM numbers".into();
    shop.storage.migrate(vec![schema(), more(), Migration { version: 3, sql }]).await.unwrap();
    assert!(shop.survives(query, SELL_ONE).await);
    assert!(!shop.survives(query, "INSERT INTO numbers VALUES (1)").await);
}

#[tokio::test]
async fn a_statement_that_is_compiled_again_for_each_parameter_keeps_its_tables() {
    let shop = shop().await;
    let read = async |pattern: &str| {
        let params = [Value::Text(pattern.into()), Value::Integer(1)];
        let sql = "SELECT stock FROM products WHERE name LIKE $1 AND stock > $2";
        shop.storage.read(Statement::new(sql, params)).await.unwrap().1.unwrap()
    };
    for pattern in ["m%", "%g", "m%"] {
        let read_set = read(pattern).await;
        shop.execute("INSERT INTO log VALUES ('other')", &[]).await.unwrap();
        assert!(read_set.is_current(), "{pattern}");
        shop.execute(SELL_ONE, &[]).await.unwrap();
        assert!(!read_set.is_current(), "{pattern}");
    }
}

#[tokio::test]
async fn rows_of_a_statement_that_turned_out_to_mean_other_tables_have_no_basis() {
    let shop = shop().await;
    let query = "SELECT count(*) FROM stocked";
    shop.read_set(query).await;
    // Behind the back of the host, which would otherwise have all statements compiled again beforehand.
    shop.outsider().execute_batch("DROP VIEW stocked; CREATE VIEW stocked AS SELECT n AS id FROM numbers").unwrap();
    assert!(shop.storage.read(Statement::new(query, [])).await.unwrap().1.is_none());
    assert!(shop.survives(query, SELL_ONE).await);
    assert!(!shop.survives(query, "INSERT INTO numbers VALUES (1)").await);
}

#[tokio::test]
async fn the_tables_of_a_statement_are_found_again_when_they_were_forgotten() {
    let shop = shop().await;
    for number in 0..300 {
        shop.read_set(&format!("SELECT {number}, stock FROM products")).await;
        assert!(!shop.survives("SELECT n FROM numbers", "INSERT INTO numbers VALUES (1)").await);
        shop.execute(&format!("UPDATE products SET stock = {number}"), &[]).await.unwrap();
    }
    assert!(!shop.survives("SELECT stock FROM products", SELL_ONE).await);
}

#[tokio::test]
async fn names_without_end_share_a_version_and_still_end() {
    let shop = shop().await;
    for number in 0..4_200 {
        shop.read_set(&format!("WITH made_up_{number} AS (SELECT n FROM numbers) SELECT 1 FROM made_up_{number}"))
            .await;
    }
    assert!(!shop.survives("SELECT * FROM boxes", "INSERT INTO boxes VALUES (9, NULL)").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_whose_basis_holds_are_never_older_than_an_acknowledged_write() {
    const WRITES: i64 = 300;
    let shop = shop().await;
    let shop = &shop;
    let acknowledged = &AtomicI64::new(0);
    shop.execute("INSERT INTO numbers VALUES (0)", &[]).await.unwrap();
    let write = async {
        for number in 1..=WRITES {
            shop.execute("UPDATE numbers SET n = $1", &[Value::Integer(number)]).await.unwrap();
            acknowledged.store(number, Ordering::SeqCst);
        }
    };
    let read = || async {
        let mut held = 0;
        while acknowledged.load(Ordering::SeqCst) < WRITES {
            let (rows, read_set) = shop.storage.read(Statement::new("SELECT n FROM numbers", [])).await.unwrap();
            let Some(read_set) = read_set else { continue };
            for _ in 0..10 {
                let at_least = acknowledged.load(Ordering::SeqCst);
                if read_set.is_current() {
                    held += 1;
                    assert!(number(Ok(rows.clone())) >= at_least, "{rows:?} after {at_least} was acknowledged");
                }
                tokio::task::yield_now().await;
            }
        }
        held
    };
    let ((), one, two) = tokio::join!(write, read(), read());
    assert!(one + two > 0, "nothing ever held");
}
