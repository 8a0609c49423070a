//! A service's SQL can only use the service's own rows.

use super::*;

/// Statements that no service may send, and what the refusal names.
const FORBIDDEN: &[(&str, &str)] = &[
    ("ATTACH 'file:x?mode=memory' AS x", "ATTACH"),
    ("ATTACH '/tmp/x.db' AS x", "ATTACH"),
    ("DETACH main", "DETACH"),
    ("VACUUM", "VACUUM"),
    ("VACUUM INTO 'stolen.db'", "VACUUM"),
    ("/* first */ -- a comment\n vacuum INTO 'stolen.db'", "VACUUM"),
    ("PRAGMA journal_mode = DELETE", "PRAGMA"),
    ("PRAGMA writable_schema = ON", "PRAGMA"),
    ("CREATE TABLE t (x)", "CREATE"),
    ("CREATE TEMP TABLE t (x)", "CREATE"),
    ("CREATE VIRTUAL TABLE t USING fts5 (x)", "CREATE"),
    ("CREATE TRIGGER t AFTER INSERT ON lines BEGIN SELECT 1; END", "CREATE"),
    ("DROP TABLE lines", "DROP"),
    ("DROP TABLE IF EXISTS nothing", "DROP"),
    ("ALTER TABLE lines ADD COLUMN x", "ALTER"),
    ("REINDEX", "REINDEX"),
    ("ANALYZE", "ANALYZE"),
    ("BEGIN", "BEGIN"),
    ("COMMIT", "COMMIT"),
    ("ROLLBACK", "ROLLBACK"),
    ("SAVEPOINT guest", "SAVEPOINT"),
    ("RELEASE guest", "RELEASE"),
    ("ROLLBACK TO guest", "ROLLBACK"),
    ("END", "END"),
    ("EXPLAIN SELECT 1", "EXPLAIN"),
    ("SELECT * FROM sqlite_master", "sqlite_master"),
    ("SELECT count(*) FROM sqlite_schema", "sqlite_schema"),
    ("SELECT * FROM SQLITE_SEQUENCE", "sqlite_sequence"),
    ("SELECT * FROM temp.sqlite_master", "sqlite_temp_master"),
    ("SELECT * FROM pragma_table_info('lines')", "pragma_table_info"),
    ("SELECT * FROM pragma_database_list", "pragma_database_list"),
    ("SELECT * FROM dbstat", "dbstat"),
    ("SELECT * FROM fts3tokenize('simple', 'a b')", "fts3tokenize"),
    ("INSERT INTO sqlite_sequence VALUES ('lines', 9)", "sqlite_sequence"),
    ("DELETE FROM sqlite_master", "sqlite_master"),
    ("UPDATE sqlite_schema SET sql = ''", "sqlite_master"),
    ("SELECT load_extension('x.so')", "load_extension"),
    ("SELECT fts3_tokenizer('simple')", "fts3_tokenizer"),
    ("SELECT random()", "random"),
    ("SELECT hex(randomblob(16))", "randomblob"),
    ("SELECT CURRENT_TIMESTAMP", "current_timestamp"),
    ("SELECT datetime('now')", "datetime"),
    ("SELECT unixepoch()", "unixepoch"),
    ("SELECT instr(name, 'u') FROM products", "instr"),
    ("SELECT rtrim(name, 'abc') FROM products", "rtrim"),
    ("SELECT replace(name, 'u', 'o') FROM products", "replace"),
    ("SELECT last_insert_rowid()", "last_insert_rowid"),
    ("SELECT sqlite_version()", "sqlite_version"),
    ("SELECT sqlite_rename_table(1, 2, 3, 4, 5, 6, 7)", "sqlite_rename_table"),
    ("INSERT INTO lines (product, quantity) SELECT 1, random()", "random"),
];

#[tokio::test]
async fn a_service_reaches_only_its_own_rows_and_creates_no_file() {
    let shop = Shop::new().await;
    shop.execute(SELL_ONE, &[]).await.unwrap();
    let files = shop.files();
    let here = std::env::current_dir().unwrap();
    for (sql, named) in FORBIDDEN {
        let alone = [shop.query(sql, &[]).await.map(drop), shop.execute(sql, &[]).await.map(drop)];
        let transaction = shop.begin().await;
        let inside = [ask(&*transaction, sql).await.map(drop), run(&*transaction, sql).await.map(drop)];
        for refusal in alone.into_iter().chain(inside) {
            match refusal {
                Err(StorageError::Denied(what)) => {
                    assert!(what.to_lowercase().contains(&named.to_lowercase()), "{sql}: {what}");
                }
                // SQLite knows this function only while it runs ALTER TABLE.
                Err(StorageError::Invalid(_)) if sql.contains("sqlite_rename") => {}
                Err(StorageError::Invalid(why)) if why.contains("may not be modified") => {}
                other => panic!("{sql}: {other:?}"),
            }
        }
        drop(transaction);
        assert_eq!(shop.stock().await, 9, "{sql}");
    }
    assert_eq!(shop.files(), files);
    assert!(!here.join("stolen.db").exists() && !here.join("x").exists());
}

#[tokio::test]
async fn a_bound_file_name_attaches_nothing() {
    let shop = Shop::new().await;
    let name = Value::Text(shop.folder.path().join("x.db").to_str().unwrap().into());
    assert!(matches!(shop.execute("ATTACH $1 AS x", &[name]).await, Err(StorageError::Denied(_))));
    assert!(!shop.folder.path().join("x.db").exists());
}

#[tokio::test]
async fn another_services_table_does_not_exist() {
    let shop = Shop::new().await;
    assert!(matches!(shop.query("SELECT password FROM users", &[]).await, Err(StorageError::Invalid(_))));
}

#[tokio::test]
async fn a_guest_cannot_run_the_hosts_prepared_statements() {
    let shop = Shop::new().await;
    // The writer has now run each of the host's statements.
    shop.execute(SELL_ONE, &[]).await.unwrap();
    drop(shop.begin().await);
    let transaction = shop.begin().await;
    for sql in ["COMMIT", "ROLLBACK", "RELEASE guest", "ROLLBACK TO guest", "BEGIN IMMEDIATE", "SAVEPOINT step"] {
        assert!(matches!(run(&*transaction, sql).await, Err(StorageError::Denied(_))), "{sql}");
    }
}

#[tokio::test]
async fn only_one_statement_at_a_time() {
    let shop = Shop::new().await;
    for sql in [
        "SELECT 1; SELECT 2",
        "SELECT 1; ATTACH 'x' AS x",
        "DELETE FROM lines; DROP TABLE lines",
        "SELECT 1\0; DROP TABLE lines",
    ] {
        let refusal = shop.query(sql, &[]).await.unwrap_err();
        assert!(matches!(refusal, StorageError::Invalid(_) | StorageError::Denied(_)), "{sql}: {refusal}");
    }
    assert_eq!(number(shop.query("SELECT 1; -- and a comment\n ;", &[]).await), 1);
    for sql in ["", " ", "-- nothing", "/* nothing", ";", "SELEC 1", "(SELECT 1)"] {
        assert!(matches!(shop.query(sql, &[]).await, Err(StorageError::Invalid(_))), "{sql}");
        assert!(matches!(shop.execute(sql, &[]).await, Err(StorageError::Invalid(_))), "{sql}");
    }
}

#[tokio::test]
async fn ordinary_sql_is_allowed() {
    let shop = Shop::new().await;
    for sql in [
        "SELECT count(*), sum(stock), group_concat(name, ',') FROM products",
        "SELECT name, row_number() OVER (ORDER BY id) FROM products",
        "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5) SELECT count(*) FROM c",
        "SELECT count(*) FROM (SELECT 1)",
        "SELECT name FROM products WHERE name LIKE 'm%' AND id IN (SELECT value FROM json_each('[1,2]'))",
        "SELECT json_object('id', id, 'name', name) ->> '$.name' FROM products",
        "SELECT coalesce(NULL, upper('a')), round(2.5), printf('%05d', 7), CASE WHEN 1 THEN 2 END",
        "SELECT p.name, l.quantity FROM products p LEFT JOIN lines l ON l.product = p.id ORDER BY 1 LIMIT 5",
        "SELECT rowid, * FROM products",
        "VALUES (1), (2)",
    ] {
        shop.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }
    let transaction = shop.begin().await;
    let upsert = "INSERT INTO products VALUES (1, 'cup', 3) ON CONFLICT (id) DO UPDATE SET stock = excluded.stock RETURNING stock";
    assert_eq!(number(ask(&*transaction, upsert).await), 3);
    assert_eq!(run(&*transaction, "REPLACE INTO products VALUES (2, 'jug', 1)").await, Ok(1));
    assert_eq!(run(&*transaction, "INSERT INTO lines (product, quantity) VALUES (1, 1), (2, 2)").await, Ok(2));
    assert_eq!(number(ask(&*transaction, "DELETE FROM lines WHERE product = 2 RETURNING id").await), 2);
    transaction.commit().await.unwrap();
    // AUTOINCREMENT still counts, although no service may write the table with the counter.
    shop.execute("DELETE FROM lines", &[]).await.unwrap();
    shop.execute("INSERT INTO lines (product, quantity) VALUES (1, 1)", &[]).await.unwrap();
    assert_eq!(number(shop.query("SELECT id FROM lines", &[]).await), 3);
}

#[tokio::test]
async fn the_policy_covers_triggers_and_views() {
    let shop = Shop::new().await;
    let sql = "CREATE TABLE log (text);
               CREATE TRIGGER sold AFTER UPDATE ON products BEGIN INSERT INTO log VALUES (new.name || new.stock); END;
               CREATE VIEW stocked AS SELECT name FROM products WHERE stock > 0;";
    shop.storage.migrate(vec![schema(), Migration { version: 2, sql: sql.into() }]).await.unwrap();
    shop.execute(SELL_ONE, &[]).await.unwrap();
    assert_eq!(shop.query("SELECT text FROM log", &[]).await.unwrap().values(), [Value::Text("mug9".into())]);
    assert_eq!(shop.count("stocked").await, 1);

    let sql = "CREATE VIEW tables AS SELECT name FROM sqlite_schema";
    shop.storage
        .migrate(vec![
            schema(),
            Migration { version: 2, sql: String::new() },
            Migration { version: 3, sql: sql.into() },
        ])
        .await
        .unwrap();
    assert!(matches!(shop.query("SELECT * FROM tables", &[]).await, Err(StorageError::Denied(_))));
}
