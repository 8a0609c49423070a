//! Migrations and the calls that wait for them.

use super::*;
use crate::{Constraint, MigrationError};

fn step(version: u32, sql: &str) -> Migration {
    Migration { version, sql: sql.into() }
}

#[tokio::test]
async fn each_migration_runs_once_and_in_order() {
    let shop = Shop::new().await;
    assert_eq!(shop.storage.schema_version().await, Ok(1));
    let list = vec![
        schema(),
        step(2, "ALTER TABLE numbers ADD COLUMN m INTEGER NOT NULL DEFAULT 3 CHECK (m > 0); -- the last\n"),
        step(3, "INSERT INTO numbers (n) VALUES ('a;b'); CREATE INDEX by_m ON numbers (m);"),
    ];
    assert_eq!(shop.storage.migrate(list.clone()).await, Ok(vec![2, 3]));
    assert_eq!(shop.storage.migrate(list).await, Ok(vec![]));
    assert_eq!(shop.storage.schema_version().await, Ok(3));
    assert_eq!(
        shop.query("SELECT n, m FROM numbers", &[]).await.unwrap().values(),
        [Value::Text("a;b".into()), Value::Integer(3)]
    );
}

#[tokio::test]
async fn a_failed_run_changes_nothing_and_names_the_statement() {
    let shop = Shop::new().await;
    let list = vec![
        schema(),
        step(2, "CREATE TABLE more (x)"),
        step(3, "INSERT INTO more VALUES (1); INSERT INTO products VALUES (1, 'cup', 1)"),
    ];
    let error = shop.storage.migrate(list).await.unwrap_err();
    let MigrationError::Failed { version: 3, statement, cause } = &error else { panic!("{error}") };
    assert_eq!(statement, "2 (INSERT INTO products VALUES (1, 'cup', 1))");
    assert_eq!(*cause, StorageError::Constraint(Constraint::Unique));
    assert_eq!(shop.storage.schema_version().await, Ok(1));
    assert!(matches!(shop.query("SELECT * FROM more", &[]).await, Err(StorageError::Invalid(_))));
    assert_eq!(shop.execute(SELL_ONE, &[]).await, Ok(1));
}

#[tokio::test]
async fn versions_count_from_one_without_gaps() {
    let shop = Shop::new().await;
    for list in [vec![step(2, "")], vec![schema(), step(3, "")], vec![schema(), schema()], vec![step(0, "")]] {
        let error = shop.storage.migrate(list).await.unwrap_err();
        assert!(matches!(error, MigrationError::Numbering { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_newer_schema_is_left_alone() {
    let shop = Shop::new().await;
    shop.storage.migrate(vec![schema(), step(2, "CREATE TABLE more (x)")]).await.unwrap();
    assert_eq!(shop.storage.migrate(vec![schema()]).await, Ok(vec![]));
    assert_eq!(shop.storage.schema_version().await, Ok(2));
}

#[tokio::test]
async fn a_migration_may_only_change_rows_and_schema() {
    let shop = Shop::new().await;
    let files = shop.files();
    for sql in [
        "ATTACH 'x.db' AS x",
        "DETACH main",
        "PRAGMA user_version = 9",
        "PRAGMA journal_mode = DELETE",
        "VACUUM INTO 'x.db'",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT s",
        "CREATE TEMP TABLE t (x)",
        "CREATE VIRTUAL TABLE t USING fts5 (x)",
        "CREATE TABLE t (x CHECK (x > random()))",
        "INSERT INTO numbers SELECT load_extension('x')",
        "UPDATE sqlite_schema SET sql = 'x'",
        "DELETE FROM sqlite_master",
        "INSERT INTO numbers SELECT name FROM pragma_database_list",
        "SELECT 1; CREATE TABL t (x)",
        "INSERT INTO lines (product, quantity) VALUES (9, 1)",
    ] {
        let error = shop.storage.migrate(vec![schema(), step(2, sql)]).await.unwrap_err();
        assert!(matches!(error, MigrationError::Failed { version: 2, .. }), "{sql}: {error}");
        assert_eq!(shop.storage.schema_version().await, Ok(1), "{sql}");
    }
    assert_eq!(shop.files(), files);
}

#[tokio::test]
async fn all_common_schema_changes_work() {
    let shop = Shop::new().await;
    shop.execute("INSERT INTO lines (product, quantity) VALUES (1, 4)", &[]).await.unwrap();
    let changes = "
        ALTER TABLE lines RENAME COLUMN quantity TO amount;
        ALTER TABLE lines RENAME TO order_lines;
        ALTER TABLE numbers ADD COLUMN gone INTEGER;
        ALTER TABLE numbers DROP COLUMN gone;
        ALTER TABLE numbers ADD COLUMN limited INTEGER DEFAULT 1 CHECK (limited > 0);
        ALTER TABLE order_lines ADD COLUMN note TEXT REFERENCES products (name);
        CREATE UNIQUE INDEX one ON order_lines (product, amount);
        DROP INDEX one;
        CREATE TABLE made AS SELECT * FROM products;
        DROP TABLE made;
        CREATE VIEW v AS SELECT 1 AS x; DROP VIEW v;
        CREATE TRIGGER t BEFORE DELETE ON products BEGIN SELECT RAISE(ABORT, 'kept'); END;
        REINDEX; ANALYZE;
        -- Rebuilding a table keeps what refers to it.
        CREATE TABLE products_new (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, stock INTEGER NOT NULL) STRICT;
        INSERT INTO products_new SELECT id, name, stock FROM products;
        DROP TABLE products;
        ALTER TABLE products_new RENAME TO products;";
    shop.storage.migrate(vec![schema(), step(2, changes)]).await.unwrap();
    assert_eq!(shop.count("order_lines").await, 1);
    let orphan = shop.execute("INSERT INTO order_lines (product, amount) VALUES (9, 1)", &[]).await;
    assert_eq!(orphan, Err(StorageError::Constraint(Constraint::ForeignKey)));
}

#[tokio::test]
async fn a_migration_waits_for_its_turn() {
    let shop =
        Shop::open(SqliteConfig { longest_wait: LONG, transaction_lease: LONG, ..SqliteConfig::default() }).await;
    let transaction = shop.begin().await;
    run(&*transaction, SELL_ONE).await.unwrap();
    let mut migration = shop.storage.migrate(vec![schema(), step(2, "UPDATE products SET stock = stock * 2")]);
    assert!(waits(&mut migration));
    transaction.commit().await.unwrap();
    assert_eq!(migration.await, Ok(vec![2]));
    assert_eq!(shop.stock().await, 18);
}

#[tokio::test]
async fn a_write_waits_longer_for_a_migration() {
    let (longest_wait, waiting_for_migrations) = (Duration::from_millis(500), 1);
    let shop = Shop::open(SqliteConfig { longest_wait, waiting_for_migrations, ..SqliteConfig::default() }).await;
    let outsider = shop.outsider();
    // The migration cannot end while this connection holds the lock.
    outsider.execute_batch("BEGIN IMMEDIATE").unwrap();
    let list = vec![schema(), step(2, "ALTER TABLE numbers ADD COLUMN m INTEGER")];
    let migrated = shop.storage.migrate(list);
    let patient = shop.execute(SELL_ONE, &[]);
    let impatient = async {
        // `patient` holds the only permit to wait longer. This write is refused after `longest_wait`, so `patient` has
        // waited at least as long.
        let refused = shop.execute(SELL_ONE, &[]).await;
        outsider.execute_batch("COMMIT").unwrap();
        refused
    };
    let (migrated, patient, impatient) = futures::future::join3(migrated, patient, impatient).await;
    assert_eq!((migrated, patient, impatient), (Ok(vec![2]), Ok(1), Err(StorageError::Busy)));
    let waits = shop.storage.migration_waits();
    assert_eq!(waits.writes, 2);
    assert!(waits.longest >= longest_wait, "{waits:?}");
    assert_eq!(shop.stock().await, 9);
}

#[tokio::test]
async fn a_write_does_not_wait_forever_for_a_migration() {
    let (longest_wait, migration_wait) = (Duration::from_millis(1), Duration::from_millis(2));
    let shop = Shop::open(SqliteConfig { longest_wait, migration_wait, ..SqliteConfig::default() }).await;
    let outsider = shop.outsider();
    outsider.execute_batch("BEGIN IMMEDIATE").unwrap();
    let migrated = shop.storage.migrate(vec![schema(), step(2, "ALTER TABLE numbers ADD COLUMN m INTEGER")]);
    let written = async {
        let written = shop.execute(SELL_ONE, &[]).await;
        outsider.execute_batch("COMMIT").unwrap();
        written
    };
    let (migrated, written) = futures::future::join(migrated, written).await;
    // On a slow machine the writer may not have started the migration in time.
    assert!(matches!(migrated, Ok(_) | Err(MigrationError::Storage(StorageError::Busy))), "{migrated:?}");
    assert_eq!(written, Err(StorageError::Busy));
    assert_eq!(shop.stock().await, 10);
}
