//! Key-value entries in a database of their own, on either engine.
//!
//! An entry belongs to a bucket. A bucket exists as soon as it has an entry. The promises of [`Storage`] hold. An acknowledged
//! write is durable, and every later read sees it. A batch takes effect completely or not at all. Reads have a read set.
//!
//! The entries are in one table that this module alone knows, so no SQL of a service can reach them.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::read_set::ReadSet;
use super::rehearsal::Rehearsal;
use super::{Migration, MigrationError, Statement, Storage, StorageError, Transaction, Value};

/// The most bytes of a bucket's name.
pub const MAX_BUCKET_BYTES: usize = 64;

/// The most bytes of a key.
pub const MAX_KEY_BYTES: usize = 1 << 10;

/// The most bytes of a value. SQLite stores no row of more than 1 MiB, with bucket and key.
pub const MAX_VALUE_BYTES: usize = 1020 << 10;

/// The most entries in one batch.
pub const MAX_BATCH: usize = 1000;

/// The most bytes of all keys and values in one batch, and of the values that it returns. No query returns more.
pub const MAX_BATCH_BYTES: usize = 4 << 20;

/// The most keys in one page of a list.
pub const PAGE: usize = 1000;

/// The most keys in one statement that reads several entries.
const KEYS_IN_A_STATEMENT: usize = 32;

/// Generated ids only grow, so a list in their order can continue after the last one that it returned.
const SCHEMA: &str = "
    CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        bucket TEXT NOT NULL,
        name TEXT NOT NULL,
        value BLOB NOT NULL,
        UNIQUE (bucket, name)
    ) STRICT;
    CREATE INDEX entries_in_order ON entries (bucket, id);";

const SET: &str = "INSERT INTO entries (bucket, name, value) VALUES ($1, $2, $3)
    ON CONFLICT (bucket, name) DO UPDATE SET value = excluded.value";

const DELETE: &str = "DELETE FROM entries WHERE bucket = $1 AND name = $2";

const GET: &str = "SELECT value FROM entries WHERE bucket = $1 AND name = $2";

const EXISTS: &str = "SELECT 1 FROM entries WHERE bucket = $1 AND name = $2";

const LIST: &str = "SELECT id, name FROM entries WHERE bucket = $1 AND id > $2 ORDER BY id LIMIT $3";

/// The key-value entries of one service.
pub struct KeyValue {
    storage: Arc<dyn Storage>,
}

/// A page of a bucket's keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The keys, in the order in which they were first set.
    pub keys: Vec<String>,
    /// Where the next page begins; `None` after the last one.
    pub cursor: Option<u64>,
}

/// A result with its read set, which is `None` if it is unknown.
pub type Read<T> = Result<(T, Option<ReadSet>), StorageError>;

/// Whether a bucket can have this name: 1 to 64 of the characters a-z, A-Z, 0-9, `_`, `-` and `.`.
pub fn is_bucket(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=MAX_BUCKET_BYTES).contains(&name.len()) && name.bytes().all(is_plain)
}

impl KeyValue {
    /// Creates the table of a database that is used for nothing else, unless it exists.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn prepare(storage: &dyn Storage) -> Result<(), MigrationError> {
        // Migrating waits for the writer, which another host may keep busy.
        if storage.schema_version().await? > 0 {
            return Ok(());
        }
        storage.migrate(vec![Migration { version: 1, sql: SCHEMA.to_owned() }]).await.map(drop)
    }

    /// The entries of a [prepared](Self::prepare) database.
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage }
    }

    /// The entries for a probe: every write is rolled back.
    #[must_use]
    pub fn for_rehearsal(&self) -> Self {
        Self { storage: Arc::new(Rehearsal::new(self.storage.clone())) }
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The key is too long, or the database fails.
    pub async fn get(&self, bucket: &str, key: &str) -> Read<Option<Vec<u8>>> {
        let (values, read_set) = self.read(GET, entry(bucket, key)?).await?;
        Ok((blob(values.into_iter().next()), read_set))
    }

    /// Whether a key has a value.
    ///
    /// # Errors
    /// As for [`get`](Self::get).
    pub async fn exists(&self, bucket: &str, key: &str) -> Read<bool> {
        let (values, read_set) = self.read(EXISTS, entry(bucket, key)?).await?;
        Ok((!values.is_empty(), read_set))
    }

    /// The values of several keys, in their order. The values need not be from the same moment.
    ///
    /// # Errors
    /// As for [`get`](Self::get); also if the batch or its result is too large.
    pub async fn get_many(&self, bucket: &str, keys: &[String]) -> Read<Vec<Option<Vec<u8>>>> {
        check_batch(keys.iter().map(|key| (key.as_str(), &[][..])))?;
        let (mut found, mut all) = (std::collections::HashMap::new(), Some(ReadSet::default()));
        let mut bytes = 0;
        for keys in keys.chunks(KEYS_IN_A_STATEMENT) {
            let (values, read_set) = self.read(&get_several(keys.len()), several(bucket, keys)).await?;
            all = all.zip(read_set).map(|(mut all, read_set)| {
                all.join(read_set);
                all
            });
            for pair in values.chunks_exact(2) {
                if let [Value::Text(key), Value::Blob(value)] = pair {
                    bytes += value.len();
                    found.insert(key.clone(), value.clone());
                }
            }
            if bytes > MAX_BATCH_BYTES {
                return Err(too_large("a batch whose values have", MAX_BATCH_BYTES, "bytes"));
            }
        }
        Ok((keys.iter().map(|key| found.get(key).cloned()).collect(), all))
    }

    /// The keys of a bucket, from a page's cursor on.
    ///
    /// # Errors
    /// The database fails.
    pub async fn list(&self, bucket: &str, cursor: Option<u64>) -> Read<Page> {
        // A cursor that no page has leads to the end.
        let after = i64::try_from(cursor.unwrap_or(0)).unwrap_or(i64::MAX);
        let limit = Value::Integer(PAGE as i64 + 1);
        let params = vec![Value::Text(bucket.to_owned()), Value::Integer(after), limit];
        let (values, read_set) = self.read(LIST, params).await?;
        let has_more = values.len() > 2 * PAGE;
        let mut page = Page::default();
        for pair in values.chunks_exact(2).take(PAGE) {
            if let [Value::Integer(id), Value::Text(key)] = pair {
                page.keys.push(key.clone());
                page.cursor = u64::try_from(*id).ok().filter(|_| has_more);
            }
        }
        Ok((page, read_set))
    }

    /// Sets the value of a key. It is durable when this returns.
    ///
    /// # Errors
    /// The key or the value is too long, or the database fails. Nothing changed then.
    pub async fn set(&self, bucket: &str, key: &str, value: Vec<u8>) -> Result<(), StorageError> {
        self.storage.execute(Statement::new(SET, value_of(bucket, key, value)?)).await.map(drop)
    }

    /// Removes a key, if it exists.
    ///
    /// # Errors
    /// As for [`set`](Self::set).
    pub async fn delete(&self, bucket: &str, key: &str) -> Result<(), StorageError> {
        self.storage.execute(Statement::new(DELETE, entry(bucket, key)?)).await.map(drop)
    }

    /// Sets several values in one transaction. Of equal keys the last one counts.
    ///
    /// # Errors
    /// As for [`set`](Self::set); also if the batch is too large.
    pub async fn set_many(&self, bucket: &str, entries: Vec<(String, Vec<u8>)>) -> Result<(), StorageError> {
        check_batch(entries.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
        let statement = |(key, value): (String, _)| Ok(Statement::new(SET, value_of(bucket, &key, value)?));
        self.write_all(entries.into_iter().map(statement).collect::<Result<_, StorageError>>()?).await
    }

    /// Removes several keys in one transaction.
    ///
    /// # Errors
    /// As for [`set_many`](Self::set_many).
    pub async fn delete_many(&self, bucket: &str, keys: &[String]) -> Result<(), StorageError> {
        check_batch(keys.iter().map(|key| (key.as_str(), &[][..])))?;
        let statement = |key: &String| Ok(Statement::new(DELETE, entry(bucket, key)?));
        self.write_all(keys.iter().map(statement).collect::<Result<_, StorageError>>()?).await
    }

    /// Adds to a number and returns the sum. A missing key counts as 0.
    ///
    /// The value is the number's decimal digits in ASCII, as in Redis.
    ///
    /// # Errors
    /// The value is no number, the sum exceeds 64 bits, or as for [`set`](Self::set).
    pub async fn increment(&self, bucket: &str, key: &str, delta: u64) -> Result<u64, StorageError> {
        let read = Statement::new(GET, entry(bucket, key)?);
        let transaction = self.storage.begin().await?;
        let value = blob(transaction.query(read).await?.values().into_iter().next());
        let number = match value {
            None => 0,
            Some(digits) => number(&digits)
                .ok_or_else(|| StorageError::Invalid("the value of this key is not a number".to_owned()))?,
        };
        let sum = number.checked_add(delta);
        let sum = sum.ok_or_else(|| StorageError::Invalid("the sum exceeds 64 bits".to_owned()))?;
        transaction.execute(Statement::new(SET, value_of(bucket, key, sum.to_string().into_bytes())?)).await?;
        transaction.commit().await?;
        Ok(sum)
    }

    fn read<'s>(&'s self, sql: &str, params: Vec<Value>) -> BoxFuture<'s, Read<Vec<Value>>> {
        let statement = Statement::new(sql, params);
        Box::pin(async move {
            let (rows, read_set) = self.storage.read(statement).await?;
            Ok((rows.values(), read_set))
        })
    }

    async fn write_all(&self, statements: Vec<Statement>) -> Result<(), StorageError> {
        if statements.is_empty() {
            return Ok(());
        }
        let transaction: Box<dyn Transaction> = self.storage.begin().await?;
        for statement in statements {
            transaction.execute(statement).await?;
        }
        transaction.commit().await
    }
}

/// A number as `increment` writes it: decimal digits without a sign.
fn number(digits: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

fn entry(bucket: &str, key: &str) -> Result<Vec<Value>, StorageError> {
    if key.len() > MAX_KEY_BYTES {
        return Err(too_large("a key of", MAX_KEY_BYTES, "bytes"));
    }
    Ok(vec![Value::Text(bucket.to_owned()), Value::Text(key.to_owned())])
}

fn value_of(bucket: &str, key: &str, value: Vec<u8>) -> Result<Vec<Value>, StorageError> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(too_large("a value of", MAX_VALUE_BYTES, "bytes"));
    }
    let mut params = entry(bucket, key)?;
    params.push(Value::Blob(value));
    Ok(params)
}

fn several(bucket: &str, keys: &[String]) -> Vec<Value> {
    std::iter::once(bucket).chain(keys.iter().map(String::as_str)).map(|text| Value::Text(text.to_owned())).collect()
}

/// Selects as many keys with their values.
fn get_several(count: usize) -> String {
    let numbers: Vec<String> = (0..count).map(|number| format!("${}", number + 2)).collect();
    format!("SELECT name, value FROM entries WHERE bucket = $1 AND name IN ({})", numbers.join(", "))
}

fn check_batch<'e>(entries: impl ExactSizeIterator<Item = (&'e str, &'e [u8])>) -> Result<(), StorageError> {
    if entries.len() > MAX_BATCH {
        return Err(too_large("a batch of", MAX_BATCH, "entries"));
    }
    let mut bytes = 0;
    for (key, value) in entries {
        if key.len() > MAX_KEY_BYTES {
            return Err(too_large("a key of", MAX_KEY_BYTES, "bytes"));
        }
        bytes += key.len() + value.len();
    }
    if bytes > MAX_BATCH_BYTES { Err(too_large("a batch of", MAX_BATCH_BYTES, "bytes")) } else { Ok(()) }
}

fn blob(value: Option<Value>) -> Option<Vec<u8>> {
    match value {
        Some(Value::Blob(bytes)) => Some(bytes),
        _ => None,
    }
}

fn too_large(what: &str, limit: usize, unit: &str) -> StorageError {
    StorageError::TooLarge(format!("{what} more than {limit} {unit}"))
}
