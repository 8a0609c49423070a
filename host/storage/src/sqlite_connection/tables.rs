//! Records which tables a statement reads or changes.
//!
//! SQLite asks the authorizer about each table when it compiles a statement. That includes tables behind views, triggers and
//! cascading references, and queries without columns (`count(*)`).
//!
//! A reading connection records the tables that are read, the writing connection those that are changed. SQLite does not ask
//! again when a cached statement runs, so the tables are stored with the statement. If the schema changed, or if the plan depends
//! on a parameter, SQLite compiles the statement again during a run and asks again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rusqlite::hooks::AuthAction;

use crate::read_set::Version;

/// Tables per database that have their own version.
///
/// The number is limited because the names also come from statements.
const NAMES: usize = 4_096;

/// Statements whose tables a connection remembers before it clears its memory.
///
/// It is larger than the statement cache.
const STATEMENTS: usize = 128;

/// The versions of all tables of one database.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    /// The version of the schema, and of all tables without their own version.
    schema: Arc<Version>,
    tables: RwLock<HashMap<String, Arc<Version>>>,
}

/// The tables that the statements of one connection use.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    known: RefCell<HashMap<String, Touched>>,
    /// The version of the schema when the statements were compiled.
    compiled_at: Cell<u64>,
}

/// The versions of the tables that a statement uses, without duplicates.
pub(crate) type Touched = Arc<[Arc<Version>]>;

/// The tables that SQLite asked about since the last [`take`](Self::take).
#[derive(Debug)]
pub(crate) struct TableRecorder {
    of_changes: bool,
    anything: AtomicBool,
    names: Mutex<Vec<String>>,
}

impl Versions {
    /// The version that every read depends on and every schema change increments.
    pub(crate) fn schema(&self) -> &Arc<Version> {
        &self.schema
    }

    fn touched(&self, names: &[String]) -> Touched {
        let mut touched: Vec<Arc<Version>> = Vec::with_capacity(names.len());
        for name in names {
            let version = self.of(name);
            if !touched.iter().any(|known| Arc::ptr_eq(known, &version)) {
                touched.push(version);
            }
        }
        touched.into()
    }

    fn of(&self, name: &str) -> Arc<Version> {
        if let Some(version) = self.tables.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return version.clone();
        }
        let mut tables = self.tables.write().unwrap_or_else(PoisonError::into_inner);
        if tables.len() >= NAMES && !tables.contains_key(name) {
            return self.schema.clone();
        }
        tables.entry(name.to_owned()).or_default().clone()
    }
}

impl Tables {
    /// Whether the schema may have changed since the last call.
    ///
    /// If so, forgets all statements.
    pub(crate) fn are_outdated(&self, versions: &Versions) -> bool {
        let now = versions.schema.now();
        let outdated = self.compiled_at.replace(now) != now;
        if outdated {
            self.known.borrow_mut().clear();
        }
        outdated
    }

    /// The tables of a statement that was compiled before.
    pub(crate) fn known(&self, sql: &str) -> Option<Touched> {
        self.known.borrow().get(sql).cloned()
    }

    /// Stores the tables that SQLite asked about while it compiled a statement.
    pub(crate) fn learn(&self, sql: &str, names: &[String], versions: &Versions) -> Touched {
        let touched = versions.touched(names);
        let mut known = self.known.borrow_mut();
        if known.len() >= STATEMENTS {
            known.clear();
        }
        known.insert(sql.to_owned(), touched.clone());
        touched
    }
}

impl TableRecorder {
    /// Records changed tables if `of_changes`, else tables that are read.
    pub(crate) fn new(of_changes: bool) -> Self {
        Self { of_changes, anything: AtomicBool::new(false), names: Mutex::default() }
    }

    /// Records a question of SQLite.
    pub(crate) fn note(&self, action: &AuthAction<'_>) {
        let touched = match *action {
            AuthAction::Read { table_name, .. } => (!self.of_changes).then_some(table_name),
            AuthAction::Insert { table_name }
            | AuthAction::Update { table_name, .. }
            | AuthAction::Delete { table_name } => self.of_changes.then_some(table_name),
            AuthAction::Select => None,
            _ => return,
        };
        self.anything.store(true, Ordering::Relaxed);
        let Some(table) = touched else { return };
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        // If a statement reads no column, SQLite passes the name as the statement writes it, in any case.
        if !names.iter().any(|name| name.eq_ignore_ascii_case(table)) {
            names.push(table.to_ascii_lowercase());
        }
    }

    /// The tables recorded since the last call. `None` if SQLite compiled nothing.
    pub(crate) fn take(&self) -> Option<Vec<String>> {
        let asked = self.anything.swap(false, Ordering::Relaxed);
        let names = std::mem::take(&mut *self.names.lock().unwrap_or_else(PoisonError::into_inner));
        asked.then_some(names)
    }
}
