//! Migrations of a service's schema, and why they are refused or fail.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};
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

impl Migration {
    /// The SHA-256 of the text, in lower-case hexadecimal.
    pub fn sha256(&self) -> String {
        Sha256::digest(&self.sql).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The SHA-256 of each migration that ran, by version. A version is missing if its text is not known.
pub type RanMigrations = BTreeMap<u32, String>;

/// Checks that the migrations up to the schema's `version` have the texts that ran.
///
/// # Errors
///
/// [`MigrationError::Differs`] for the first that has not.
pub fn check_texts(migrations: &[Migration], version: u32, ran: &RanMigrations) -> Result<(), MigrationError> {
    let old = migrations.iter().take_while(|migration| migration.version <= version);
    let pairs = old.filter_map(|migration| Some((migration.version, migration.sha256(), ran.get(&migration.version)?)));
    let Some((number, new, ran)) = pairs.into_iter().find(|(_, new, ran)| new != *ran) else { return Ok(()) };
    let next = u32::try_from(migrations.len()).unwrap_or(u32::MAX).max(version).saturating_add(1);
    let first_digits = |sha256: &str| sha256.chars().take(12).collect();
    Err(MigrationError::Differs { version: number, new: first_digits(&new), ran: first_digits(ran), next })
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
    /// Another text ran under the number of this migration.
    #[error(
        "migration {version} (sha256 {new}…) differs from the one that ran ({ran}…): restore the old text, and put the change into \
         a new migration {next}"
    )]
    Differs {
        /// The migration's version.
        version: u32,
        /// The first digits of the SHA-256 of its text.
        new: String,
        /// The first digits of the SHA-256 of the text that ran.
        ran: String,
        /// The first version that neither the list nor the database uses.
        next: u32,
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
