//! The `[postgres]` table of the manifest.

use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::check::Check;

/// A PostgreSQL database for the data of all services. Several hosts can share it.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// A file whose only line is the connection string. Only its owner may use it.
    pub url: PathBuf,
    /// The CA certificates, in PEM. The server's certificate must chain to one of them.
    /// If there are none, the server must be on this machine.
    pub authority: Option<PathBuf>,
    /// The line of the table in the manifest, for messages.
    pub line: usize,
}

/// The table as it is written.
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
