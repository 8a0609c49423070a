//! Which tables a statement touches, as SQLite asks the authorizer about them when it compiles the statement: those behind
//! views, triggers, references that cascade and queries without a column (`count(*)`) among them.
//!
//! A reading connection notes what is read, the writing one what is changed. A compiled statement is kept for later, and
//! SQLite asks nothing when it runs again, so the tables are kept beside it. Where the schema changed, or where the plan
//! depends on a parameter, it compiles again by itself in the middle of a run, and asks again.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use rusqlite::hooks::AuthAction;

use crate::read_set::Version;

/// Tables of one database that have a version of their own. The names also come from statements, so there is an end to them.
const NAMES: usize = 4_096;

/// Statements whose tables a connection remembers before it begins anew. More than it keeps compiled.
const STATEMENTS: usize = 128;

/// The versions of one database.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    /// Of the schema, and of the tables that have no version of their own.
    whole: Arc<Version>,
    tables: RwLock<HashMap<String, Arc<Version>>>,
}

/// What one connection knows of its statements.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    known: RefCell<HashMap<String, Touched>>,
    /// The version of the whole by which its statements were compiled.
    compiled_at: Cell<u64>,
}

/// The versions of the tables that a statement touches, each once.
pub(crate) type Touched = Arc<[Arc<Version>]>;

/// What SQLite has asked about since somebody looked.
#[derive(Debug)]
pub(crate) struct TableRecorder {
    of_changes: bool,
    anything: AtomicBool,
    names: Mutex<Vec<String>>,
}

impl Versions {
    /// What every read rests on and every change of the schema moves.
    pub(crate) fn whole(&self) -> &Arc<Version> {
        &self.whole
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
            return self.whole.clone();
        }
        tables.entry(name.to_owned()).or_default().clone()
    }
}

impl Tables {
    /// Whether the schema may have changed since this was asked last. Then nothing is known any more.
    pub(crate) fn are_outdated(&self, versions: &Versions) -> bool {
        let now = versions.whole.now();
        let outdated = self.compiled_at.replace(now) != now;
        if outdated {
            self.known.borrow_mut().clear();
        }
        outdated
    }

    /// What is known of a statement that was compiled before.
    pub(crate) fn known(&self, sql: &str) -> Option<Touched> {
        self.known.borrow().get(sql).cloned()
    }

    /// Keeps what SQLite asked about while it compiled a statement.
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
    /// For a connection that changes rows, or for one that reads them.
    pub(crate) fn new(of_changes: bool) -> Self {
        Self { of_changes, anything: AtomicBool::new(false), names: Mutex::default() }
    }

    /// Notes a question of SQLite's.
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
        // As it stands in the statement where no column is read, and SQLite takes it in any case.
        if !names.iter().any(|name| name.eq_ignore_ascii_case(table)) {
            names.push(table.to_ascii_lowercase());
        }
    }

    /// The tables it has asked about since the last look. None if it compiled nothing.
    pub(crate) fn take(&self) -> Option<Vec<String>> {
        let asked = self.anything.swap(false, Ordering::Relaxed);
        let names = std::mem::take(&mut *self.names.lock().unwrap_or_else(PoisonError::into_inner));
        asked.then_some(names)
    }
}
