//! Translates errors of SQLite to errors of the contract.

use rusqlite::{Error, ErrorCode, ffi};

use crate::{Constraint, StorageError};

/// Translates an error of SQLite.
///
/// The caller must first check for a refusal of the policy.
pub(crate) fn translate(error: &Error) -> StorageError {
    match error {
        Error::SqliteFailure(failure, message) => {
            let message = message.clone().unwrap_or_else(|| failure.to_string());
            translate_code(failure, message)
        }
        Error::SqlInputError { msg, .. } => refusal(msg.clone()),
        Error::MultipleStatement => StorageError::Invalid("more than one statement".into()),
        other => StorageError::Invalid(other.to_string()),
    }
}

fn translate_code(failure: &ffi::Error, message: String) -> StorageError {
    match failure.code {
        ErrorCode::ConstraintViolation => StorageError::Constraint(constraint(failure.extended_code)),
        ErrorCode::TypeMismatch => StorageError::Constraint(Constraint::Other),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::SchemaChanged => StorageError::Busy,
        ErrorCode::OperationInterrupted => StorageError::TimedOut,
        ErrorCode::TooBig => StorageError::TooLarge(message),
        ErrorCode::AuthorizationForStatementDenied => StorageError::Denied(message),
        ErrorCode::DiskFull => {
            StorageError::Unavailable("the disk is full, or the database has reached its maximum size".into())
        }
        ErrorCode::Unknown | ErrorCode::ParameterOutOfRange => refusal(message),
        _ => StorageError::Unavailable(message),
    }
}

fn constraint(extended_code: i32) -> Constraint {
    match extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            Constraint::Unique
        }
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Constraint::ForeignKey,
        ffi::SQLITE_CONSTRAINT_CHECK => Constraint::Check,
        ffi::SQLITE_CONSTRAINT_NOTNULL => Constraint::NotNull,
        _ => Constraint::Other,
    }
}

/// Tells invalid statements from exceeded limits by their text.
///
/// SQLite has one error code for both.
fn refusal(message: String) -> StorageError {
    const LIMITS: &[&str] = &[
        "too many ",
        "too large",
        "too complex",
        "too big",
        "stack overflow",
        "Recursion limit",
        "must be between ?1 and",
    ];
    if LIMITS.iter().any(|words| message.contains(words)) {
        StorageError::TooLarge(message)
    } else {
        StorageError::Invalid(message)
    }
}
