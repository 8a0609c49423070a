//! What a service's SQL may do. Everything that is not listed here is refused.
//!
//! When SQLite compiles a statement, it asks this policy about every table, column and function, including those in triggers and
//! views. Invariants:
//!
//! - A guest reads and changes only rows of its own tables. It cannot name schema objects, settings, files or other databases.
//! - Functions depend only on their arguments, not on the clock, on randomness or on earlier statements of the connection. So a
//!   query's result depends only on its parameters and on the rows.
//! - SQLite cannot be interrupted within a function call, nor between calls outside of a loop. So functions whose time grows with
//!   the product of two lengths are refused (`instr`, `replace`, `trim`, `unhex`, `json_patch` take minutes for one mebibyte
//!   each). The number of calls per statement is limited. LIKE and GLOB have lower limits and short patterns.
//! - A connection starts under the guest's rules. The host lifts them only while it runs its own statements.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::SqliteLimits;
use crate::StorageError;

/// The author of the statements that a connection compiles.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(crate) enum Author {
    /// A service, at run time.
    Guest = 0,
    /// A service's migration, which may also change the schema.
    Migration = 1,
    /// This crate, without rules.
    Host = 2,
}

/// Decides what one connection may do.
///
/// The connection and SQLite's callback share it.
#[derive(Debug)]
pub(crate) struct Policy {
    author: AtomicU8,
    refused: Mutex<Option<StorageError>>,
    /// Function calls in the statement that SQLite is compiling.
    ///
    /// `patterns` counts LIKE and GLOB.
    functions: AtomicU32,
    patterns: AtomicU32,
    most_functions: u32,
    most_patterns: u32,
    /// Table-valued functions of this SQLite that a service may not read.
    modules: HashSet<String>,
}

/// Names, separated by white space.
type Names = &'static str;

/// Functions whose time is at most proportional to the size of their arguments.
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

/// Functions whose time grows with the text times the pattern.
///
/// They never run inline.
const HEAVY: Names = "glob like";

/// Functions that SQLite's ALTER TABLE uses.
///
/// SQLite lets no statement call them directly.
const ALTER: Names = "
    sqlite_add_constraint sqlite_drop_column sqlite_drop_constraint sqlite_fail sqlite_find_constraint
    sqlite_rename_column sqlite_rename_quotefix sqlite_rename_table sqlite_rename_test";

/// Table-valued functions that a service may read.
const READABLE_MODULES: Names = "json_each json_tree";

impl Policy {
    /// Makes a policy. `modules` are the table-valued functions of the linked SQLite.
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

    /// Runs the host's own SQL without rules.
    pub(crate) fn as_host<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = self.author.swap(Author::Host as u8, Ordering::Relaxed);
        let result = work();
        self.author.store(before, Ordering::Relaxed);
        result
    }

    /// The first refusal since the last call.
    pub(crate) fn take_refusal(&self) -> Option<StorageError> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Resets the counters for the next statement.
    ///
    /// Returns whether the previous statement was heavy.
    pub(crate) fn take_heavy(&self) -> bool {
        self.functions.store(0, Ordering::Relaxed);
        self.patterns.swap(0, Ordering::Relaxed) > 0
    }

    /// Answers SQLite's question about one action.
    pub(crate) fn judge(&self, context: &AuthContext<'_>) -> Authorization {
        let author = self.author.load(Ordering::Relaxed);
        if author == Author::Host as u8 {
            return Authorization::Allow;
        }
        let migration = author == Author::Migration as u8;
        let database = match context.action {
            // For ALTER TABLE, SQLite passes the database in another argument.
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

    /// Keeps only the first reason, because later ones follow from it.
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

    /// Whether a statement may use a table.
    ///
    /// SQLite itself writes its tables when the schema changes. It lets no statement write them directly.
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
            self.refuse(|| StorageError::TooLarge(format!("more than {} function calls", self.most_functions)));
            return false;
        }
        if heavy && patterns >= self.most_patterns && !migration {
            self.refuse(|| StorageError::TooLarge(format!("more than {} uses of LIKE or GLOB", self.most_patterns)));
            return false;
        }
        heavy || find(LIGHT, name).is_some() || migration && find(ALTER, name).is_some()
    }
}

fn find(names: Names, name: &str) -> Option<&'static str> {
    names.split_ascii_whitespace().find(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a migration may change the schema this way.
///
/// Virtual tables are refused, because their modules run SQL of their own.
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
        // ALTER TABLE uses this to check the rows against a new constraint.
        AuthAction::Pragma { pragma_name, .. } => pragma_name.eq_ignore_ascii_case("quick_check"),
        _ => false,
    }
}

/// Whether ALTER TABLE is renaming in temporary objects.
///
/// There are none, so it is harmless.
fn renames_temporary(action: &AuthAction<'_>) -> bool {
    const TABLE: &str = "sqlite_temp_master";
    matches!(action, AuthAction::Read { table_name: TABLE, .. } | AuthAction::Update { table_name: TABLE, .. })
}

/// Describes an action so that it completes "a service may not use …".
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
