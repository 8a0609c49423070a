//! Attacks through SQL.

use std::hint::black_box;
use std::time::Duration;

use crate::bindings::comptoir::platform::storage::{self, Error, Transaction, Value};

/// Statements that the host must refuse, in every kind of call.
const FORBIDDEN: &[&str] = &[
    "ATTACH 'file:stolen?mode=memory' AS stolen",
    "ATTACH '/tmp/comptoir-stolen.db' AS stolen",
    "DETACH main",
    "VACUUM",
    "VACUUM INTO '/tmp/comptoir-stolen.db'",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA writable_schema = 1",
    "PRAGMA user_version = 99",
    "PRAGMA database_list",
    "PRAGMA query_only = 0",
    "CREATE TABLE stolen (id INTEGER)",
    "CREATE TEMP TABLE stolen (id INTEGER)",
    "CREATE VIRTUAL TABLE stolen USING fts5 (text)",
    "CREATE TRIGGER stolen AFTER INSERT ON items BEGIN SELECT 1; END",
    "DROP TABLE items",
    "ALTER TABLE items ADD COLUMN stolen TEXT",
    "DELETE FROM sqlite_schema",
    "UPDATE sqlite_schema SET sql = ''",
    "INSERT INTO sqlite_schema VALUES ('table', 'x', 'x', 0, '')",
    "SELECT load_extension('/tmp/stolen.so')",
    "SELECT fts3_tokenizer('simple')",
    "SELECT writefile('/tmp/comptoir-stolen', 'x')",
    "SELECT readfile('/etc/passwd')",
    "SELECT random()",
    "SELECT datetime('now')",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM logins",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT stolen",
    "SELECT 1; DELETE FROM items",
    "EXPLAIN SELECT 1",
    "REINDEX",
    "ANALYZE",
];

const ENDLESS: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

/// Runs all forbidden statements. Returns those that the host did not refuse.
pub(crate) fn forbidden() -> String {
    let mut passed = Vec::new();
    for statement in FORBIDDEN {
        if storage::query(statement, &[]).is_ok() {
            passed.push(format!("query {statement}"));
        }
        if storage::execute(statement, &[]).is_ok() {
            passed.push(format!("execute {statement}"));
        }
        // Inside a transaction, without a commit.
        if storage::begin().and_then(|transaction| transaction.execute(statement, &[])).is_ok() {
            passed.push(format!("transaction {statement}"));
        }
    }
    format!("passed {passed:?}")
}

pub(crate) fn endless() -> String {
    name(&storage::query(ENDLESS, &[]))
}

pub(crate) fn rows() -> String {
    let million = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000) SELECT i FROM n";
    name(&storage::query(million, &[]))
}

pub(crate) fn bytes() -> String {
    let large = ["SELECT zeroblob(1000000000)", "SELECT randomblob(1000000000)", "SELECT printf('%1000000000d', 1)"];
    large.iter().map(|statement| name(&storage::query(statement, &[]))).collect::<Vec<_>>().join(", ")
}

pub(crate) fn parameters() -> String {
    let many: Vec<Value> = (0..1_000_000).map(Value::Integer).collect();
    name(&storage::query("SELECT $1", &many))
}

/// Invalid UTF-8, as a value and as a column name.
pub(crate) fn text() -> String {
    let result = storage::query("SELECT CAST(x'ff00fe' AS TEXT) AS \"\u{0}\"", &[]);
    let result = result.or_else(|_| storage::query("SELECT CAST(x'ff00fe' AS TEXT)", &[]));
    name(&result)
}

pub(crate) fn length() -> String {
    let long = format!("SELECT '{}'", "x".repeat(2 << 20));
    let deep = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
    let wide = format!("SELECT 1{}", " UNION ALL SELECT 1".repeat(2_000));
    [long, deep, wide].iter().map(|statement| name(&storage::query(statement, &[]))).collect::<Vec<_>>().join(", ")
}

pub(crate) fn transaction_spin() -> String {
    let transaction = storage::begin().expect("a transaction");
    loop {
        black_box(&transaction);
    }
}

pub(crate) fn transaction_sleep() -> String {
    let transaction = storage::begin().expect("a transaction");
    std::thread::sleep(Duration::from_secs(3));
    name(&Transaction::commit(transaction))
}

/// Waits for its own transaction, until the first one's lease ends.
pub(crate) fn transaction_twice() -> String {
    let first = storage::begin().expect("a transaction");
    let second = name(&storage::begin());
    format!("{second}, then {}", name(&Transaction::commit(first)))
}

/// Takes the writer and commits without a change, because this service has no table.
pub(crate) fn write() -> String {
    let transaction = match storage::begin() {
        Ok(transaction) => transaction,
        Err(error) => return name::<()>(&Err(error)),
    };
    let read = transaction.query("SELECT 1", &[]).map(drop);
    name(&read.and_then(|()| Transaction::commit(transaction)))
}

fn name<T>(result: &Result<T, Error>) -> String {
    let name = match result {
        Ok(_) => "done",
        Err(Error::Constraint(_)) => "constraint",
        Err(Error::Busy) => "busy",
        Err(Error::Denied(_)) => "denied",
        Err(Error::TooLarge(_)) => "too large",
        Err(Error::TimedOut) => "timed out",
        Err(Error::Invalid(_)) => "invalid",
        Err(Error::Unavailable) => "unavailable",
    };
    name.to_owned()
}
