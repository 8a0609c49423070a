//! Translates the platform's SQL, which is SQLite's dialect, to PostgreSQL's.
//!
//! - Services are not trusted. Everything that is not listed here is refused: tokens, kinds of statements, clauses, expressions,
//!   functions, types.
//! - PostgreSQL gets nothing of the original text. The translation rewrites every statement from the checked syntax tree, and
//!   omits everything that it does not know. So it does not matter whether the two parsers agree.
//! - Every name is double-quoted, except the names of listed functions. Names without quotes are converted to lower case first.
//! - Every nested operator is put in parentheses, except in chains of the same operator. So precedence never matters.
//! - The depth of the tree is limited before the parser sees the text. All recursive code runs on its own stack, which is large
//!   enough.
//! - Strings rely on `standard_conforming_strings = on`, PostgreSQL's default. No statement can change it.

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

/// A data statement of a service in PostgreSQL's dialect.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Translated {
    pub(super) sql: String,
    /// The highest n of all parameters $n, or 0.
    pub(super) parameters: usize,
    /// Whether it is an INSERT, UPDATE or DELETE.
    pub(super) writes: bool,
    /// Whether it is a SELECT or VALUES, or has RETURNING.
    pub(super) gives_rows: bool,
}

/// Limits on a data statement.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) sql_bytes: usize,
    pub(super) functions: usize,
    pub(super) parameters: usize,
}

/// One statement of a migration in PostgreSQL's dialect.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub(super) sql: String,
    /// The beginning of the original text for messages: one line, up to 80 characters.
    pub(super) text: String,
    /// The index that the statement creates, if it creates one that is not unique.
    pub(super) index: Option<Index>,
}

/// An index that is not unique.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Index {
    /// Its name, quoted.
    pub(super) name: String,
    /// What follows the name: `ON "table" ("column") …`.
    pub(super) definition: String,
}

/// Twice the stack that the deepest statement needs in a debug build.
///
/// The kernel allocates only the pages that a statement uses.
const STACK_BYTES: usize = 16 << 20;
const PANICKED: &str = "the statement cannot be parsed";
const MIGRATION_BYTES: usize = 1 << 20;
const MIGRATION_STATEMENTS: usize = 1000;
const IN_A_MIGRATION: Limits = Limits { sql_bytes: MIGRATION_BYTES, functions: usize::MAX, parameters: 0 };

/// Translates exactly one data statement.
pub(super) fn statement(sql: &str, limits: &Limits) -> Result<Translated, StorageError> {
    if sql.len() > limits.sql_bytes {
        return Err(StorageError::TooLarge(format!("a statement of more than {} bytes", limits.sql_bytes)));
    }
    with_large_stack(|| only_statement(sql, limits)).and_then(|translated| translated)
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
/// An error contains the number of its statement, from 1, and the beginning of the statement if known.
pub(super) fn migration(sql: &str) -> Result<Vec<Step>, (u32, String, StorageError)> {
    if sql.len() > MIGRATION_BYTES {
        return Err((1, String::new(), StorageError::TooLarge("a migration of more than 1 MiB".to_owned())));
    }
    with_large_stack(|| steps(sql)).map_err(|error| (1, String::new(), error)).and_then(|steps| steps)
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
        _ => data::statement(tokens, &IN_A_MIGRATION).map(|translated| (translated.sql, None)),
    };
    match translated {
        Ok((sql, index)) => Ok(Step { sql, text, index }),
        Err(error) => Err((number, text, error)),
    }
}

fn of_the_last(statements: &[Vec<TokenWithSpan>], error: StorageError) -> (u32, String, StorageError) {
    let number = u32::try_from(statements.len()).unwrap_or(u32::MAX).max(1);
    (number, statements.last().map(|tokens| tokens::beginning(tokens)).unwrap_or_default(), error)
}

/// Runs recursive code on a thread with enough stack.
///
/// In a debug build, each level of the parser needs up to 150 KiB of stack, and the caller's stack may be small.
fn with_large_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, StorageError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("dialect".to_owned()).stack_size(STACK_BYTES);
        let running = thread.spawn_scoped(scope, work);
        let running = running.map_err(|error| {
            StorageError::Unavailable(format!("cannot start a thread to translate the statement: {error}"))
        })?;
        running.join().map_err(|_| invalid(PANICKED))
    })
}

fn invalid(text: impl Into<String>) -> StorageError {
    StorageError::Invalid(text.into())
}

fn denied(text: impl Into<String>) -> StorageError {
    StorageError::Denied(text.into())
}

/// The beginning of a service's text for messages, on one line.
fn shown(text: &str) -> String {
    let mut shown = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut beginning: String = shown.by_ref().take(64).collect();
    if shown.next().is_some() {
        beginning.push('…');
    }
    beginning
}
