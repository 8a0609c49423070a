//! Where the services' data is, if it is not in the data folder.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::Check;

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
    pub(super) fn read(table: &Spanned<Self>, check: &Check<'_>) -> Postgres {
        let folder = check.file.parent().unwrap_or(Path::new("."));
        let Self { url, authority } = table.get_ref();
        Postgres {
            url: folder.join(url),
            authority: authority.as_ref().map(|authority| folder.join(authority)),
            line: check.line(table.span().start),
        }
    }
}
