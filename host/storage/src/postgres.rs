//! PostgreSQL behind the [`Storage`] trait, for those who outgrow one machine: a schema and a role a service, and any number of
//! hosts on one database.
//!
//! # One SQL
//!
//! A service knows of no engine: its statements and migrations are those that SQLite takes, and `dialect` puts them into
//! PostgreSQL's words, with a few functions of the host's own where its words mean something else (`migrate`). What both have in
//! common is enough for a shop; what is not in common, views and triggers among it, is refused with what to write instead.
//!
//! Left as they differ, and so for an author to think of:
//!
//! - where NULLs sort: write `NULLS FIRST` or `NULLS LAST`;
//! - an id that a statement gives itself: SQLite goes on after it, PostgreSQL comes to it later and finds it taken. Those that a
//!   migration gives are passed over in both;
//! - a real number that is put into a column of integers (rounded here, refused there), a division by zero (an error here, NULL
//!   there), a text or a truth value in the permit of the other;
//! - the length of a text with a NUL (one more here, since it is kept escaped), a blob that is CAST to a text (its digits here).
//!
//! # Reads
//!
//! A query has a connection for itself, on which every transaction is read-only. What other hosts write moves no version of
//! this process, so rows rest on nothing that it knows ([`ReadSet`]), and answers are not remembered.
//!
//! # Writes
//!
//! The writer is a lock of the database's, one for each schema: whoever has it is alone among all hosts, as a service was promised.
//! So a read inside a transaction is as good as `SELECT … FOR UPDATE`, and no transaction has to be tried again. What holds:
//!
//! 1. The lock is taken before the first statement and let go by the commit, the rollback, or the end of the connection. A host
//!    that was killed lets go at once; one whose machine is gone, when `idle_in_transaction_session_timeout` is over.
//! 2. In one host, those who wait take turns for the one connection that writes.
//! 3. A statement that fails is undone by a savepoint of its own and leaves its transaction as it was.
//! 4. A caller that goes away in the middle of a statement takes the connection with it, and so the transaction.
//! 5. `synchronous_commit` is on: what was acknowledged is on the server's disk.
//!
//! # Isolation
//!
//! A service's SQL passes `dialect`, which lists what is allowed, and reaches the server as a role that owns one schema and none
//! of the others (`server`); beside it, a role has what the database gives to everybody. Each connection is opened with every
//! setting that this rests on, `statement_timeout`, `lock_timeout` and `idle_in_transaction_session_timeout` among them, and is not
//! used without them. A text or blob has no more than a mebibyte, as in SQLite; a row of a result is read whole before it is
//! weighed, and may have 32 of them.
//!
//! # Migrations
//!
//! A migration has a lock of its own beside the writer's. A call that waited in vain asks for that lock: if a migration of any host
//! has it, the call waits on. Reads do so too, because a migration may lock the table that they read.
//!
//! The server may go without a word. What waits for it ends some seconds after all that it should have ended itself.

mod config;
mod dialect;
mod fault;
mod migrate;
mod server;
mod session;
mod transaction;
mod value;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use deadpool_postgres::Pool;
use futures::future::BoxFuture;
use quick_cache::sync::Cache;
use sha2::{Digest as _, Sha256};

pub use self::config::{PostgresConfig, PostgresLimits};
use self::dialect::Translated;
pub use self::server::{PostgresServer, ServerError};
use self::session::{BoundStatement, ResultKind, Session};
use self::transaction::PostgresTransaction;
use self::value::Parameter;
use super::migrating::{Migrating, Permit};
use super::read_set::ReadSet;
use super::{
    Migration, MigrationError, NotAdditive, Rows, Statement, Storage, StorageError, Transaction, Usage, Value, Waits,
};

/// Translated statements that are kept, and the bytes of their texts at most.
const TRANSLATIONS: usize = 512;
const TRANSLATION_BYTES: u64 = 4 << 20;

/// How long the server may be late with what it ends itself.
const SILENCE: Duration = Duration::from_secs(5);

/// The schema of one service in a PostgreSQL database.
pub struct PostgresStorage(Arc<Shared>);

/// The connections of one service.
struct Pools {
    /// Those whose transactions only read.
    reader: Pool,
    /// The one that writes.
    writer: Pool,
}

/// What the storage and its transactions use together.
struct Shared {
    reader: Pool,
    writer: Pool,
    /// The number of the lock that the writer of this schema has, in all hosts.
    writer_lock: i64,
    /// The number of the lock that a migration of this schema has, in all hosts.
    migration_lock: i64,
    migrating: Arc<Migrating>,
    /// How many wait for the writer in this host.
    waiting: AtomicUsize,
    config: PostgresConfig,
    usage: Usage,
    translations: Cache<String, Arc<Translated>, ByLength>,
}

/// Weighs a translation by its text.
#[derive(Clone)]
struct ByLength;

impl quick_cache::Weighter<String, Arc<Translated>> for ByLength {
    fn weight(&self, text: &String, translated: &Arc<Translated>) -> u64 {
        (text.len() + translated.sql.len()) as u64
    }
}

impl PostgresStorage {
    /// A schema that is there, with what the host keeps in it.
    async fn new(schema: &str, Pools { reader, writer }: Pools, config: PostgresConfig) -> Result<Self, StorageError> {
        let lock = |of: &str| {
            let digest = Sha256::digest(format!("comptoir: {of} of {schema}"));
            i64::from_be_bytes(digest[..8].try_into().expect("it has 32 bytes"))
        };
        let shared = Shared {
            reader,
            writer,
            writer_lock: lock("the writer"),
            migration_lock: lock("the migration"),
            migrating: Migrating::new(config.waiting_for_migrations, config.migration_wait),
            waiting: AtomicUsize::new(0),
            config,
            usage: Usage::default(),
            translations: Cache::with_weighter(TRANSLATIONS, TRANSLATION_BYTES, ByLength),
        };
        let session = shared.take_writer().await?;
        session.command(migrate::OWN).await?;
        session.command("COMMIT").await?;
        session.done();
        Ok(Self(Arc::new(shared)))
    }
}

impl Shared {
    /// A service's statement, ready to be sent.
    async fn bind(&self, statement: Statement, kind: ResultKind) -> Result<BoundStatement, StorageError> {
        let limits = &self.config.limits;
        let translated = match self.translations.get(&statement.sql) {
            Some(translated) => translated,
            None => self.translate(statement.sql).await?,
        };
        let invalid = |reason: &str| Err(StorageError::Invalid(reason.into()));
        match kind {
            ResultKind::Rows if !translated.gives_rows => {
                return invalid("the statement gives no rows: it belongs in execute");
            }
            ResultKind::Changes if translated.gives_rows => {
                return invalid("the statement gives rows: it belongs in query");
            }
            _ => {}
        }
        if translated.parameters != statement.params.len() {
            return Err(StorageError::Invalid(format!(
                "{} parameters in the statement, {} given",
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
        Session::lend(pool, statement_deadline.saturating_add(longest_wait).saturating_add(SILENCE)).await
    }

    /// Away from the reactor: a hostile statement takes milliseconds.
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
                // It may have waited for a table that a migration has locked.
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
                // With an error, nothing of a read is left; of what was too large, the rest would still arrive.
                session.done();
            }
            if let Some(given) = ran? {
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
            let ran = session.run_and_commit(&bound).await;
            self.usage.add_sql_time(began.elapsed());
            match ran {
                Ok(Some(changed)) => {
                    session.done();
                    self.acknowledge();
                    return Ok(changed);
                }
                Ok(None) => transaction::roll_back(session).await,
                Err(error) => {
                    transaction::roll_back_after(session, &error).await;
                    Usage::count(&self.usage.rollbacks);
                    return Err(error);
                }
            }
        }
        Err(StorageError::Busy)
    }

    /// A version that a statement of the host's own gives, as the last commit of any host left it.
    async fn version(&self, asked: &str) -> Result<u32, StorageError> {
        let session = self.lend(&self.reader).await?;
        let version = session.number(asked).await?;
        session.done();
        u32::try_from(version).map_err(|_| StorageError::Unavailable(format!("its schema has the version {version}")))
    }

    /// Whether a migration of any host is under way.
    async fn is_migrating(&self) -> Result<bool, StorageError> {
        let session = self.lend(&self.reader).await?;
        let lock = self.migration_lock;
        let sql = format!("SELECT CASE WHEN pg_try_advisory_xact_lock_shared({lock}) THEN 0 ELSE 1 END::bigint");
        let is_locked = session.number(&sql).await? == 1;
        session.done();
        Ok(is_locked)
    }

    /// Tries a write that changes nothing.
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

    /// Counts a transaction that is durable.
    fn acknowledge(&self) {
        Usage::count(&self.usage.commits);
        Usage::count(&self.usage.syncs);
    }

    /// Has every connection of this host compile its statements again.
    fn forget_compiled(&self) {
        for pool in [&self.reader, &self.writer] {
            pool.manager().statement_caches.clear();
        }
    }
}

/// How long one call waits: as long as ever, and longer while migrations are under way.
struct Patience<'s> {
    shared: &'s Shared,
    began: tokio::time::Instant,
    from: tokio::time::Instant,
    permit: Option<Permit<'s>>,
}

impl<'s> Patience<'s> {
    /// Of a call that begins.
    fn new(shared: &'s Shared) -> Self {
        let now = tokio::time::Instant::now();
        Self { shared, began: now, from: now, permit: None }
    }

    /// Called when the call has waited in vain. Whether that was for a migration of this host, which has ended by then, or of
    /// another.
    async fn may_wait_longer(&mut self) -> bool {
        let Shared { migrating, config, .. } = self.shared;
        if let Some(ended) = migrating.outlast(self.began, self.from).await {
            self.from = ended;
            return true;
        }
        self.from = tokio::time::Instant::now();
        if migrating.is_running() || self.from >= self.began + config.migration_wait {
            return false;
        }
        if !self.shared.is_migrating().await.unwrap_or(false) {
            return false;
        }
        if self.permit.is_none() {
            self.permit = migrating.permit();
        }
        self.permit.is_some()
    }
}

/// The bytes of all parameters, each as often as it stands in a statement: so many a row of its result may have.
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

    fn check_additive(&self, migrations: Vec<Migration>) -> BoxFuture<'_, Result<(), NotAdditive>> {
        Box::pin(async move { migrate::check_additive(&self.0, migrations).await })
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

    fn serves_other_hosts(&self) -> bool {
        true
    }

    fn usage(&self) -> &Usage {
        &self.0.usage
    }
}
