//! A group: the outer transaction that many transactions of a service share.

use std::sync::Arc;
use std::time::Instant;

use rusqlite::Statement as HostStatement;

use crate::read_set::{Commit, Version};
use crate::sqlite::statement::Prepared;
use crate::sqlite_connection::{Blueprint, Connection};
use crate::{Statement, StorageError, Usage};

/// With fewer free pages than this, the database counts as full.
///
/// Even a small write may need a page in each table and index.
const FEWEST_PAGES: i64 = 8;

/// Tells the owner of a transaction whether the group was committed.
type Acknowledgement = Box<dyn FnOnce(&Result<(), StorageError>) + Send>;

/// The writing connection, with its open group if there is one.
///
/// Between two calls, `open` tells whether the outer transaction is open. A member waits in `members` from the end of its own
/// work to the outer commit. Members leave only through [`commit`](Self::commit) or [`abandon`](Self::abandon). So each is
/// answered once, and with success only after the commit.
pub(super) struct Group<'c> {
    connection: &'c Connection,
    blueprint: &'c Blueprint,
    usage: &'c Usage,
    host: HostSql<'c>,
    members: Vec<Acknowledgement>,
    /// The tables that the members changed.
    changed: Vec<Arc<Version>>,
    /// The tables that the running transaction has changed so far.
    changing: Vec<Arc<Version>>,
    began: Instant,
    open: bool,
    /// The schema has deferred foreign keys, which SQLite checks at the commit.
    ///
    /// So each transaction needs its own commit.
    one_member_only: bool,
    broken: bool,
}

/// The host's own statements.
///
/// They are prepared outside the statement cache, because a guest's statement with the same text would find them there.
struct HostSql<'c> {
    begin: HostStatement<'c>,
    commit: HostStatement<'c>,
    rollback: HostStatement<'c>,
    transaction: Savepoint<'c>,
    step: Savepoint<'c>,
}

struct Savepoint<'c> {
    set: HostStatement<'c>,
    undo: HostStatement<'c>,
    release: HostStatement<'c>,
}

impl<'c> Group<'c> {
    /// Makes a writing connection without a group.
    ///
    /// Only the writer may use the connection.
    pub(super) fn new(
        connection: &'c Connection,
        blueprint: &'c Blueprint,
        usage: &'c Usage,
    ) -> Result<Self, StorageError> {
        let host =
            connection.policy.as_host(|| HostSql::new(connection)).map_err(|error| connection.translate(&error))?;
        let mut group = Self {
            connection,
            blueprint,
            usage,
            host,
            members: Vec::new(),
            changed: Vec::new(),
            changing: Vec::new(),
            began: Instant::now(),
            open: false,
            one_member_only: false,
            broken: false,
        };
        group.read_schema()?;
        Ok(group)
    }

    /// Checks whether the schema has deferred foreign keys.
    ///
    /// Must be called after schema changes.
    pub(super) fn read_schema(&mut self) -> Result<(), StorageError> {
        // Any mention of the word counts. A false positive only costs speed.
        const DEFERS: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE sql LIKE '%deferrable%')";
        let connection = self.connection;
        let defers = connection.policy.as_host(|| connection.raw.query_row(DEFERS, [], |row| row.get(0)));
        self.one_member_only = defers.map_err(|error| connection.translate(&error))?;
        Ok(())
    }

    /// Checks that a write succeeds and that there is space for more.
    ///
    /// Must be called between groups.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        let connection = self.connection;
        let number = |pragma: &str| connection.raw.query_row(pragma, [], |row| row.get::<_, i64>(0));
        let is_full = || -> rusqlite::Result<bool> {
            let version = number("PRAGMA user_version")?;
            // Writes the first page of the file, even if the version is the same.
            connection.raw.execute_batch(&format!("PRAGMA user_version = {version}"))?;
            let most = number("PRAGMA max_page_count")?;
            let free = most - number("PRAGMA page_count")? + number("PRAGMA freelist_count")?;
            Ok(free < (most / 64).clamp(1, FEWEST_PAGES))
        };
        if connection.policy.as_host(is_full).map_err(|error| connection.translate(&error))? {
            let full = "it has reached its maximum size: raise `limits.database`, or delete rows";
            return Err(StorageError::Unavailable(full.into()));
        }
        Ok(())
    }

    /// Whether another transaction may join before the commit.
    pub(super) fn has_room(&self) -> bool {
        !self.one_member_only
            && self.members.len() < self.blueprint.config.group_size
            && self.began.elapsed() < self.blueprint.config.group_window
    }

    /// Whether members wait for the commit.
    pub(super) fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    /// When the group should be committed, even if others could still join.
    pub(super) fn commit_due(&self) -> Instant {
        self.began + self.blueprint.config.group_window
    }

    /// Whether a rollback failed, so that the connection must be closed.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether the outer transaction is open. If not, its members have already failed.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Begins the outer transaction if it is not open.
    pub(super) fn open(&mut self) -> Result<(), StorageError> {
        if self.open {
            return Ok(());
        }
        self.run_host_sql(|host| &mut host.begin)?;
        self.open = true;
        self.began = Instant::now();
        Ok(())
    }

    /// Commits the group and acknowledges its members.
    ///
    /// If that fails, the members get the error.
    pub(super) fn commit(&mut self) {
        if !self.open {
            return;
        }
        let commit = Commit::begin(std::mem::take(&mut self.changed));
        let committed = self.run_host_sql(|host| &mut host.commit);
        // Before the acknowledgements, so that reads after them see the changes.
        drop(commit);
        match committed {
            Ok(()) => {
                self.open = false;
                Usage::count(&self.usage.syncs);
                for acknowledge in self.members.drain(..) {
                    acknowledge(&Ok(()));
                }
            }
            Err(error) => self.abandon(&error),
        }
    }

    /// Adds a finished transaction.
    ///
    /// It is acknowledged when the group is committed or abandoned.
    pub(super) fn join(&mut self, acknowledge: impl FnOnce(&Result<(), StorageError>) + Send + 'static) {
        debug_assert!(self.open, "the members of an abandoned group were already answered");
        for version in self.changing.drain(..) {
            if !self.changed.iter().any(|known| Arc::ptr_eq(known, &version)) {
                self.changed.push(version);
            }
        }
        self.members.push(Box::new(acknowledge));
    }

    /// Sets the savepoint of a transaction.
    pub(super) fn set_savepoint(&mut self) -> Result<(), StorageError> {
        self.run_host_sql(|host| &mut host.transaction.set).inspect_err(|error| self.abandon(error))
    }

    /// Releases the savepoint of a transaction. Its changes are not durable yet.
    pub(super) fn release_savepoint(&mut self) -> Result<(), StorageError> {
        self.run_host_sql(|host| &mut host.transaction.release).inspect_err(|error| self.abandon(error))
    }

    /// Rolls back a transaction to its savepoint.
    pub(super) fn roll_back_to_savepoint(&mut self) {
        self.changing.clear();
        if !self.open {
            return;
        }
        let undone = self
            .run_host_sql(|host| &mut host.transaction.undo)
            .and_then(|()| self.run_host_sql(|host| &mut host.transaction.release));
        if let Err(error) = undone {
            self.abandon(&error);
        }
    }

    /// Commits the group before a running transaction that has not written yet.
    ///
    /// The transaction continues in a new group.
    pub(super) fn commit_before(&mut self) -> Result<(), StorageError> {
        self.release_savepoint()?;
        self.commit();
        self.open()?;
        self.set_savepoint()
    }

    /// Runs one statement of a guest, with a deadline.
    ///
    /// If it returns an error, it had no effect.
    ///
    /// Sets `wrote` before the statement may change anything.
    pub(super) fn run<T>(
        &mut self,
        statement: &Statement,
        until: Instant,
        wrote: &mut bool,
        work: impl FnOnce(&mut Prepared<'_>) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let (connection, versions, limits) = (self.connection, &self.blueprint.versions, &self.blueprint.config.limits);
        let began = Instant::now();
        let compiled = connection.until(until, || Prepared::new(connection, statement, versions, limits));
        let result = match compiled {
            Ok(mut prepared) if prepared.writes() => {
                *wrote = true;
                let ran = self.run_in_savepoint(|| {
                    connection.until(until, move || Ok((work(&mut prepared)?, prepared.touched(versions))))
                });
                ran.map(|(result, touched)| {
                    self.changing.extend_from_slice(&touched);
                    result
                })
            }
            Ok(mut prepared) => connection.until(until, || work(&mut prepared)),
            Err(error) => Err(error),
        };
        self.usage.add_sql_time(began.elapsed());
        if let Err(error) = &result {
            self.check_still_open(error);
        }
        result
    }

    fn run_in_savepoint<T>(&mut self, work: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
        self.run_host_sql(|host| &mut host.step.set)?;
        let result = work();
        if result.is_err() && !self.connection.raw.is_autocommit() {
            self.run_host_sql(|host| &mut host.step.undo).inspect_err(|error| self.abandon(error))?;
        }
        if !self.connection.raw.is_autocommit() {
            self.run_host_sql(|host| &mut host.step.release).inspect_err(|error| self.abandon(error))?;
        }
        result
    }

    /// Checks whether an error ended the outer transaction.
    fn check_still_open(&mut self, error: &StorageError) {
        if self.open && self.connection.raw.is_autocommit() {
            // The other members caused no error. They should try again, unless the database itself is unavailable.
            let cause = match error {
                StorageError::Unavailable(_) => error.clone(),
                _ => StorageError::Busy,
            };
            self.abandon(&cause);
        }
    }

    /// Rolls back the group and tells every member the cause.
    fn abandon(&mut self, cause: &StorageError) {
        if !self.connection.raw.is_autocommit() {
            self.broken |= self.run_host_sql(|host| &mut host.rollback).is_err();
        }
        self.open = false;
        self.changed.clear();
        self.changing.clear();
        // The commit failed because of a deferred reference. If the member is alone, it caused the error.
        let told = match cause {
            StorageError::Constraint(_) if self.members.len() > 1 => StorageError::Busy,
            cause => cause.clone(),
        };
        for acknowledge in self.members.drain(..) {
            acknowledge(&Err(told.clone()));
        }
    }

    fn run_host_sql(
        &mut self,
        choose: impl for<'h> FnOnce(&'h mut HostSql<'c>) -> &'h mut HostStatement<'c>,
    ) -> Result<(), StorageError> {
        let connection = self.connection;
        let statement = choose(&mut self.host);
        let ran = connection.policy.as_host(|| statement.raw_execute());
        ran.map(drop).map_err(|error| connection.translate(&error))
    }
}

impl<'c> HostSql<'c> {
    fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        let prepare = |sql: &str| connection.raw.prepare(sql);
        let savepoint = |name: &str| {
            Ok::<_, rusqlite::Error>(Savepoint {
                set: prepare(&format!("SAVEPOINT {name}"))?,
                undo: prepare(&format!("ROLLBACK TO {name}"))?,
                release: prepare(&format!("RELEASE {name}"))?,
            })
        };
        Ok(Self {
            begin: prepare("BEGIN IMMEDIATE")?,
            commit: prepare("COMMIT")?,
            rollback: prepare("ROLLBACK")?,
            transaction: savepoint("guest")?,
            step: savepoint("step")?,
        })
    }
}
