//! Where the services' data is, if it is not in the data folder.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::check::Check;

/// A database in PostgreSQL, for any number of hosts that serve the same.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// A file with one line, the connection string. Must be its owner's alone.
    pub url: PathBuf,
    /// The certificates, in PEM, that the server's must lead to. Without them it must be on this machine.
    pub authority: Option<PathBuf>,
    /// Where the manifest names it, for messages: a line number.
    pub line: usize,
}

/// `[postgres]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PostgresTable {
    url: PathBuf,
    authority: Option<PathBuf>,
}

impl PostgresTable {
    pub(super) fn read(table: &Spanned<Self>, check: &Check) -> Postgres {
        let Self { url, authority } = table.get_ref();
        Postgres {
            url: check.path(url),
            authority: authority.as_ref().map(|authority| check.path(authority)),
            line: check.source().line(table.span().start),
        }
    }
}
