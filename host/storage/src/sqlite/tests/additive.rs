//! Which migrations may run while the previous revision serves.

use super::*;
use crate::{MigrationError, NotAdditive};

/// What the old revision knows, besides the tables of every shop.
const OLD: &str = "
    CREATE TABLE notes (id INTEGER PRIMARY KEY, product INTEGER, text TEXT, size INTEGER, UNIQUE (product, text));
    CREATE INDEX notes_by_size ON notes (size);
    CREATE UNIQUE INDEX one_size ON notes (product, size);
    CREATE TABLE log (what TEXT);
    CREATE VIEW large AS SELECT * FROM notes WHERE size > 9;
    CREATE TRIGGER logged AFTER INSERT ON notes BEGIN INSERT INTO log VALUES (new.text); END;";

/// Migrations that the old revision does not notice.
const ADDITIVE: &[&str] = &[
    "",
    "-- nothing yet",
    "SELECT count(*) FROM notes",
    "CREATE TABLE more (x INTEGER PRIMARY KEY, y TEXT NOT NULL UNIQUE CHECK (y <> '')) STRICT",
    "CREATE TABLE IF NOT EXISTS notes (x); CREATE TABLE made AS SELECT * FROM notes",
    "CREATE TABLE more (product INTEGER REFERENCES products (id) ON DELETE CASCADE)",
    "CREATE INDEX by_text ON notes (text COLLATE NOCASE) WHERE size > 1",
    "CREATE INDEX by_length ON notes (length(text))",
    "DROP INDEX notes_by_size",
    "ALTER TABLE notes ADD COLUMN colour TEXT; -- of the paper; not the ink",
    "ALTER TABLE notes ADD COLUMN colour TEXT DEFAULT 'é' COLLATE NOCASE CONSTRAINT short CHECK (length(colour) < 9)",
    "ALTER TABLE notes ADD COLUMN colour TEXT NOT NULL DEFAULT 'red, or (blue)'; ALTER TABLE notes ADD weight REAL",
    "ALTER TABLE numbers ADD COLUMN m INTEGER NOT NULL DEFAULT 3 CHECK (m > 0 AND numbers.m IN (1, 2, 3))",
    "ALTER TABLE notes ADD COLUMN \"select, \"\"it\"\"\" TEXT /* here */ CHECK (\"select, \"\"it\"\"\" <> '');",
    "CREATE TABLE colours (id INTEGER PRIMARY KEY); ALTER TABLE notes ADD COLUMN colour INTEGER REFERENCES colours (id)",
    "ALTER TABLE notes ADD COLUMN key TEXT; CREATE UNIQUE INDEX by_key ON notes (key)",
    "ALTER TABLE notes ADD COLUMN colour TEXT; UPDATE notes SET colour = text WHERE size > 1; UPDATE NOTES SET COLOUR = 'b'",
    "ALTER TABLE notes ADD COLUMN a; ALTER TABLE notes RENAME COLUMN a TO b; ALTER TABLE notes DROP COLUMN b",
    "INSERT INTO products (id, name, stock) VALUES (9, 'or REPLACE it', 1) ON CONFLICT DO NOTHING -- REPLACE",
    "WITH s (i, n) AS (SELECT 7, 'tea') INSERT INTO products SELECT i, n, 1 FROM s",
    "INSERT OR IGNORE INTO notes (text) VALUES ('x')",
    "CREATE TABLE more (x UNIQUE, y); CREATE UNIQUE INDEX m ON more (y); REPLACE INTO more SELECT 1, size FROM notes;
     UPDATE more SET x = 2; DELETE FROM more; ALTER TABLE more RENAME TO most; DROP TABLE most",
    "CREATE TABLE more (x); CREATE TRIGGER kept BEFORE DELETE ON more BEGIN SELECT RAISE (ABORT, 'kept'); END",
    "CREATE VIEW small AS SELECT * FROM notes WHERE size < 3; DROP VIEW small; ANALYZE; REINDEX",
];

/// Statements that would break the old revision, and a part of the reason.
///
/// Each runs after a harmless statement.
const DESTRUCTIVE: &[(&str, &str)] = &[
    ("DROP TABLE log", "drops the table `log`"),
    ("ALTER TABLE log RENAME TO journal", "renames the table `log`, which the running revision may use, to `journal`"),
    ("ALTER TABLE log ADD COLUMN x; ALTER TABLE log RENAME COLUMN what TO w", "renames the column `what` of `log`"),
    ("ALTER TABLE numbers ADD COLUMN x ANY; ALTER TABLE numbers DROP COLUMN n", "drops the column `n` of `numbers`"),
    ("ALTER TABLE lines RENAME quantity TO amount", "renames the column `quantity`"),
    ("DROP INDEX one_size", "drops the unique index `one_size` of `notes`"),
    ("DROP VIEW large", "drops or changes the view `large`"),
    ("DROP TRIGGER logged", "drops or changes the trigger `logged`"),
    ("DROP VIEW large; CREATE VIEW large AS SELECT 1", "drops or changes the view `large`"),
    ("ALTER TABLE notes ADD COLUMN colour TEXT NOT NULL", "NOT NULL and has no default"),
    ("ALTER TABLE notes ADD COLUMN colour TEXT NOT NULL DEFAULT NULL", "NOT NULL and has no default"),
    ("ALTER TABLE notes ADD COLUMN c INTEGER DEFAULT 0 CHECK (c > 0)", "a rule that its default does not meet"),
    ("ALTER TABLE notes ADD COLUMN c INTEGER CHECK (c IS NOT NULL)", "a rule that its default does not meet"),
    ("ALTER TABLE notes ADD COLUMN c INTEGER DEFAULT 0 CHECK (c < size)", "that looks at other columns"),
    ("ALTER TABLE numbers ADD COLUMN c INTEGER DEFAULT 'x'", "a rule that its default does not meet"),
    ("ALTER TABLE numbers ADD COLUMN c INTEGER; ALTER TABLE numbers ALTER c SET NOT NULL", "changes the rules"),
    ("ALTER TABLE notes ADD COLUMN c AS (size + 1)", "whose expression may fail"),
    ("ALTER TABLE notes ADD COLUMN p INTEGER REFERENCES products (id)", "with a reference to `products`"),
    (
        "CREATE TABLE more (x PRIMARY KEY); ALTER TABLE notes ADD COLUMN p DEFAULT 1 REFERENCES more (x)",
        "a default other",
    ),
    ("ALTER TABLE notes ADD CHECK (size > 0)", "changes the rules of the table `notes`"),
    ("ALTER TABLE notes ADD CONSTRAINT positive CHECK (size > 0)", "changes the rules of the table `notes`"),
    ("ALTER TABLE notes ALTER COLUMN size SET NOT NULL", "forbids NULL in the column `size` of `notes`"),
    ("ALTER TABLE products ALTER COLUMN stock DROP NOT NULL", "allows NULL in the column `stock` of `products`"),
    ("CREATE UNIQUE INDEX by_text ON notes (text)", "adds the unique index `by_text` to the table `notes`"),
    ("ALTER TABLE log ADD k; CREATE UNIQUE INDEX i ON log (k, what)", "adds the unique index"),
    ("ALTER TABLE log ADD k DEFAULT 1; CREATE UNIQUE INDEX i ON log (k)", "adds the unique index"),
    ("ALTER TABLE log ADD k; CREATE UNIQUE INDEX i ON log (lower(k))", "adds the unique index"),
    ("CREATE TRIGGER no BEFORE INSERT ON log BEGIN SELECT RAISE (ABORT, 'no'); END", "adds the trigger `no` to `log`"),
    ("CREATE TRIGGER t INSTEAD OF DELETE ON large BEGIN SELECT 1; END", "adds the trigger `t` to `large`"),
    ("DELETE FROM log", "deletes rows of the table `log`"),
    ("WITH n AS (SELECT 1) DELETE FROM Notes WHERE id IN n", "deletes rows of the table `notes`"),
    ("DELETE FROM sqlite_sequence", "deletes rows of the table `sqlite_sequence`"),
    ("UPDATE notes SET size = 1", "changes the column `size` in rows of `notes`"),
    ("UPDATE notes SET rowid = 1", "in rows of `notes`"),
    ("ALTER TABLE notes ADD c; UPDATE notes SET (c, size) = (1, 2)", "changes the column `size`"),
    ("INSERT INTO products VALUES (1, 'x', 1) ON CONFLICT DO UPDATE SET stock = 0", "changes the column `stock`"),
    ("REPLACE INTO products VALUES (1, 'x', 1)", "may replace rows of the table `products`"),
    ("/* a */ INSERT or\nreplace INTO products VALUES (1, 'x', 1)", "may replace rows of the table `products`"),
    (
        "CREATE TABLE more (x); CREATE TRIGGER t AFTER INSERT ON more BEGIN DELETE FROM log; END; INSERT INTO more VALUES (1)",
        "deletes rows of the table `log`",
    ),
    (
        "CREATE TABLE n (n ANY); INSERT INTO n SELECT * FROM numbers; DROP TABLE numbers; ALTER TABLE n RENAME TO numbers",
        "drops the table `numbers`",
    ),
];

/// Migrations that are wrong for any rows.
const WRONG: &[&str] = &[
    "CREATE TABL more (x)",
    "SELECT 1; INSERT INTO nowhere VALUES (1)",
    "CREATE TABLE log (x)",
    "UPDATE notes SET colour = 'red'",
    "ALTER TABLE notes ADD COLUMN id INTEGER",
    "ALTER TABLE notes DROP COLUMN id",
    "CREATE TABLE more (p INTEGER REFERENCES products (stock))",
    "CREATE TABLE more AS WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT 1 FROM c) SELECT n FROM c WHERE n < 0",
    "PRAGMA user_version = 9",
    "ATTACH 'x.db' AS x",
    "COMMIT",
    "CREATE TEMP TABLE t (x)",
    "INSERT INTO log SELECT load_extension('x')",
];

fn step(version: u32, sql: &str) -> Migration {
    Migration { version, sql: sql.into() }
}

async fn shop() -> Shop {
    let config = SqliteConfig { migration_deadline: Duration::from_millis(500), ..SqliteConfig::default() };
    let shop = Shop::open(config).await;
    shop.storage.migrate(vec![schema(), step(2, OLD)]).await.unwrap();
    shop
}

async fn check(shop: &Shop, sql: &str) -> Result<(), NotAdditive> {
    let list = vec![schema(), step(2, OLD), step(3, "CREATE TABLE IF NOT EXISTS first (x)"), step(4, sql)];
    shop.storage.check_additive(list).await
}

#[tokio::test]
async fn what_only_adds_passes() {
    let shop = shop().await;
    for sql in ADDITIVE {
        assert_eq!(check(&shop, sql).await, Ok(()), "{sql}");
    }
}

#[tokio::test]
async fn changes_that_break_the_running_revision_are_refused() {
    let shop = shop().await;
    for (sql, expected) in DESTRUCTIVE {
        match check(&shop, sql).await {
            Err(NotAdditive::Breaks { version: 4, reason, .. }) if reason.contains(expected) => {}
            other => panic!("{sql}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn a_wrong_migration_is_reported_as_failed() {
    let shop = shop().await;
    for sql in WRONG {
        match check(&shop, sql).await {
            Err(NotAdditive::Fails(MigrationError::Failed { version: 4, .. })) => {}
            other => panic!("{sql}: {other:?}"),
        }
    }
    let numbering = shop.storage.check_additive(vec![schema(), step(3, "")]).await;
    assert!(matches!(numbering, Err(NotAdditive::Fails(MigrationError::Numbering { .. }))), "{numbering:?}");
}

#[tokio::test]
async fn a_refusal_is_a_whole_sentence() {
    let shop = shop().await;
    let refusal = check(&shop, "-- tidy\nALTER TABLE log\n  ADD x; ALTER TABLE log DROP what; DROP TABLE log").await;
    assert_eq!(
        refusal.unwrap_err().to_string(),
        "migration 4 is not additive: `ALTER TABLE log DROP what` drops the column `what` of `log`, \
         which the running revision may use"
    );
}

#[tokio::test]
async fn earlier_migrations_are_not_checked_again() {
    let shop = shop().await;
    let list = vec![schema(), step(2, "DROP TABLE products")];
    assert_eq!(shop.storage.check_additive(list.clone()).await, Ok(()));
    assert_eq!(shop.storage.check_additive(vec![]).await, Ok(()));
    let fresh = SqliteStorage::open(shop.folder.path().join("fresh.db"), SqliteConfig::default()).unwrap();
    assert_eq!(fresh.check_additive(vec![schema(), step(2, OLD), step(3, "DELETE FROM log")]).await, Ok(()));
}

#[tokio::test]
async fn a_check_changes_nothing_and_waits_for_no_writer() {
    let shop = shop().await;
    let dump = || -> Vec<String> {
        let sql = "SELECT name || coalesce(sql, '') FROM sqlite_schema UNION ALL SELECT name FROM products";
        let outsider = shop.outsider();
        let mut statement = outsider.prepare(sql).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    let (before, files) = (dump(), shop.files());
    let transaction = shop.begin().await;
    run(&*transaction, SELL_ONE).await.unwrap();
    check(&shop, "CREATE TABLE more (x); INSERT INTO products VALUES (2, 'cup', 1)").await.unwrap();
    check(&shop, "DELETE FROM products; DROP TABLE products").await.unwrap_err();
    transaction.commit().await.unwrap();
    assert_eq!((dump(), shop.files()), (before, files));
    assert_eq!(shop.storage.schema_version().await, Ok(2));
    assert_eq!(shop.stock().await, 9);
}

#[tokio::test]
async fn what_passes_runs() {
    for sql in ADDITIVE {
        let shop = shop().await;
        shop.execute("INSERT INTO notes (text, size) VALUES ('x', 3)", &[]).await.unwrap();
        let ran = shop.storage.migrate(vec![schema(), step(2, OLD), step(3, sql)]).await;
        assert_eq!(ran, Ok(vec![3]), "{sql}");
        shop.execute("INSERT INTO notes (text, size) VALUES ('y', 4)", &[]).await.unwrap();
        shop.execute("INSERT INTO numbers (n) VALUES (1)", &[]).await.unwrap();
        assert_eq!(shop.count("large").await, 0, "{sql}");
    }
}
