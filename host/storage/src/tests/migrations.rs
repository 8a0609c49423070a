//! The part of the contract about migrations and rehearsals.

use super::shop::{Bounds, Opened, SELL_ONE, ask, number, query, run, schema, shop, step, stock};
use crate::rehearsal::Rehearsal;
use crate::{Cell, Constraint, MigrationError, NotAdditive, Statement, Storage, StorageError};

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

pub(crate) async fn tables_are_listed_with_their_columns_and_keys(open: impl AsyncFn(Bounds) -> Opened) {
    let shop = shop(open, Bounds::default()).await;
    let odd = "CREATE TABLE odd (b TEXT NOT NULL, \"a b\" BLOB, c REAL, d INTEGER NOT NULL, PRIMARY KEY (d, b)) STRICT;
        INSERT INTO odd (b, \"a b\", c, d) VALUES ('text', x'0001', 1.5, 7)";
    shop.migrate(vec![schema(), step(2, odd)]).await.unwrap();
    let tables = shop.tables().await.unwrap();
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["lines", "numbers", "odd", "products"]);
    let columns: Vec<(&str, i64)> = tables[2].columns.iter().map(|column| (column.name.as_str(), column.key)).collect();
    assert_eq!(columns, [("b", 2), ("a b", 0), ("c", 0), ("d", 1)]);
    assert!(tables[2].columns.iter().all(|column| !column.kind.is_empty()));
    // What the console asks for.
    let page = "SELECT substr(\"b\", 1, 201), length(\"a b\"), \"c\", \"d\" FROM \"odd\" ORDER BY \"d\" DESC, \"b\" DESC LIMIT 2 OFFSET 0";
    let rows = query(&shop, page).await.unwrap();
    assert_eq!(rows.cells(), [Cell::Text("text"), Cell::Integer(2), Cell::Real(1.5), Cell::Integer(7)]);
}
