//! Why a database file cannot be opened.

use std::path::PathBuf;

use thiserror::Error;

/// Why a file cannot be served.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The SQLite in this binary is too old to be trusted with a commit.
    #[error("SQLite {0} can lose commits; this host needs 3.51.3 or newer")]
    OldSqlite(&'static str),
    /// It is not there and cannot be made, or cannot be read.
    #[error("the database {} cannot be opened: {cause}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system or SQLite said.
        cause: String,
    },
    /// The file holds something else.
    #[error("{} is not a SQLite database: move it away, or restore the database from a backup", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// It can be read but not written.
    #[error("the database {} cannot be written: check the permissions of the file and its folder", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Its structure is damaged.
    #[error("the database {} is damaged ({finding}): restore it from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first thing the check found.
        finding: String,
    },
}
