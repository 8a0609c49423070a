//! Queries outside a transaction: short ones inline, others on blocking threads.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::statement::{self, Prepared};
use crate::priority;
use crate::read_set::ReadSet;
use crate::sqlite_connection::{Blueprint, Connection, Role};
use crate::table::{self, Column, Table};
use crate::{Rows, Statement, StorageError, Usage};

/// Rows and their read set.
type Read = Result<(Rows, Option<ReadSet>), StorageError>;

/// The columns of all tables. Hidden ones of generated columns count, too.
const TABLES: &str = "SELECT t.name, c.name, c.type, c.pk FROM sqlite_schema t, pragma_table_xinfo(t.name) c
    WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY t.name, c.cid LIMIT ?1";

/// How many slow statements are remembered before the memory is cleared.
const SLOW_STATEMENTS: usize = 1_024;

/// The reading side of a database.
pub(super) struct Readers {
    blueprint: Arc<Blueprint>,
    usage: Arc<Usage>,
    inline: Pool,
    blocking: Pool,
    permits: Arc<Semaphore>,
    slow: Slow,
}

/// Idle connections. The last used one is on top, because its page cache is warm.
struct Pool {
    role: Role,
    idle: Mutex<Vec<Connection>>,
}

/// Statements that must not run inline, stored as hashes of their texts.
///
/// A collision only costs a change of threads.
struct Slow {
    any: AtomicBool,
    reasons: RwLock<HashMap<u64, Reason>>,
    hasher: RandomState,
}

/// Why a statement runs on a blocking thread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reason {
    /// One of its functions can take long in one call, which SQLite cannot interrupt.
    Heavy,
    /// It exceeded the inline budget in its last run.
    ///
    /// If a later run is fast, the next one is inline again.
    Late,
}

impl Readers {
    /// Makes the readers of a database. `first` is an open inline connection.
    pub(super) fn new(blueprint: Arc<Blueprint>, usage: Arc<Usage>, first: Connection) -> Self {
        Self {
            usage,
            inline: Pool { role: Role::Inline, idle: Mutex::new(vec![first]) },
            blocking: Pool { role: Role::Blocking, idle: Mutex::default() },
            permits: Arc::new(Semaphore::new(blueprint.config.long_queries)),
            slow: Slow { any: AtomicBool::new(false), reasons: RwLock::default(), hasher: RandomState::new() },
            blueprint,
        }
    }

    /// Runs a query on this thread. Returns `None` if it must run on a blocking thread.
    pub(super) fn query_inline(&self, statement: &Statement) -> Option<Read> {
        if self.slow.contains(&statement.sql) {
            return None;
        }
        let budget = self.blueprint.config.inline_budget;
        let result = self.inline.with(&self.blueprint, |connection| {
            let began = Instant::now();
            let result = self.attempt(connection, statement, began + budget);
            let spent = began.elapsed();
            self.usage.add_sql_time(spent);
            if spent > budget {
                self.slow.insert(&statement.sql, Reason::Late);
            }
            result
        });
        match result {
            // Busy: another connection holds a lock for a moment, and only a blocking thread has time to wait. Too large: the
            // inline limits are lower than the statement's limits.
            Err(StorageError::TimedOut | StorageError::Busy | StorageError::TooLarge(_)) => None,
            result => Some(result),
        }
    }

    fn attempt(&self, connection: &Connection, statement: &Statement, until: Instant) -> Read {
        let (limits, versions) = (&self.blueprint.config.limits, &self.blueprint.versions);
        let mut prepared = connection.until(until, || Prepared::new(connection, statement, versions, limits))?;
        if prepared.heavy() {
            prepared.discard();
            self.slow.insert(&statement.sql, Reason::Heavy);
            return Err(StorageError::TimedOut);
        }
        statement::read(connection, &mut prepared, versions, until, limits)
    }

    /// Runs a query on a blocking thread, with the full deadline.
    ///
    /// First waits for a permit.
    pub(super) async fn query_blocking(readers: &Arc<Self>, statement: Statement) -> Read {
        Usage::count(&readers.usage.long_queries);
        let permit = timeout(readers.blueprint.config.longest_wait, readers.permits.clone().acquire_owned()).await;
        let Ok(Ok(permit)) = permit else {
            Usage::count(&readers.usage.refusals);
            return Err(StorageError::Busy);
        };
        let owner = readers.clone();
        let work = tokio::task::spawn_blocking(move || {
            // The permit belongs to the work, because the thread stays busy even if the caller stops waiting.
            let _permit = permit;
            // Threads that answer requests should not wait for this thread's time slice. It still gets its full share.
            let _ = priority::lower(0);
            owner.query_to_deadline(&statement)
        });
        work.await.unwrap_or_else(|error| Err(StorageError::Unavailable(error.to_string())))
    }

    fn query_to_deadline(&self, statement: &Statement) -> Read {
        let (config, versions) = (&self.blueprint.config, &self.blueprint.versions);
        self.blocking.with(&self.blueprint, |connection| {
            let began = Instant::now();
            let until = began + config.statement_deadline;
            let mut prepared =
                connection.until(until, || Prepared::new(connection, statement, versions, &config.limits))?;
            let result = statement::read(connection, &mut prepared, versions, until, &config.limits);
            let spent = began.elapsed();
            self.usage.add_sql_time(spent);
            if spent < config.inline_budget {
                self.slow.allow_inline_again(&statement.sql);
            }
            result
        })
    }

    /// Marks a statement as slow in its last run.
    #[cfg(test)]
    pub(super) fn mark_late(&self, sql: &str) {
        self.slow.insert(sql, Reason::Late);
    }

    /// The tables of the service after the last commit.
    pub(super) fn tables(&self) -> Result<Vec<Table>, StorageError> {
        self.inline.with(&self.blueprint, |connection| {
            let read = || {
                let mut statement = connection.raw.prepare(TABLES)?;
                let columns = statement.query_map([table::MOST_COLUMNS], |row| {
                    Ok((row.get(0)?, Column { name: row.get(1)?, kind: row.get(2)?, key: row.get(3)? }))
                })?;
                Ok(table::collect(columns.collect::<rusqlite::Result<Vec<_>>>()?))
            };
            connection.policy.as_host(read).map_err(|error: rusqlite::Error| connection.translate(&error))
        })
    }

    /// The version of the schema after the last commit.
    pub(super) fn schema_version(&self) -> Result<u32, StorageError> {
        self.inline.with(&self.blueprint, |connection| {
            let read = || connection.raw.query_row("PRAGMA user_version", [], |row| row.get(0));
            connection.policy.as_host(read).map_err(|error| connection.translate(&error))
        })
    }
}

impl Pool {
    /// Lends a connection.
    ///
    /// Closes the connection instead of keeping it if the database was unavailable or the work panicked.
    fn with<T>(
        &self,
        blueprint: &Blueprint,
        work: impl FnOnce(&Connection) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let idle = self.idle().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => blueprint.open(self.role)?,
        };
        let result = work(&connection);
        if !matches!(result, Err(StorageError::Unavailable(_))) {
            let mut idle = self.idle();
            if idle.len() < blueprint.config.idle_readers {
                idle.push(connection);
            }
        }
        result
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slow {
    fn contains(&self, sql: &str) -> bool {
        self.any.load(Ordering::Relaxed)
            && self.reasons.read().unwrap_or_else(PoisonError::into_inner).contains_key(&self.hasher.hash_one(sql))
    }

    fn insert(&self, sql: &str, reason: Reason) {
        let mut reasons = self.reasons.write().unwrap_or_else(PoisonError::into_inner);
        if reasons.len() >= SLOW_STATEMENTS {
            reasons.clear();
        }
        reasons.entry(self.hasher.hash_one(sql)).or_insert(reason);
        self.any.store(true, Ordering::Relaxed);
    }

    fn allow_inline_again(&self, sql: &str) {
        let mut reasons = self.reasons.write().unwrap_or_else(PoisonError::into_inner);
        let hash = self.hasher.hash_one(sql);
        if reasons.get(&hash) == Some(&Reason::Late) {
            reasons.remove(&hash);
            self.any.store(!reasons.is_empty(), Ordering::Relaxed);
        }
    }
}
