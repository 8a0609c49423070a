//! Read sets, and which writes make them outdated.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::read_set::ReadSet;
use crate::rehearsal::Rehearsal;

/// Views, triggers and references of every kind, besides the tables of every shop.
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
        read_set.unwrap_or_else(|| panic!("no read set: {sql}"))
    }

    /// Whether the read set of `query` is still current after `write`.
    async fn survives(&self, query: &str, write: &str) -> bool {
        let read_set = self.read_set(query).await;
        assert!(read_set.is_current(), "{query}");
        self.execute(write, &[]).await.unwrap();
        read_set.is_current()
    }
}

#[tokio::test]
async fn a_read_set_is_current_until_one_of_its_tables_is_written() {
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
        // Twice: the second time, both statements come from the cache of compiled statements.
        for _ in 0..2 {
            assert!(!shop.survives(query, "UPDATE products SET name = name || 'x'").await, "{query}");
        }
    }
    assert!(shop.survives("SELECT 1", "UPDATE products SET stock = 9").await, "the query reads no table");
    assert!(
        !shop.survives("SELECT count(*) FROM some", "INSERT INTO numbers VALUES (1)").await,
        "a view without a column"
    );
}

#[tokio::test]
async fn writes_of_triggers_and_references_count() {
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
async fn a_transaction_outdates_read_sets_only_when_it_commits() {
    let shop = shop().await;
    let (products, numbers) = ("SELECT * FROM products", "SELECT * FROM numbers");
    let (held, untouched) = (shop.read_set(products).await, shop.read_set(numbers).await);
    let transaction = shop.begin().await;
    run(&*transaction, SELL_ONE).await.unwrap();
    run(&*transaction, "INSERT INTO absent VALUES (1)").await.unwrap_err();
    assert!(held.is_current(), "the transaction may still roll back");
    transaction.commit().await.unwrap();
    assert!(!held.is_current() && untouched.is_current());
}

#[tokio::test]
async fn rolled_back_changes_outdate_nothing() {
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
    assert!(rehearsed.is_current(), "a rehearsal changes nothing");
    // The writer runs its jobs in order, so it has finished the dropped transaction.
    shop.execute("INSERT INTO log VALUES ('other')", &[]).await.unwrap();
    assert!(held.is_current());
    assert_eq!(shop.stock().await, 10);
}

#[tokio::test]
async fn a_migration_outdates_everything_if_it_runs() {
    let shop = shop().await;
    let held = shop.read_set("SELECT 1").await;
    shop.storage.migrate(vec![schema(), more()]).await.unwrap();
    assert!(held.is_current());
    let third = Migration { version: 3, sql: "CREATE TABLE another (id INTEGER) STRICT".into() };
    shop.storage.migrate(vec![schema(), more(), third]).await.unwrap();
    assert!(!held.is_current());
}

#[tokio::test]
async fn a_changed_schema_changes_the_tables_of_a_statement() {
    let shop = shop().await;
    let query = "SELECT count(*) FROM stocked";
    shop.read_set(query).await;
    let sql = "DROP VIEW stocked; CREATE VIEW stocked AS SELECT n AS id FROM numbers".into();
    shop.storage.migrate(vec![schema(), more(), Migration { version: 3, sql }]).await.unwrap();
    assert!(shop.survives(query, SELL_ONE).await);
    assert!(!shop.survives(query, "INSERT INTO numbers VALUES (1)").await);
}

#[tokio::test]
async fn recompiling_for_a_parameter_keeps_the_tables() {
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
async fn other_tables_during_a_run_give_no_read_set() {
    let shop = shop().await;
    let query = "SELECT count(*) FROM stocked";
    shop.read_set(query).await;
    // A change by another connection. After a change by the host itself, all statements would be compiled again first.
    shop.outsider().execute_batch("DROP VIEW stocked; CREATE VIEW stocked AS SELECT n AS id FROM numbers").unwrap();
    assert!(shop.storage.read(Statement::new(query, [])).await.unwrap().1.is_none());
    assert!(shop.survives(query, SELL_ONE).await);
    assert!(!shop.survives(query, "INSERT INTO numbers VALUES (1)").await);
}

#[tokio::test]
async fn forgotten_tables_of_a_statement_are_found_again() {
    let shop = shop().await;
    for number in 0..300 {
        shop.read_set(&format!("SELECT {number}, stock FROM products")).await;
        assert!(!shop.survives("SELECT n FROM numbers", "INSERT INTO numbers VALUES (1)").await);
        shop.execute(&format!("UPDATE products SET stock = {number}"), &[]).await.unwrap();
    }
    assert!(!shop.survives("SELECT stock FROM products", SELL_ONE).await);
}

#[tokio::test]
async fn beyond_the_limit_tables_share_a_version() {
    let shop = shop().await;
    for number in 0..4_200 {
        shop.read_set(&format!("WITH made_up_{number} AS (SELECT n FROM numbers) SELECT 1 FROM made_up_{number}"))
            .await;
    }
    assert!(!shop.survives("SELECT * FROM boxes", "INSERT INTO boxes VALUES (9, NULL)").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn current_rows_are_never_older_than_an_acknowledged_write() {
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
    assert!(one + two > 0, "no read set was ever current");
}
