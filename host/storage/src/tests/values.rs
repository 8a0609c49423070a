//! The part of the contract about parameters and values.

use super::shop::{Bounds, Opened, execute, number, query, shop};
use crate::{Statement, StorageError, Value};

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
    assert_eq!((rows.columns().as_slice(), rows.values().len()), (["a", "b c"].as_slice(), 4));
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
