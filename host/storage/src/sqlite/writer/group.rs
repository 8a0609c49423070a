//! A group: the outer transaction that many transactions of a service share, and what survives which error.

use std::sync::Arc;
use std::time::Instant;

use rusqlite::Statement as HostStatement;

use crate::read_set::{Commit, Version};
use crate::sqlite::statement::Prepared;
use crate::sqlite_connection::{Blueprint, Connection};
use crate::{Statement, StorageError, Usage};

/// With fewer pages left, a database is taken for full: a write of a few rows takes some in each table and index.
const FEWEST_PAGES: i64 = 8;

/// Tells the owner of a transaction what became of the group.
type Acknowledgement = Box<dyn FnOnce(&Result<(), StorageError>) + Send>;

/// The writing connection with the group that is under way on it, if any.
///
/// Between two calls, `open` says whether SQLite is inside the outer transaction. Members wait in `members` from the end
/// of their own work to the outer commit; they leave only through [`commit`](Self::commit) or [`abandon`](Self::abandon), so
/// each is answered once, and with success only after the commit.
pub(super) struct Group<'c> {
    connection: &'c Connection,
    blueprint: &'c Blueprint,
    usage: &'c Usage,
    host: HostSql<'c>,
    members: Vec<Acknowledgement>,
    /// The tables that the members changed.
    changed: Vec<Arc<Version>>,
    /// Those that the transaction under way has changed so far.
    changing: Vec<Arc<Version>>,
    began: Instant,
    open: bool,
    /// The schema defers foreign keys to the commit, so each transaction needs a commit of its own.
    one_member_only: bool,
    broken: bool,
}

/// The host's own statements. They are not in the statement cache, where a guest's equal text would find them.
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
    /// No group yet, on a connection that is the writer's alone.
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

    /// Looks whether the schema defers foreign keys. To be called when the schema changed.
    pub(super) fn read_schema(&mut self) -> Result<(), StorageError> {
        // Any mention counts: one too many costs speed alone.
        const DEFERS: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE sql LIKE '%deferrable%')";
        let connection = self.connection;
        let defers = connection.policy.as_host(|| connection.raw.query_row(DEFERS, [], |row| row.get(0)));
        self.one_member_only = defers.map_err(|error| connection.translate(&error))?;
        Ok(())
    }

    /// Tries a write of its own that changes nothing, and looks whether there is room for another. To be called between groups.
    pub(super) fn check(&self) -> Result<(), StorageError> {
        let connection = self.connection;
        let number = |pragma: &str| connection.raw.query_row(pragma, [], |row| row.get::<_, i64>(0));
        let is_full = || -> rusqlite::Result<bool> {
            let version = number("PRAGMA user_version")?;
            // Writes the first page of the file whatever the version was.
            connection.raw.execute_batch(&format!("PRAGMA user_version = {version}"))?;
            let most = number("PRAGMA max_page_count")?;
            let free = most - number("PRAGMA page_count")? + number("PRAGMA freelist_count")?;
            Ok(free < (most / 64).clamp(1, FEWEST_PAGES))
        };
        if connection.policy.as_host(is_full).map_err(|error| connection.translate(&error))? {
            let full = "it is as large as it may be: raise `limits.database`, or delete some of its rows";
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

    /// Whether an acknowledgement waits for the commit.
    pub(super) fn has_members(&self) -> bool {
        !self.members.is_empty()
    }

    /// When those who wait have waited long enough for others to join.
    pub(super) fn commit_due(&self) -> Instant {
        self.began + self.blueprint.config.group_window
    }

    /// Whether the connection can no longer be trusted.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether the outer transaction is there. Members and their work are lost when it is not.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Begins the outer transaction, unless it is under way.
    pub(super) fn open(&mut self) -> Result<(), StorageError> {
        if self.open {
            return Ok(());
        }
        self.host_step(|host| &mut host.begin)?;
        self.open = true;
        self.began = Instant::now();
        Ok(())
    }

    /// Makes the group durable, then tells its members; or undoes it and tells them that.
    pub(super) fn commit(&mut self) {
        if !self.open {
            return;
        }
        let commit = Commit::begin(std::mem::take(&mut self.changed));
        let committed = self.host_step(|host| &mut host.commit);
        // Before anybody is told: whoever asks afterwards is given what was written.
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

    /// Adds a transaction whose work is done. It is told when the group is settled.
    pub(super) fn join(&mut self, acknowledge: impl FnOnce(&Result<(), StorageError>) + Send + 'static) {
        debug_assert!(self.open, "a member of a lost group has been told");
        for version in self.changing.drain(..) {
            if !self.changed.iter().any(|known| Arc::ptr_eq(known, &version)) {
                self.changed.push(version);
            }
        }
        self.members.push(Box::new(acknowledge));
    }

    /// Opens the savepoint of a transaction.
    pub(super) fn enter(&mut self) -> Result<(), StorageError> {
        self.host_step(|host| &mut host.transaction.set).inspect_err(|error| self.abandon(error))
    }

    /// Keeps what the transaction did. It is not durable yet.
    pub(super) fn keep(&mut self) -> Result<(), StorageError> {
        self.host_step(|host| &mut host.transaction.release).inspect_err(|error| self.abandon(error))
    }

    /// Undoes what the transaction did.
    pub(super) fn undo(&mut self) {
        self.changing.clear();
        if !self.open {
            return;
        }
        let undone = self
            .host_step(|host| &mut host.transaction.undo)
            .and_then(|()| self.host_step(|host| &mut host.transaction.release));
        if let Err(error) = undone {
            self.abandon(&error);
        }
    }

    /// Commits what waits beneath a transaction that has written nothing, and puts that onto a new group.
    pub(super) fn commit_beneath(&mut self) -> Result<(), StorageError> {
        self.keep()?;
        self.commit();
        self.open()?;
        self.enter()
    }

    /// Runs one statement of a guest until a moment. If it gives an error, it had no effect.
    ///
    /// `wrote` becomes true before the statement may change anything.
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
                let ran = self.run_undoably(|| {
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

    fn run_undoably<T>(&mut self, work: impl FnOnce() -> Result<T, StorageError>) -> Result<T, StorageError> {
        self.host_step(|host| &mut host.step.set)?;
        let result = work();
        if result.is_err() && !self.connection.raw.is_autocommit() {
            self.host_step(|host| &mut host.step.undo).inspect_err(|error| self.abandon(error))?;
        }
        if !self.connection.raw.is_autocommit() {
            self.host_step(|host| &mut host.step.release).inspect_err(|error| self.abandon(error))?;
        }
        result
    }

    /// Finds out whether an error took the outer transaction with it.
    fn check_still_open(&mut self, error: &StorageError) {
        if self.open && self.connection.raw.is_autocommit() {
            // The others did nothing wrong. Unless the database itself is at fault, trying again is right for them.
            let cause = match error {
                StorageError::Unavailable(_) => error.clone(),
                _ => StorageError::Busy,
            };
            self.abandon(&cause);
        }
    }

    /// Gives up the group: nothing of it is kept, and every member is told.
    fn abandon(&mut self, cause: &StorageError) {
        if !self.connection.raw.is_autocommit() {
            self.broken |= self.host_step(|host| &mut host.rollback).is_err();
        }
        self.open = false;
        self.changed.clear();
        self.changing.clear();
        // A commit refused for a deferred reference: alone in its group, the member is the one at fault.
        let told = match cause {
            StorageError::Constraint(_) if self.members.len() > 1 => StorageError::Busy,
            cause => cause.clone(),
        };
        for acknowledge in self.members.drain(..) {
            acknowledge(&Err(told.clone()));
        }
    }

    fn host_step(
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
