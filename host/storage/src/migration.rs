//! Migrations of a service's schema, and why they are refused or fail.

use thiserror::Error;

use crate::StorageError;

/// One step of a service's schema.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Migration {
    /// The migrations of a list count from 1 without gaps.
    pub version: u32,
    /// Schema and data statements, separated by `;`.
    pub sql: String,
}

/// Why migrations did not run. The schema is unchanged.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum MigrationError {
    /// The versions in the list do not count from 1 without gaps.
    #[error("migrations must count from 1 without gaps: number {expected} of the list has version {found}")]
    Numbering {
        /// The version that belongs at this position of the list.
        expected: u32,
        /// The version found there.
        found: u32,
    },
    /// A statement failed, and the whole run was rolled back.
    #[error("migration {version}, statement {statement}: {cause}")]
    Failed {
        /// The migration's version.
        version: u32,
        /// The number of the statement from 1, and the beginning of its text if known.
        statement: String,
        /// Why it failed.
        cause: StorageError,
    },
    /// The run could not begin, or its changes could not be made durable.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why migrations may not run while an older revision serves.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum NotAdditive {
    /// A statement does more than add.
    ///
    /// The active revision might fail, or a rollback would leave its effect behind.
    #[error("migration {version} is not additive: `{statement}` {reason}")]
    Breaks {
        /// The migration's version.
        version: u32,
        /// The beginning of the statement, on one line.
        statement: String,
        /// What the statement does and why that is refused.
        ///
        /// Completes a sentence that starts with the statement.
        reason: String,
    },
    /// A migration is wrong, or the database cannot be read.
    #[error(transparent)]
    Fails(#[from] MigrationError),
}

/// Checks that the versions count from 1 without gaps.
pub(crate) fn check_numbering(migrations: &[Migration]) -> Result<(), MigrationError> {
    for (expected, migration) in (1..).zip(migrations) {
        if migration.version != expected {
            return Err(MigrationError::Numbering { expected, found: migration.version });
        }
    }
    Ok(())
}
