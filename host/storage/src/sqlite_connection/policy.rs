//! What SQL of a service may do: a list of what is allowed, and nothing else is.
//!
//! SQLite asks this page about every table, column and function when it compiles a statement, triggers and views
//! included. Invariants:
//!
//! - A guest reads and changes rows of its own tables. It names no schema object, no setting, no file, no other database.
//! - Functions depend on their arguments alone. There is no clock and no randomness, so a query's answer depends on its
//!   parameters and the rows; also nothing that another statement left behind on the connection.
//! - Nothing interrupts SQLite within a call, nor between calls that no loop separates. So there is no function whose one
//!   call takes the product of two lengths (`instr`, `replace`, `trim`, `unhex`, `json_patch`: minutes, for a mebibyte each),
//!   a statement has only so many calls, and few of LIKE and GLOB, whose patterns are short.
//! - The state a connection starts in is the guest's. The host opens it for its own statements and closes it again.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::SqliteLimits;
use crate::StorageError;

/// Whose statements a connection compiles.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Author {
    /// A service, at run time.
    Guest = 0,
    /// A service's migration: data statements and the schema.
    Migration = 1,
    /// This crate.
    Host = 2,
}

/// The judge of one connection, shared between the connection and SQLite's callback.
#[derive(Debug)]
pub(crate) struct Policy {
    author: AtomicU8,
    refused: Mutex<Option<StorageError>>,
    /// Calls of functions in the statement that is being compiled, and of heavy ones among them.
    functions: AtomicU32,
    patterns: AtomicU32,
    most_functions: u32,
    most_patterns: u32,
    /// Table-valued functions of this SQLite that a service may not read.
    modules: HashSet<String>,
}

/// Names, between blanks.
type Names = &'static str;

/// Functions that take time in proportion to their arguments at most.
const LIGHT: Names = "
    abs ceil ceiling char coalesce concat concat_ws floor format hex if ifnull iif length likelihood likely lower max min
    nullif octet_length printf quote round sign substr substring subtype trunc typeof unicode unistr unlikely upper zeroblob

    acos acosh asin asinh atan atan2 atanh cos cosh degrees exp ln log log10 log2 mod pi pow power radians sin sinh sqrt
    tan tanh

    avg count cume_dist dense_rank first_value group_concat lag last_value lead nth_value ntile percent_rank rank
    row_number string_agg sum total

    -> ->> json json_array json_array_insert json_array_length json_error_position json_extract json_group_array
    json_group_object json_insert json_object json_pretty json_quote json_remove json_replace json_set json_type
    json_valid jsonb jsonb_array jsonb_array_insert jsonb_extract jsonb_group_array jsonb_group_object jsonb_insert
    jsonb_object jsonb_remove jsonb_replace jsonb_set";

/// Functions that take the product of their text and their pattern. They never run on a caller's thread.
const HEAVY: Names = "glob like";

/// Functions that SQLite's own ALTER TABLE calls. It lets no statement call them directly.
const ALTER: Names = "
    sqlite_add_constraint sqlite_drop_column sqlite_drop_constraint sqlite_fail sqlite_find_constraint
    sqlite_rename_column sqlite_rename_quotefix sqlite_rename_table sqlite_rename_test";

/// Table-valued functions that a service may read.
const READABLE_MODULES: Names = "json_each json_tree";

impl Policy {
    /// A policy that knows the table-valued functions of the linked SQLite.
    pub(crate) fn new(author: Author, modules: impl IntoIterator<Item = String>, limits: &SqliteLimits) -> Self {
        let readable = |module: &String| find(READABLE_MODULES, module).is_some();
        Self {
            author: AtomicU8::new(author as u8),
            refused: Mutex::new(None),
            functions: AtomicU32::new(0),
            patterns: AtomicU32::new(0),
            most_functions: limits.functions,
            most_patterns: limits.patterns,
            modules: modules.into_iter().map(|name| name.to_ascii_lowercase()).filter(|name| !readable(name)).collect(),
        }
    }

    /// Runs the host's own SQL, which no rule holds for.
    pub(crate) fn as_host<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.author.swap(Author::Host as u8, Ordering::Relaxed);
        let result = work();
        self.author.store(before, Ordering::Relaxed);
        result
    }

    /// Why something was refused since the last call.
    pub(crate) fn take_refusal(&self) -> Option<StorageError> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Begins to count the calls of another statement. Tells whether there was a heavy one in the last.
    pub(crate) fn take_heavy(&self) -> bool {
        self.functions.store(0, Ordering::Relaxed);
        self.patterns.swap(0, Ordering::Relaxed) > 0
    }

    /// The answer to SQLite's question about one action.
    pub(crate) fn judge(&self, context: &AuthContext<'_>) -> Authorization {
        let author = self.author.load(Ordering::Relaxed);
        if author == Author::Host as u8 {
            return Authorization::Allow;
        }
        let migration = author == Author::Migration as u8;
        let database = match context.action {
            // Where other actions have the database, this one has a column.
            AuthAction::AlterTable { database_name, .. } => Some(database_name),
            _ => context.database_name,
        };
        let own = matches!(database, None | Some("main"));
        let allowed = own && self.allows_data(&context.action, migration)
            || migration && (own && allows_schema(&context.action) || renames_temporary(&context.action));
        if allowed {
            return Authorization::Allow;
        }
        self.refuse(|| StorageError::Denied(describe(&context.action)));
        Authorization::Deny
    }

    /// Keeps the first reason: others follow from it.
    fn refuse(&self, reason: impl FnOnce() -> StorageError) {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(reason);
    }

    fn allows_data(&self, action: &AuthAction<'_>, migration: bool) -> bool {
        match *action {
            AuthAction::Select | AuthAction::Recursive => true,
            AuthAction::Read { table_name, .. }
            | AuthAction::Insert { table_name }
            | AuthAction::Update { table_name, .. }
            | AuthAction::Delete { table_name } => self.allows_table(table_name, migration),
            AuthAction::Function { function_name } => self.allows_function(function_name, migration),
            _ => false,
        }
    }

    /// The tables of SQLite itself are written when the schema changes; it lets no statement write them directly.
    fn allows_table(&self, name: &str, migration: bool) -> bool {
        let name = name.to_ascii_lowercase();
        if name.starts_with("sqlite_") || name == "pragma_quick_check" {
            return migration;
        }
        !name.starts_with("pragma_") && !self.modules.contains(&name)
    }

    fn allows_function(&self, name: &str, migration: bool) -> bool {
        let heavy = find(HEAVY, name).is_some();
        let functions = self.functions.fetch_add(1, Ordering::Relaxed);
        let patterns = self.patterns.fetch_add(u32::from(heavy), Ordering::Relaxed);
        if functions >= self.most_functions && !migration {
            self.refuse(|| StorageError::TooLarge(format!("more than {} calls of functions", self.most_functions)));
            return false;
        }
        if heavy && patterns >= self.most_patterns && !migration {
            self.refuse(|| StorageError::TooLarge(format!("more than {} times LIKE or GLOB", self.most_patterns)));
            return false;
        }
        heavy || find(LIGHT, name).is_some() || migration && find(ALTER, name).is_some()
    }
}

fn find(names: Names, name: &str) -> Option<&'static str> {
    names.split_ascii_whitespace().find(|known| known.eq_ignore_ascii_case(name))
}

/// What a migration may do beyond data. No virtual tables: their modules bring SQL of their own.
fn allows_schema(action: &AuthAction<'_>) -> bool {
    match *action {
        AuthAction::CreateTable { .. }
        | AuthAction::CreateIndex { .. }
        | AuthAction::CreateTrigger { .. }
        | AuthAction::CreateView { .. }
        | AuthAction::DropTable { .. }
        | AuthAction::DropIndex { .. }
        | AuthAction::DropTrigger { .. }
        | AuthAction::DropView { .. }
        | AuthAction::AlterTable { .. }
        | AuthAction::Reindex { .. }
        | AuthAction::Analyze { .. } => true,
        // ALTER TABLE checks the rows against a new constraint this way.
        AuthAction::Pragma { pragma_name, .. } => pragma_name.eq_ignore_ascii_case("quick_check"),
        _ => false,
    }
}

/// ALTER TABLE renames in temporary objects too. There are none.
fn renames_temporary(action: &AuthAction<'_>) -> bool {
    const TABLE: &str = "sqlite_temp_master";
    matches!(action, AuthAction::Read { table_name: TABLE, .. } | AuthAction::Update { table_name: TABLE, .. })
}

/// An action in words that complete "a service may not use …".
fn describe(action: &AuthAction<'_>) -> String {
    match *action {
        AuthAction::Function { function_name } => format!("the function {function_name}"),
        AuthAction::Read { table_name, .. } => format!("the table {table_name}"),
        AuthAction::Insert { table_name } => format!("INSERT on {table_name}"),
        AuthAction::Update { table_name, .. } => format!("UPDATE on {table_name}"),
        AuthAction::Delete { table_name } => format!("DELETE on {table_name}"),
        AuthAction::Pragma { pragma_name, .. } => format!("PRAGMA {pragma_name}"),
        AuthAction::Attach { .. } | AuthAction::Unknown { code: rusqlite::ffi::SQLITE_ATTACH, .. } => "ATTACH".into(),
        AuthAction::Detach { .. } | AuthAction::Unknown { code: rusqlite::ffi::SQLITE_DETACH, .. } => "DETACH".into(),
        AuthAction::Transaction { .. } => "statements that begin or end a transaction".into(),
        AuthAction::Savepoint { .. } => "savepoints".into(),
        AuthAction::CreateVtable { module_name, .. } => format!("virtual tables ({module_name})"),
        AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => "temporary objects".into(),
        _ => "statements that change the schema".into(),
    }
}
