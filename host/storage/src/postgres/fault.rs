//! Translates errors of PostgreSQL to errors of the contract.
//!
//! It decides by the error code (appendix A of PostgreSQL's manual), never by the text.

use std::io;

use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, SqlState};

use crate::{Constraint, StorageError};

/// Translates an error of a statement or of its connection.
pub(super) fn translate(error: &Error) -> StorageError {
    match error.as_db_error() {
        Some(refused) => translate_code(refused),
        // Writing to the connection or reading from it failed.
        None => StorageError::Unavailable(with_causes(error)),
    }
}

/// Translates an error of taking a connection from the pool.
pub(super) fn translate_pool(error: &PoolError) -> StorageError {
    match error {
        PoolError::Timeout(TimeoutType::Wait) => StorageError::Busy,
        PoolError::Backend(error) if is_full(error) => StorageError::Busy,
        PoolError::Backend(error) => StorageError::Unavailable(with_causes(error)),
        other => StorageError::Unavailable(other.to_string()),
    }
}

/// Appends the causes of an error to its text.
///
/// The client's own text only says what it tried.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn translate_code(refused: &DbError) -> StorageError {
    let message = refused.message().to_owned();
    let code = refused.code();
    if let Some(constraint) = constraint(code) {
        return StorageError::Constraint(constraint);
    }
    match *code {
        SqlState::LOCK_NOT_AVAILABLE | SqlState::T_R_SERIALIZATION_FAILURE | SqlState::T_R_DEADLOCK_DETECTED => {
            StorageError::Busy
        }
        SqlState::QUERY_CANCELED | SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT => StorageError::TimedOut,
        SqlState::INSUFFICIENT_PRIVILEGE => StorageError::Denied(message),
        SqlState::READ_ONLY_SQL_TRANSACTION => {
            StorageError::Invalid("a query outside a transaction cannot write".into())
        }
        _ => match &code.code()[..2] {
            "54" => StorageError::TooLarge(message),
            // Data exceptions, invalid statements, and features that this server does not have.
            "0A" | "21" | "22" | "2F" | "34" | "42" | "44" => StorageError::Invalid(message),
            _ => StorageError::Unavailable(message),
        },
    }
}

fn constraint(code: &SqlState) -> Option<Constraint> {
    Some(match *code {
        SqlState::UNIQUE_VIOLATION => Constraint::Unique,
        SqlState::FOREIGN_KEY_VIOLATION | SqlState::RESTRICT_VIOLATION => Constraint::ForeignKey,
        SqlState::CHECK_VIOLATION => Constraint::Check,
        SqlState::NOT_NULL_VIOLATION => Constraint::NotNull,
        // A text where the schema wants a number.
        SqlState::INVALID_TEXT_REPRESENTATION => Constraint::Other,
        _ if code.code().starts_with("23") => Constraint::Other,
        _ => return None,
    })
}

/// Whether a table may have changed after its statement was compiled.
///
/// Compiling it again helps.
pub(super) fn is_outdated(error: &Error) -> bool {
    error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED)
}

/// Whether the server has no connection left.
pub(super) fn is_full(error: &Error) -> bool {
    error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS)
}

/// Whether the server cannot be reached now: it is down, starting, stopping or full, or the network failed.
pub(super) fn is_unreachable(error: &Error) -> bool {
    if let Some(code) = error.code() {
        let stopping = [SqlState::CANNOT_CONNECT_NOW, SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN];
        return is_full(error) || stopping.contains(code) || code.code().starts_with("08");
    }
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    // rustls reports a certificate that it refuses as invalid data.
    error.is_closed() || cause.is_some_and(|cause| cause.kind() != io::ErrorKind::InvalidData)
}
