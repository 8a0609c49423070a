//! A storage that tells an observer about each statement. Services get it while somebody looks at their requests.

use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;

use super::read_set::ReadSet;
use super::{
    Migration, MigrationError, NotAdditive, Rows, Statement, Storage, StorageError, Table, Transaction, Usage,
};

/// Hears of statements. Must be quick, because the service waits.
pub trait Observer: Send + Sync {
    /// A statement has ended. Its text may contain values; see [`without_values`].
    ///
    /// `BEGIN` and `COMMIT` stand for those of a transaction. `BEGIN` takes as long as the wait for the writer.
    fn ended(&self, sql: &str, began: Instant, error: Option<&StorageError>);
}

/// A storage whose statements have an observer.
pub struct Observed {
    storage: Arc<dyn Storage>,
    observer: Arc<dyn Observer>,
}

/// A transaction whose statements have an observer.
struct ObservedTransaction {
    transaction: Box<dyn Transaction>,
    observer: Arc<dyn Observer>,
}

impl Observed {
    /// Wraps the database of a service.
    pub fn new(storage: Arc<dyn Storage>, observer: Arc<dyn Observer>) -> Self {
        Self { storage, observer }
    }
}

/// Waits for the result of a statement, and tells the observer.
async fn observe<T>(
    observer: &dyn Observer,
    sql: &str,
    statement: impl Future<Output = Result<T, StorageError>>,
) -> Result<T, StorageError> {
    let began = Instant::now();
    let result = statement.await;
    observer.ended(sql, began, result.as_ref().err());
    result
}

impl Storage for Observed {
    fn read(&self, statement: Statement) -> BoxFuture<'_, Result<(Rows, Option<ReadSet>), StorageError>> {
        let sql = statement.sql.clone();
        Box::pin(async move { observe(&*self.observer, &sql, self.storage.read(statement)).await })
    }

    fn execute(&self, statement: Statement) -> BoxFuture<'_, Result<u64, StorageError>> {
        let sql = statement.sql.clone();
        Box::pin(async move { observe(&*self.observer, &sql, self.storage.execute(statement)).await })
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, StorageError>> {
        Box::pin(async move {
            let transaction = observe(&*self.observer, "BEGIN", self.storage.begin()).await?;
            let observer = self.observer.clone();
            Ok(Box::new(ObservedTransaction { transaction, observer }) as Box<dyn Transaction>)
        })
    }

    fn migrate(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<Vec<u32>, MigrationError>> {
        self.storage.migrate(migrations)
    }

    fn check_writes(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        self.storage.check_writes()
    }

    fn check_additive(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<(), NotAdditive>> {
        self.storage.check_additive(migrations)
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<Table>, StorageError>> {
        self.storage.tables()
    }

    fn schema_version(&self) -> BoxFuture<'_, Result<u32, StorageError>> {
        self.storage.schema_version()
    }

    fn serves_other_hosts(&self) -> bool {
        self.storage.serves_other_hosts()
    }

    fn usage(&self) -> &Usage {
        self.storage.usage()
    }
}

impl Transaction for ObservedTransaction {
    fn query(&self, statement: Statement) -> BoxFuture<'_, Result<Rows, StorageError>> {
        let sql = statement.sql.clone();
        Box::pin(async move { observe(&*self.observer, &sql, self.transaction.query(statement)).await })
    }

    fn execute(&self, statement: Statement) -> BoxFuture<'_, Result<u64, StorageError>> {
        let sql = statement.sql.clone();
        Box::pin(async move { observe(&*self.observer, &sql, self.transaction.execute(statement)).await })
    }

    fn commit(self: Box<Self>) -> BoxFuture<'static, Result<(), StorageError>> {
        let Self { transaction, observer } = *self;
        Box::pin(async move { observe(&*observer, "COMMIT", transaction.commit()).await })
    }
}

/// The text of a statement on one line, without its values, at most `most` characters long.
///
/// Parameters are in no text. A service may also write values into its SQL: texts and blobs become `'…'`, and numbers of more than
/// four digits become `…`. Comments are left out.
pub fn without_values(sql: &str, most: usize) -> String {
    let mut shown = String::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        if shown.chars().count() > most {
            break;
        }
        let (part, length) = match first {
            '\'' => ("'…'", quoted(rest, '\'')),
            '"' | '`' => {
                let length = quoted(rest, first);
                (&rest[..length], length)
            }
            '-' if rest.starts_with("--") => ("", rest.find('\n').unwrap_or(rest.len())),
            '/' if rest.starts_with("/*") => ("", rest.find("*/").map_or(rest.len(), |end| end + 2)),
            _ if first.is_whitespace() => {
                let length = rest.len() - rest.trim_start().len();
                (if shown.is_empty() || shown.ends_with(' ') { "" } else { " " }, length)
            }
            _ if first.is_ascii_alphanumeric() || first == '_' || first == '$' => {
                let is_end = |letter: char| !letter.is_ascii_alphanumeric() && !"_$.".contains(letter);
                let length = rest.find(is_end).unwrap_or(rest.len());
                let word = &rest[..length];
                (if first.is_ascii_digit() && length > 4 { "…" } else { word }, length)
            }
            _ => (&rest[..first.len_utf8()], first.len_utf8()),
        };
        shown.push_str(part);
        rest = &rest[length..];
    }
    shown.truncate(shown.trim_end().len());
    let end = shown.char_indices().nth(most).map(|(end, _)| end);
    shown.truncate(end.unwrap_or(shown.len()));
    if end.is_some() || !rest.trim().is_empty() {
        shown.push('…');
    }
    shown
}

/// The length of a quoted text at the beginning of another, with its quotes. A doubled quote stands for one.
fn quoted(text: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(end) = text[at..].find(quote) {
        at += end + 1;
        if !text[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::sqlite::{SqliteConfig, SqliteStorage};

    #[derive(Default)]
    struct Heard(Mutex<Vec<(String, bool)>>);

    impl Observer for Heard {
        fn ended(&self, sql: &str, _: Instant, error: Option<&StorageError>) {
            self.0.lock().unwrap().push((sql.to_owned(), error.is_none()));
        }
    }

    #[tokio::test]
    async fn the_observer_hears_of_each_statement_and_the_service_gets_its_results() {
        let folder = tempfile::tempdir().unwrap();
        let storage: Arc<dyn Storage> =
            Arc::new(SqliteStorage::open(folder.path().join("one.db"), SqliteConfig::default()).unwrap());
        storage
            .migrate(vec![Migration { version: 1, sql: "CREATE TABLE t (a INTEGER) STRICT;".to_owned() }])
            .await
            .unwrap();
        let heard = Arc::new(Heard::default());
        let observed = Observed::new(storage, heard.clone());
        observed.execute(Statement::new("INSERT INTO t VALUES ($1)", [crate::Value::Integer(7)])).await.unwrap();
        let transaction = observed.begin().await.unwrap();
        transaction.execute(Statement::new("UPDATE t SET a = 8", [])).await.unwrap();
        assert!(transaction.query(Statement::new("SELECT b FROM t", [])).await.is_err());
        transaction.commit().await.unwrap();
        let (rows, read_set) = observed.read(Statement::new("SELECT a FROM t", [])).await.unwrap();
        assert_eq!((rows.cells(), read_set.is_some()), (vec![crate::Cell::Integer(8)], true));
        let heard: Vec<(String, bool)> = heard.0.lock().unwrap().clone();
        let heard: Vec<(&str, bool)> = heard.iter().map(|(sql, good)| (sql.as_str(), *good)).collect();
        let expected = [
            ("INSERT INTO t VALUES ($1)", true),
            ("BEGIN", true),
            ("UPDATE t SET a = 8", true),
            ("SELECT b FROM t", false),
            ("COMMIT", true),
            ("SELECT a FROM t", true),
        ];
        assert_eq!(heard, expected);
    }

    #[test]
    fn a_text_has_no_values_no_comments_and_one_line() {
        for (sql, shown) in [
            ("SELECT a\n  FROM t -- don't\n WHERE b = $12", "SELECT a FROM t WHERE b = $12"),
            ("SELECT 'it''s', x'00ff', \"a'b\" /* 'x' */ FROM t", "SELECT '…', x'…', \"a'b\" FROM t"),
            ("UPDATE t SET a = 12, card = 4111111111111111, r = 3.14159", "UPDATE t SET a = 12, card = …, r = …"),
            ("SELECT 'open", "SELECT '…'"),
            ("  \n", ""),
        ] {
            assert_eq!(without_values(sql, 100), shown, "{sql}");
        }
        assert_eq!(without_values("SELECT aaaa, bbbb, cccc", 12), "SELECT aaaa,…");
    }
}
