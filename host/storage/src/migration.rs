//! Migrations of a service's schema, and why one is refused or fails.

use thiserror::Error;

use crate::StorageError;

/// One step of the schema.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Migration {
    /// Counts from 1, without gaps.
    pub version: u32,
    /// Schema and data statements, separated by `;`.
    pub sql: String,
}

/// Why a database kept the schema it had.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum MigrationError {
    /// The list itself is wrong.
    #[error("migrations must count from 1 without gaps: number {expected} of the list has version {found}")]
    Numbering {
        /// The version that its place in the list asks for.
        expected: u32,
        /// The version it has.
        found: u32,
    },
    /// One statement failed, and all of the run was undone.
    #[error("migration {version}, statement {statement}: {cause}")]
    Failed {
        /// The migration.
        version: u32,
        /// Which of its statements, from 1, and the beginning of its text where that is known.
        statement: String,
        /// What was wrong with it.
        cause: StorageError,
    },
    /// The run could not begin or could not be made durable. Nothing changed.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a revision's migrations may not run while the revision before it serves.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum NotAdditive {
    /// A statement that the revision which serves might not survive, or whose effect taking back the new one leaves behind.
    #[error("migration {version} is not additive: `{statement}` {reason}")]
    Breaks {
        /// The migration.
        version: u32,
        /// The beginning of the statement's text, on one line.
        statement: String,
        /// What the statement does and why that is too much; completes a sentence whose subject is the statement.
        reason: String,
    },
    /// A migration that is wrong, or a database that cannot be looked at: [`MigrationError::Storage`].
    #[error(transparent)]
    Fails(#[from] MigrationError),
}

/// Whether the versions count from 1 without gaps.
pub(crate) fn check_numbering(migrations: &[Migration]) -> Result<(), MigrationError> {
    for (expected, migration) in (1..).zip(migrations) {
        if migration.version != expected {
            return Err(MigrationError::Numbering { expected, found: migration.version });
        }
    }
    Ok(())
}
