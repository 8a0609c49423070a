//! Statements are limited in size, in time and in the size of their results.

use super::*;
use crate::sqlite::SqliteLimits;

fn impatient() -> SqliteConfig {
    SqliteConfig {
        statement_deadline: Duration::from_millis(20),
        longest_wait: LONG,
        transaction_lease: LONG,
        ..SqliteConfig::default()
    }
}

#[tokio::test]
async fn every_limit_of_a_statement_is_enforced() {
    let shop = Shop::new().await;
    let parameters: Vec<_> = (1..=1_001).map(|n| format!("${n}")).collect();
    for (what, sql) in [
        ("the text", format!("SELECT '{}'", "x".repeat(64 << 10))),
        ("the depth of an expression", format!("SELECT {}1", "1+".repeat(200))),
        ("the depth of parentheses", format!("SELECT {}1{}", "(".repeat(2_000), ")".repeat(2_000))),
        ("the parts of a compound", format!("SELECT 1{}", " UNION SELECT 1".repeat(10))),
        ("the number of parameters", format!("SELECT {}", parameters.join("+"))),
        ("the arguments of a function", format!("SELECT max({})", ["1"; 33].join(","))),
        ("the columns of a result", format!("SELECT {}", ["1"; 257].join(","))),
        ("the instructions", format!("SELECT count(*) FROM (VALUES {})", ["(1)"; 16_000].join(","))),
        ("a value", "SELECT zeroblob(1048577)".into()),
        ("a text from a format", "SELECT printf('%1048577d', 1)".into()),
        ("a pattern", format!("SELECT name LIKE '{}' FROM products", "%a".repeat(129))),
        ("the number of patterns", format!("SELECT {}", ["1 LIKE 1"; 9].join(","))),
        ("the number of calls", format!("SELECT {}", ["abs(1)||abs(2)"; 129].join(","))),
    ] {
        let refusal = shop.query(&sql, &[]).await;
        assert!(matches!(refusal, Err(StorageError::TooLarge(_))), "{what}: {refusal:?}");
    }
}

#[tokio::test]
async fn a_parameter_may_be_as_large_as_a_value() {
    let shop = Shop::new().await;
    let blob = |bytes| [Value::Blob(vec![0; bytes])];
    assert_eq!(number(shop.query("SELECT length($1)", &blob(1 << 20)).await), 1 << 20);
    assert!(matches!(shop.query("SELECT length($1)", &blob((1 << 20) + 1)).await, Err(StorageError::TooLarge(_))));
    // A large row can be read, but not inline.
    shop.execute("INSERT INTO numbers VALUES ($1)", &blob(1_000_000)).await.unwrap();
    let all = "SELECT n, length(n) FROM numbers";
    assert!(shop.storage.readers.query_inline(&Statement::new(all, [])).is_none());
    assert_eq!(shop.query(all, &[]).await.unwrap().values()[1], Value::Integer(1_000_000));
}

#[tokio::test]
async fn a_result_is_limited_in_rows_and_bytes() {
    let shop = Shop::new().await;
    let count =
        |n| format!("WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {n}) SELECT n FROM c");
    assert_eq!(shop.query(&count(10_000), &[]).await.unwrap().values().len(), 10_000);
    assert!(matches!(shop.query(&count(10_001), &[]).await, Err(StorageError::TooLarge(_))));
    assert!(matches!(shop.query(&count(1_000_000), &[]).await, Err(StorageError::TooLarge(_))));
    let large = "SELECT zeroblob(1000000) FROM json_each('[1,2,3,4,5]')";
    assert!(matches!(shop.query(large, &[]).await, Err(StorageError::TooLarge(_))));
    let wide = format!("SELECT {} FROM ({})", ["n"; 200].join(","), count(9_999));
    assert!(matches!(shop.query(&wide, &[]).await, Err(StorageError::TooLarge(_))));
}

#[tokio::test]
async fn a_write_with_too_large_a_result_has_no_effect() {
    let limits = SqliteLimits { result_rows: 3, ..SqliteLimits::default() };
    let shop = Shop::open(SqliteConfig { limits, ..SqliteConfig::default() }).await;
    let transaction = shop.begin().await;
    let sql = "INSERT INTO numbers VALUES (1), (2), (3), (4) RETURNING n";
    assert!(matches!(ask(&*transaction, sql).await, Err(StorageError::TooLarge(_))));
    let sql = "INSERT INTO numbers VALUES (5), (6), (7) RETURNING n";
    assert_eq!(ask(&*transaction, sql).await.unwrap().values().len(), 3);
    transaction.commit().await.unwrap();
    assert_eq!(shop.count("numbers").await, 3);
}

#[tokio::test]
async fn an_endless_statement_is_stopped() {
    let shop = Shop::open(impatient()).await;
    let cross =
        "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 5000) SELECT count(*) FROM c, c, c, c";
    assert_eq!(shop.query(FOREVER, &[]).await, Err(StorageError::TimedOut));
    assert_eq!(shop.query(cross, &[]).await, Err(StorageError::TimedOut));
    assert_eq!(shop.execute(WRITE_FOREVER, &[]).await, Err(StorageError::TimedOut));
    let transaction = shop.begin().await;
    assert_eq!(ask(&*transaction, FOREVER).await, Err(StorageError::TimedOut));
    // A failed read leaves its transaction unchanged.
    run(&*transaction, SELL_ONE).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(shop.stock().await, 9);
}

#[tokio::test]
async fn an_interrupted_write_ends_its_transaction() {
    let shop = Shop::open(impatient()).await;
    let transaction = shop.begin().await;
    run(&*transaction, SELL_ONE).await.unwrap();
    assert_eq!(run(&*transaction, WRITE_FOREVER).await, Err(StorageError::TimedOut));
    assert_eq!(run(&*transaction, SELL_ONE).await, Err(StorageError::TimedOut));
    assert_eq!(transaction.commit().await, Err(StorageError::TimedOut));
    assert_eq!(shop.stock().await, 10);
    shop.execute(SELL_ONE, &[]).await.unwrap();
    assert_eq!(shop.stock().await, 9);
}

#[tokio::test]
async fn a_sort_that_uses_too_much_memory_is_stopped() {
    let config = SqliteConfig { heap_bytes_of_long: 128 << 20, statement_deadline: LONG, ..SqliteConfig::default() };
    let shop = Shop::open(config).await;
    let sorted = |rows: u32| {
        format!(
            "WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {rows})
             SELECT length(v) FROM (SELECT hex(zeroblob(100000)) || n AS v FROM c) ORDER BY v"
        )
    };
    assert_eq!(shop.query(&sorted(2_000), &[]).await, Err(StorageError::TimedOut));
    assert_eq!(shop.query(&sorted(50), &[]).await.unwrap().values().len(), 50);
}

#[tokio::test]
async fn nested_queries_fit_on_a_small_stack() {
    let shop = Shop::new().await;
    let nested = |depth: usize| format!("{}SELECT 1{}", "SELECT * FROM (".repeat(depth), ")".repeat(depth));
    let wide = |depth: usize| format!("SELECT {}1{}", "(SELECT ".repeat(depth), ")".repeat(depth));
    let json = format!("SELECT json('{}{}')", "[".repeat(900), "]".repeat(900));
    let statements: Vec<_> = (0..12).flat_map(|power| [nested(1 << power), wide(1 << power)]).chain([json]).collect();
    // The fiber of a component may have no more stack than this.
    std::thread::Builder::new()
        .stack_size(384 << 10)
        .spawn(move || {
            for sql in statements {
                let result = shop.storage.readers.query_inline(&Statement::new(sql, []));
                assert!(matches!(result, None | Some(Ok(_) | Err(StorageError::TooLarge(_)))), "{result:?}");
            }
        })
        .unwrap()
        .join()
        .unwrap();
}

#[tokio::test]
async fn other_spellings_of_parameters_that_sqlite_knows_are_refused() {
    let shop = Shop::new().await;
    for sql in ["SELECT ?1", "SELECT @a", "SELECT $a", "SELECT $99999999999999999999"] {
        let refusal = shop.query(sql, &[Value::Integer(2)]).await;
        assert!(matches!(refusal, Err(StorageError::Invalid(_))), "{sql}: {refusal:?}");
    }
}

#[tokio::test]
async fn values_come_back_as_they_went() {
    let shop = Shop::new().await;
    for value in [
        Value::Null,
        Value::Integer(i64::MIN),
        Value::Integer(i64::MAX),
        Value::Real(0.1),
        Value::Real(f64::INFINITY),
        Value::Text(String::new()),
        Value::Text("a\0b ✓".into()),
        Value::Blob(vec![]),
        Value::Blob(vec![0, 255]),
    ] {
        shop.execute("DELETE FROM numbers", &[]).await.unwrap();
        shop.execute("INSERT INTO numbers VALUES ($1)", std::slice::from_ref(&value)).await.unwrap();
        assert_eq!(shop.query("SELECT n FROM numbers", &[]).await.unwrap().values(), [value]);
    }
    let broken = shop.query("SELECT CAST(x'ff' AS TEXT)", &[]).await;
    assert!(matches!(broken, Err(StorageError::Invalid(_))), "{broken:?}");
    let rows = shop.query("SELECT 1 AS a, 2 AS \"b c\" UNION SELECT 3, 4", &[]).await.unwrap();
    assert_eq!(rows.columns(), ["a", "b c"]);
    assert_eq!(rows.values().len(), 2 * 2);
}
