//! The SQL statements of one request, for the operator's console. Kept only while somebody looks.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use storage::StorageError;
use storage::observed::{Observer, without_values};

/// The most statements that are kept of a request.
const STATEMENTS: usize = 50;

/// The most characters of a statement.
const TEXT: usize = 400;

/// A statement of a request, or the begin or commit of a transaction.
#[derive(Debug, Clone, Serialize)]
pub struct RecentStatement {
    /// When it began, in microseconds since the request began.
    pub after_us: u64,
    /// How long it took, in microseconds. For a begin, the wait for the writer.
    pub duration_us: u64,
    /// The text without values.
    pub sql: String,
    /// The kind of its error.
    pub error: Option<&'static str>,
}

/// The statements of a request so far.
#[derive(Debug)]
pub struct Statements {
    request_began: Instant,
    noted: Mutex<Noted>,
}

/// The first statements, and how many followed.
#[derive(Debug, Clone, Default)]
pub struct Noted {
    /// At most 50, in the order in which they ended.
    pub statements: Vec<RecentStatement>,
    /// How many more there were.
    pub further: u64,
}

impl Statements {
    /// For a request that begins now.
    pub fn begin() -> Self {
        Self { request_began: Instant::now(), noted: Mutex::default() }
    }

    /// The statements so far.
    pub fn noted(&self) -> Noted {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Statements {
    fn ended(&self, sql: &str, began: Instant, error: Option<&StorageError>) {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (after_us, duration_us) =
            (micros(began.saturating_duration_since(self.request_began)), micros(began.elapsed()));
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.statements.len() >= STATEMENTS {
            noted.further += 1;
            return;
        }
        let (sql, error) = (without_values(sql, TEXT), error.map(kind));
        noted.statements.push(RecentStatement { after_us, duration_us, sql, error });
    }
}

/// The kind of an error. Its text may contain values.
fn kind(error: &StorageError) -> &'static str {
    match error {
        StorageError::Constraint(_) => "constraint",
        StorageError::Busy => "busy",
        StorageError::Denied(_) => "denied",
        StorageError::TooLarge(_) => "too large",
        StorageError::TimedOut => "timed out",
        StorageError::Invalid(_) => "invalid",
        StorageError::Unavailable(_) => "unavailable",
        StorageError::OutcomeUnknown(_) => "outcome unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_of_a_request_are_bounded_and_their_errors_have_no_values() {
        let statements = Statements::begin();
        let error = StorageError::Invalid("invalid input: \"secret\"".to_owned());
        for _ in 0..STATEMENTS + 3 {
            statements.ended(&format!("SELECT '{}'", "x".repeat(1000)), Instant::now(), Some(&error));
            statements.ended(&"y".repeat(1000), Instant::now(), None);
        }
        let noted = statements.noted();
        assert_eq!((noted.statements.len(), noted.further), (STATEMENTS, STATEMENTS as u64 + 6));
        assert_eq!((&*noted.statements[0].sql, noted.statements[0].error), ("SELECT '…'", Some("invalid")));
        assert_eq!(noted.statements[1].sql.chars().count(), TEXT + 1);
    }
}
