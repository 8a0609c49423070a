//! The kind of an SQL statement, read from its first word.
//!
//! Both engines decide with it what a service may send.

/// Keywords of data statements, which a service may send at run time.
const DATA: [&str; 7] = ["DELETE", "INSERT", "REPLACE", "SELECT", "UPDATE", "VALUES", "WITH"];

/// First words of all other statements that SQLite knows.
const OTHER: [&str; 16] = [
    "ALTER",
    "ANALYZE",
    "ATTACH",
    "BEGIN",
    "COMMIT",
    "CREATE",
    "DETACH",
    "DROP",
    "END",
    "EXPLAIN",
    "PRAGMA",
    "REINDEX",
    "RELEASE",
    "ROLLBACK",
    "SAVEPOINT",
    "VACUUM",
];

/// The kind of a statement, according to its first word.
pub(crate) enum StatementKind<'s> {
    /// Reads or changes rows.
    Data,
    /// Any other statement that SQLite knows. Contains the first word in capitals.
    Forbidden(&'static str),
    /// Not an SQL statement. Contains the first word.
    Unknown(&'s str),
}

impl<'s> StatementKind<'s> {
    /// Reads the first word of a statement. Skips white space and comments before it.
    pub(crate) fn of(sql: &'s str) -> Self {
        let rest = skip_comments(sql);
        let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let word = &rest[..end];
        if DATA.iter().any(|known| known.eq_ignore_ascii_case(word)) {
            return Self::Data;
        }
        let other = OTHER.into_iter().find(|known| known.eq_ignore_ascii_case(word));
        other.map_or(Self::Unknown(word), Self::Forbidden)
    }
}

/// Skips white space and comments at the beginning of a statement.
pub(crate) fn skip_comments(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        let comment_end = if rest.starts_with("--") {
            rest.find('\n').map(|at| at + 1)
        } else if rest.starts_with("/*") {
            rest.get(2..).and_then(|body| body.find("*/")).map(|at| at + 4)
        } else {
            return rest;
        };
        rest = comment_end.map_or("", |at| &rest[at..]).trim_start();
    }
}
