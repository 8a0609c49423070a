//! Translates the platform's SQL, which is SQLite's, to PostgreSQL's.
//!
//! - Services are not trusted. What is not listed here is refused: tokens, kinds of statements, clauses, expressions,
//!   functions, types.
//! - PostgreSQL gets nothing of the original text. Every statement is written anew, word by word, from the tree that was
//!   checked; what is not written does not exist. So it does not matter whether two parsers agree.
//! - Every name is written between double quotes, except those of listed functions. One without quotes is in lower case
//!   first.
//! - Every operator inside another is written in parentheses, except in chains of the same one: no precedence decides.
//! - The depth of the tree is bounded before a parser sees the text, and all that recurses runs on a stack of its own
//!   that is large enough for it.
//! - Strings rely on `standard_conforming_strings = on`, the default of PostgreSQL. No statement can change it.

mod column;
mod data;
mod expression;
mod function;
mod grammar;
mod query;
mod schema;
mod tokens;
mod writer;

#[cfg(test)]
mod tests;

use sqlparser::tokenizer::TokenWithSpan;

use crate::StorageError;

/// A data statement of a service, in PostgreSQL's words.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Translated {
    pub(super) sql: String,
    /// The highest n of all $n, 0 if there is none.
    pub(super) parameters: usize,
    /// An INSERT, UPDATE or DELETE.
    pub(super) writes: bool,
    /// A SELECT or VALUES, or has RETURNING.
    pub(super) gives_rows: bool,
}

/// How much a data statement may be.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) sql_bytes: usize,
    pub(super) functions: usize,
    pub(super) parameters: usize,
}

/// One statement of a migration, in PostgreSQL's words.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) sql: String,
    /// The beginning of the original text on one line, at most 80 characters, for messages.
    pub(super) text: String,
}

/// Twice what the deepest statement takes in a debug build; only what is touched is taken.
const STACK_BYTES: usize = 16 << 20;
const PANICKED: &str = "a text that cannot be read";
const MIGRATION_BYTES: usize = 1 << 20;
const MIGRATION_STATEMENTS: usize = 1000;
const IN_A_MIGRATION: Limits = Limits { sql_bytes: MIGRATION_BYTES, functions: usize::MAX, parameters: 0 };

/// Translates exactly one data statement.
pub(super) fn statement(sql: &str, limits: &Limits) -> Result<Translated, StorageError> {
    if sql.len() > limits.sql_bytes {
        return Err(StorageError::TooLarge(format!("a statement of more than {} bytes", limits.sql_bytes)));
    }
    with_room(|| only_statement(sql, limits)).and_then(|translated| translated)
}

fn only_statement(sql: &str, limits: &Limits) -> Result<Translated, StorageError> {
    let (mut statements, refused) = tokens::statements(sql);
    if let Some(error) = refused {
        return Err(error);
    }
    match (statements.pop(), statements.is_empty()) {
        (None, _) => Err(invalid("no statement")),
        (Some(_), false) => Err(invalid("more than one statement")),
        (Some(tokens), true) => data::statement(tokens, limits),
    }
}

/// Translates the statements of a migration.
///
/// An error carries which statement it is about, from 1, and the beginning of its text as far as that is known.
pub(super) fn migration(sql: &str) -> Result<Vec<Step>, (u32, String, StorageError)> {
    if sql.len() > MIGRATION_BYTES {
        return Err((1, String::new(), StorageError::TooLarge("a migration of more than 1 MiB".to_owned())));
    }
    with_room(|| steps(sql)).map_err(|error| (1, String::new(), error)).and_then(|steps| steps)
}

fn steps(sql: &str) -> Result<Vec<Step>, (u32, String, StorageError)> {
    let (statements, refused) = tokens::statements(sql);
    if let Some(error) = refused {
        return Err(of_the_last(&statements, error));
    }
    if statements.len() > MIGRATION_STATEMENTS {
        let text = format!("a migration of more than {MIGRATION_STATEMENTS} statements");
        return Err(of_the_last(&statements[..=MIGRATION_STATEMENTS], StorageError::TooLarge(text)));
    }
    (1..).zip(statements).map(|(number, tokens)| step(number, tokens)).collect()
}

fn step(number: u32, tokens: Vec<TokenWithSpan>) -> Result<Step, (u32, String, StorageError)> {
    let text = tokens::beginning(&tokens);
    let translated = match tokens::first_word(&tokens).as_deref() {
        Some("CREATE" | "ALTER" | "DROP") => schema::statement(tokens),
        _ => data::statement(tokens, &IN_A_MIGRATION).map(|translated| translated.sql),
    };
    match translated {
        Ok(sql) => Ok(Step { sql, text }),
        Err(error) => Err((number, text, error)),
    }
}

fn of_the_last(statements: &[Vec<TokenWithSpan>], error: StorageError) -> (u32, String, StorageError) {
    let number = u32::try_from(statements.len()).unwrap_or(u32::MAX).max(1);
    (number, statements.last().map(|tokens| tokens::beginning(tokens)).unwrap_or_default(), error)
}

/// Runs what recurses on a thread with room for it.
///
/// Each level of the parser takes up to 150 KiB of a debug build's stack, and the caller's is of an unknown size.
fn with_room<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, StorageError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("dialect".to_owned()).stack_size(STACK_BYTES);
        let running = thread.spawn_scoped(scope, work);
        let running = running.map_err(|error| StorageError::Unavailable(format!("no thread for SQL: {error}")))?;
        running.join().map_err(|_| invalid(PANICKED))
    })
}

fn invalid(text: impl Into<String>) -> StorageError {
    StorageError::Invalid(text.into())
}

fn denied(text: impl Into<String>) -> StorageError {
    StorageError::Denied(text.into())
}

/// A part of a service's text as messages show it: on one line, and not all of a long one.
fn shown(text: &str) -> String {
    let mut shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut beginning: String = shown.by_ref().take(64).collect();
    if shown.next().is_some() {
        beginning.push('…');
    }
    beginning
}
