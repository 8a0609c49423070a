//! The PostgreSQL engine, for services that outgrow one machine.
//!
//! Each service has a schema and a role. Any number of hosts can share one database.
//!
//! # SQL dialect
//!
//! A service does not know which engine it uses. Its statements and migrations are in SQLite's dialect, and `dialect` translates
//! them to PostgreSQL's. If PostgreSQL's functions behave differently, the translation uses functions of the host (`migrate`).
//! The common features are enough for a shop. All others, such as views and triggers, are refused with a hint what to write
//! instead.
//!
//! These differences remain, and authors must watch for them:
//!
//! - NULLs sort in different places: write `NULLS FIRST` or `NULLS LAST`.
//! - If a statement chooses an id itself, SQLite continues after it. PostgreSQL reaches it later and finds it taken. Both
//!   continue after ids that a migration chose.
//! - A real number written to an integer column is rounded here and refused by SQLite. A division by zero is an error here and
//!   NULL in SQLite. A text in place of a truth value, or the reverse, also differs.
//! - The length of a text with a NUL is one more here, because it is stored escaped. A blob that is CAST to a text becomes its
//!   hexadecimal digits here.
//!
//! # Reads
//!
//! Each query has its own connection, on which all transactions are read-only. Writes of other hosts do not change this process's
//! table versions. So reads have no read set ([`ReadSet`]), and their answers are not cached.
//!
//! # Writes
//!
//! The writer is one advisory lock per schema, shared by all hosts. Its holder is the only writer, as `wit/storage.wit` promises.
//! So a read inside a transaction is as safe as `SELECT … FOR UPDATE`, and no transaction needs a retry. Guarantees:
//!
//! 1. A transaction takes the lock before its first statement. It releases the lock with the commit, the rollback, or the end of
//!    the connection. A killed host releases it at once. If the machine of a host disappears, the server releases it after
//!    `idle_in_transaction_session_timeout`.
//! 2. Within one host, callers take turns for the one writing connection.
//! 3. A failed statement is rolled back to its own savepoint. The rest of its transaction stays.
//! 4. If a caller goes away during a statement, the connection is closed, which rolls back the transaction.
//! 5. `synchronous_commit` is on: an acknowledged write is on the server's disk.
//! 6. If the answer to a commit is lost, the host asks the server for the outcome on another connection (`outcome`).
//!
//! # Isolation
//!
//! `dialect` has a list of what a service's SQL may contain. The SQL then runs as a role that owns one schema and can access no
//! other service's schema (`server`). The role also has the rights that the database gives to everybody. Every connection is
//! opened with all settings that isolation depends on, among them `statement_timeout`, `lock_timeout` and
//! `idle_in_transaction_session_timeout`. A connection without them is not used. A text or blob has at most one mebibyte, as in
//! SQLite. The host reads a whole row of a result before it checks its size, so a row may have at most 32 texts and blobs.
//!
//! # Migrations
//!
//! A migration holds a second lock besides the writer's. If a call has waited its usual time, it checks that lock. If a migration
//! of any host holds it, the call waits longer. Reads do the same, because a migration may lock the table that they read. Plain
//! indexes on large tables are built before the migration, while writes continue (`indexes`).
//!
//! If the server disappears without closing the connection, calls end a few seconds after the time at which the server should
//! have ended them.

mod config;
mod dialect;
mod fault;
mod fitness;
mod indexes;
mod migrate;
mod outcome;
mod patience;
mod server;
mod server_error;
mod session;
mod transaction;
mod value;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant, SystemTime};

use deadpool_postgres::Pool;
use futures::future::BoxFuture;
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

pub use self::config::{PostgresConfig, PostgresLimits};
use self::dialect::Translated;
pub use self::migrate::check_translation;
use self::patience::Patience;
pub use self::server::PostgresServer;
pub use self::server_error::ServerError;
use self::session::{BoundStatement, ResultKind, Session};
use self::transaction::PostgresTransaction;
use self::value::Parameter;
use super::migrating::Migrating;
use super::read_set::ReadSet;
use super::table::{self, Column, Table};
use super::{
    Migration, MigrationError, NotAdditive, RanMigrations, Rows, Statement, Storage, StorageError, Transaction, Usage,
    Value, Waits,
};

/// How many translated statements are cached, and the maximum size of their texts.
const TRANSLATIONS: usize = 512;
const TRANSLATION_BYTES: u64 = 4 << 20;

/// The columns of all tables: the place in the primary key, and table, name and type with a separator.
const TABLES: &str = "SELECT coalesce(array_position(i.indkey::smallint[], a.attnum) + 1, 0)::bigint,
        concat_ws(chr(31), t.relname, a.attname, format_type(a.atttypid, a.atttypmod))
    FROM pg_class t
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_index i ON i.indrelid = t.oid AND i.indisprimary
    WHERE t.relkind = 'r' AND t.relnamespace = current_schema()::regnamespace AND t.relname NOT LIKE 'comptoir\\_%'
    ORDER BY t.relname, a.attnum";

/// How much later than its lease the server ends a transaction whose host is silent.
///
/// Shorter than the wait of other hosts, so that a hung host costs them no request.
const LEASE_GRACE: Duration = Duration::from_millis(250);

/// How much later than its own timeouts the server may answer.
const SILENCE: Duration = Duration::from_secs(5);

/// The schema of one service in a PostgreSQL database.
pub struct PostgresStorage(Arc<Shared>);

/// The connection pools of one service.
struct Pools {
    /// Connections for read-only transactions.
    reader: Pool,
    /// The one writing connection.
    writer: Pool,
}

/// State that the storage and its transactions share.
struct Shared {
    reader: Pool,
    writer: Pool,
    /// The number of the advisory lock that this schema's writer holds, in all hosts.
    writer_lock: i64,
    /// The number of the advisory lock that a running migration holds, in all hosts.
    migration_lock: i64,
    /// The number of the advisory lock of the host that builds indexes.
    index_lock: i64,
    migrating: Arc<Migrating>,
    /// How many calls of this host wait for the writer.
    waiting: AtomicUsize,
    config: PostgresConfig,
    usage: Usage,
    translations: Cache<String, Arc<Translated>, ByLength>,
}

/// Weighs a cached translation by the length of its texts.
#[derive(Clone)]
struct ByLength;

impl quick_cache::Weighter<String, Arc<Translated>> for ByLength {
    fn weight(&self, text: &String, translated: &Arc<Translated>) -> u64 {
        (text.len() + translated.sql.len()) as u64
    }
}

impl PostgresStorage {
    /// Opens an existing schema and creates the host's own objects in it.
    async fn new(schema: &str, Pools { reader, writer }: Pools, config: PostgresConfig) -> Result<Self, StorageError> {
        let lock = |of: &str| {
            let digest = Sha256::digest(format!("comptoir: {of} of {schema}"));
            i64::from_be_bytes(digest[..8].try_into().expect("SHA-256 has 32 bytes"))
        };
        let shared = Shared {
            reader,
            writer,
            writer_lock: lock("the writer"),
            migration_lock: lock("the migration"),
            index_lock: lock("the indexes"),
            migrating: Migrating::new(config.waiting_for_migrations, config.migration_wait),
            waiting: AtomicUsize::new(0),
            config,
            usage: Usage::default(),
            translations: Cache::with_weighter(TRANSLATIONS, TRANSLATION_BYTES, ByLength),
        };
        let session = shared.take_writer().await?;
        // The time of a service's statements is no measure for these. `OPEN_TIME` limits them.
        session.command("SET LOCAL statement_timeout = 0").await?;
        session.command(migrate::OWN).await?;
        session.command("COMMIT").await?;
        session.done();
        Ok(Self(Arc::new(shared)))
    }
}

impl Shared {
    /// Translates a statement of a service and checks its parameters.
    async fn bind(&self, statement: Statement, kind: ResultKind) -> Result<BoundStatement, StorageError> {
        let limits = &self.config.limits;
        let translated = match self.translations.get(&statement.sql) {
            Some(translated) => translated,
            None => self.translate(statement.sql).await?,
        };
        let invalid = |reason: &str| Err(StorageError::Invalid(reason.into()));
        match kind {
            ResultKind::Rows if !translated.gives_rows => {
                return invalid("the statement returns no rows: use execute");
            }
            ResultKind::Changes if translated.gives_rows => {
                return invalid("the statement returns rows: use query");
            }
            _ => {}
        }
        if translated.parameters != statement.params.len() {
            return Err(StorageError::Invalid(format!(
                "the statement has {} parameters, but {} values were passed",
                translated.parameters,
                statement.params.len()
            )));
        }
        statement.params.iter().try_for_each(|value| Parameter(value).check(limits))?;
        if kind == ResultKind::Rows && repeated_bytes(&translated.sql, &statement.params) > limits.result_bytes {
            return Err(StorageError::TooLarge(format!("parameters of more than {} bytes", limits.result_bytes)));
        }
        Ok(BoundStatement { translated, params: statement.params })
    }

    async fn lend(&self, pool: &Pool) -> Result<Session, StorageError> {
        let PostgresConfig { statement_deadline, longest_wait, .. } = self.config;
        let patience = statement_deadline.saturating_add(longest_wait).saturating_add(SILENCE);
        Session::lend(pool, longest_wait, patience).await
    }

    /// Translates on a blocking thread, because a hostile statement takes milliseconds.
    async fn translate(&self, sql: String) -> Result<Arc<Translated>, StorageError> {
        let PostgresLimits { sql_bytes, functions, parameters, .. } = self.config.limits;
        let limits = dialect::Limits { sql_bytes, functions, parameters };
        let work = tokio::task::spawn_blocking(move || dialect::statement(&sql, &limits).map(|done| (sql, done)));
        let (sql, translated) = work.await.unwrap_or_else(|error| Err(StorageError::Unavailable(error.to_string())))?;
        let translated = Arc::new(translated);
        self.translations.insert(sql, translated.clone());
        Ok(translated)
    }

    async fn read(&self, statement: Statement) -> Result<Rows, StorageError> {
        Usage::count(&self.usage.queries);
        let bound = self.bind(statement, ResultKind::Rows).await?;
        if bound.translated.writes {
            return Err(StorageError::Invalid("a query outside a transaction cannot write".into()));
        }
        let mut patience = Patience::new(self);
        loop {
            match self.read_once(&bound).await {
                // The read may have waited for a table that a migration locks.
                Err(StorageError::Busy | StorageError::TimedOut) if patience.may_wait_longer().await => {}
                result => return result.inspect_err(|error| self.count_refusal(error)),
            }
        }
    }

    async fn read_once(&self, bound: &BoundStatement) -> Result<Rows, StorageError> {
        for _ in 0..2 {
            let session = self.lend(&self.reader).await?;
            let began = Instant::now();
            let ran = session.run(bound, ResultKind::Rows, &self.config.limits).await;
            self.usage.add_sql_time(began.elapsed());
            if !matches!(ran, Err(StorageError::TooLarge(_) | StorageError::Unavailable(_))) {
                // After an error, nothing of the read is pending. After a result that is too large, its remaining rows are.
                session.done();
            }
            if let Some(outcome) = ran? {
                return Ok(outcome.rows());
            }
        }
        Err(StorageError::Busy)
    }

    async fn write(&self, statement: Statement) -> Result<u64, StorageError> {
        Usage::count(&self.usage.executes);
        let bound = self.bind(statement, ResultKind::Changes).await?;
        for _ in 0..2 {
            let session = self.take_writer().await?;
            let began = Instant::now();
            let ran = self.run_and_commit(session, &bound).await;
            self.usage.add_sql_time(began.elapsed());
            if ran.is_err() {
                Usage::count(&self.usage.rollbacks);
            }
            if let Some(changed) = ran? {
                return Ok(changed);
            }
        }
        Err(StorageError::Busy)
    }

    /// Runs a host statement that selects a version.
    ///
    /// It sees the last commit of any host.
    async fn version(&self, asked: &str) -> Result<u32, StorageError> {
        let session = self.lend(&self.reader).await?;
        let version = session.value::<i64>(asked).await?;
        session.done();
        u32::try_from(version).map_err(|_| {
            StorageError::Unavailable(format!("the schema has the version {version}, which no migration can have"))
        })
    }

    /// The tables of the service, without the host's own.
    async fn tables(&self) -> Result<Vec<Table>, StorageError> {
        let session = self.lend(&self.reader).await?;
        let columns = session.pairs(&format!("{TABLES} LIMIT {}", table::MOST_COLUMNS)).await?;
        session.done();
        let column = |(key, text): (i64, String)| {
            let mut parts = text.split('\u{1f}').map(str::to_owned);
            Some((parts.next()?, Column { name: parts.next()?, kind: parts.next()?, key }))
        };
        Ok(table::collect(columns.into_iter().filter_map(column)))
    }

    /// Whether a migration of any host is running.
    async fn is_migrating(&self) -> Result<bool, StorageError> {
        let session = self.lend(&self.reader).await?;
        let lock = self.migration_lock;
        let sql = format!("SELECT CASE WHEN pg_try_advisory_xact_lock_shared({lock}) THEN 0 ELSE 1 END::bigint");
        let is_locked = session.value::<i64>(&sql).await? == 1;
        session.done();
        Ok(is_locked)
    }

    /// Checks that a write succeeds, with one that changes nothing.
    async fn check_writes(&self) -> Result<(), StorageError> {
        let session = match self.take_writer_once().await {
            Err(StorageError::Busy) => return Ok(()),
            taken => taken?,
        };
        match session.command(migrate::WRITE_NOTHING).await {
            Ok(()) => {
                session.command("COMMIT").await?;
                session.done();
                Ok(())
            }
            Err(error) => {
                let cause = error.to_string();
                transaction::roll_back_after(session, &error).await;
                Err(StorageError::Unavailable(cause))
            }
        }
    }

    fn count_refusal(&self, error: &StorageError) {
        if matches!(error, StorageError::Busy) {
            Usage::count(&self.usage.refusals);
        }
    }

    /// Counts a durable transaction.
    fn acknowledge(&self) {
        Usage::count(&self.usage.commits);
        Usage::count(&self.usage.syncs);
    }

    /// Discards the compiled statements of all connections of this host.
    fn forget_compiled(&self) {
        for pool in [&self.reader, &self.writer] {
            pool.manager().statement_caches.clear();
        }
    }
}

/// The bytes that the parameters could add to each row of the result.
///
/// Each parameter counts as often as the statement uses it.
fn repeated_bytes(sql: &str, params: &[Value]) -> usize {
    let length = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::Blob(blob) => blob.len(),
        _ => 0,
    };
    if params.iter().map(length).sum::<usize>() == 0 {
        return 0;
    }
    let numbers = sql.split('$').skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[..end].parse::<usize>().unwrap_or(0)
    });
    numbers.filter_map(|number| params.get(number.checked_sub(1)?)).map(length).sum()
}

impl Storage for PostgresStorage {
    fn read(&self, statement: Statement) -> BoxFuture<'_, Result<(Rows, Option<ReadSet>), StorageError>> {
        Box::pin(async move { self.0.read(statement).await.map(|rows| (rows, None)) })
    }

    fn execute(&self, statement: Statement) -> BoxFuture<'_, Result<u64, StorageError>> {
        Box::pin(self.0.write(statement))
    }

    fn begin(&self) -> BoxFuture<'_, Result<Box<dyn Transaction>, StorageError>> {
        Box::pin(async move { Ok(Box::new(PostgresTransaction::begin(self.0.clone()).await?) as Box<dyn Transaction>) })
    }

    fn migrate(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<Vec<u32>, MigrationError>> {
        Box::pin(async move { migrate::run(&self.0, &migrations, false).await })
    }

    fn migrate_checked(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<Vec<u32>, MigrationError>> {
        Box::pin(async move { migrate::run(&self.0, &migrations, true).await })
    }

    fn unchecked_version(&self) -> BoxFuture<'_, Result<Option<u32>, StorageError>> {
        Box::pin(async move { self.0.version(migrate::UNCHECKED_VERSION).await.map(Some) })
    }

    fn ran_migrations(&self) -> BoxFuture<'_, Result<Option<RanMigrations>, StorageError>> {
        Box::pin(async move {
            let session = self.0.lend(&self.0.reader).await?;
            let ran = migrate::ran_migrations(&session).await?;
            session.done();
            Ok(Some(ran))
        })
    }

    fn check_additive(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<(), NotAdditive>> {
        Box::pin(async move { migrate::check_additive(&self.0, migrations).await })
    }

    fn tables(&self) -> BoxFuture<'_, Result<Vec<Table>, StorageError>> {
        Box::pin(self.0.tables())
    }

    fn schema_version(&self) -> BoxFuture<'_, Result<u32, StorageError>> {
        Box::pin(self.0.version(migrate::VERSION))
    }

    fn migration_waits(&self) -> Waits {
        self.0.migrating.waits()
    }

    fn check_writes(&self) -> BoxFuture<'_, Result<(), StorageError>> {
        Box::pin(self.0.check_writes())
    }

    fn clock(&self) -> BoxFuture<'_, Result<Option<SystemTime>, StorageError>> {
        Box::pin(async move {
            let session = self.0.lend(&self.0.reader).await?;
            let now = session.value("SELECT clock_timestamp()").await?;
            session.done();
            Ok(Some(now))
        })
    }

    fn serves_other_hosts(&self) -> bool {
        true
    }

    fn usage(&self) -> &Usage {
        &self.0.usage
    }
}
