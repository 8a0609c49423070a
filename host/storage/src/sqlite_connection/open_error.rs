//! Why a database file cannot be opened.

use std::path::PathBuf;

use thiserror::Error;

/// Why a database file cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The linked SQLite has a bug that can lose commits.
    #[error("SQLite {0} can lose commits; build this host with 3.51.3 or newer")]
    OldSqlite(&'static str),
    /// The file cannot be created or read.
    #[error("cannot open the database {}: {cause}", path.display())]
    Unusable {
        /// The path of the database file.
        path: PathBuf,
        /// The error message of the system or of SQLite.
        cause: String,
    },
    /// The file is not a SQLite database.
    #[error("{} is not a SQLite database: move it away, or restore the database from a backup", path.display())]
    NotADatabase {
        /// The path of the database file.
        path: PathBuf,
    },
    /// The file can be read but not written.
    #[error("cannot write the database {}: check the permissions of the file and its folder", path.display())]
    ReadOnly {
        /// The path of the database file.
        path: PathBuf,
    },
    /// The structure of the file is damaged.
    #[error("the database {} is damaged ({finding}): restore it from a backup", path.display())]
    Damaged {
        /// The path of the database file.
        path: PathBuf,
        /// The first problem that the check found.
        finding: String,
    },
}
