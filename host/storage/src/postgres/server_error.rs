//! Why a server cannot be used, and whether waiting helps.

use std::io;
use std::path::PathBuf;

use deadpool_postgres::PoolError;
use thiserror::Error;

use super::fault::{self, with_causes};
use crate::StorageError;

/// The maximum length of a name in PostgreSQL, in bytes. Longer ones are truncated.
pub(super) const LONGEST_NAME: usize = 63;

/// Why a server cannot be used.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The file with the connection string cannot be read.
    #[error("cannot read {}: {cause}. Name a file with one line like postgres://role:password@host:5432/database", path.display())]
    Unreadable {
        /// The path of the file with the connection string.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// Other users may read the file with the password.
    #[error("{} has mode {mode:03o}: it contains a password, so only its owner may use it, set it to 600", path.display())]
    Exposed {
        /// The path of the file with the connection string.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The text is not a connection string.
    #[error("the connection string must look like postgres://role:password@host:5432/database: {0}")]
    Malformed(String),
    /// The connection would cross a network without encryption.
    #[error(
        "the server {0} is on another machine, so the connection needs TLS: name the certificate of the server's authority"
    )]
    Unprotected(String),
    /// The certificates cannot be used.
    #[error("cannot use the certificates in {}: {cause}", path.display())]
    Authority {
        /// The path of the file with the certificates.
        path: PathBuf,
        /// What is wrong with them.
        cause: String,
    },
    /// The server cannot be reached now, is starting, or has no connection left.
    #[error("PostgreSQL: {0}")]
    Unreachable(String),
    /// The server refused a necessary step.
    #[error("PostgreSQL: {0}")]
    Refused(String),
    /// The host's role may not create roles or schemas.
    #[error(
        "PostgreSQL: the role of the connection string may not create what a new service needs. As a superuser, run: {0}"
    )]
    Rights(String),
    /// The server is too old, or its settings would lose or change data.
    #[error("PostgreSQL {0}")]
    Unfit(String),
    /// A name is too long for PostgreSQL.
    #[error(
        "the name {0:?} has more than the {LONGEST_NAME} bytes that PostgreSQL allows: give the database or the service a shorter name"
    )]
    Name(String),
    /// The role exists, but no host of this database created it.
    #[error("the role {0:?} already exists, but not for this database: drop it, or rename the database")]
    Taken(String),
    /// The role existed before, but is missing now.
    #[error("the role {0:?} is missing: copy the roles from the database's old server with `pg_dumpall --roles-only`")]
    Missing(String),
    /// The schema existed before, but is missing now.
    #[error(
        "the schema {0:?} existed before and is missing: restore it. To start with an empty one, delete its service from \
         comptoir.logins and drop its role"
    )]
    Emptied(String),
    /// The schema cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ServerError {
    /// Whether the same call may succeed later, although nobody changes the connection string, the roles or the data.
    pub fn is_temporary(&self) -> bool {
        use StorageError::{Busy, TimedOut, Unavailable};
        matches!(self, Self::Unreachable(_) | Self::Storage(Busy | TimedOut | Unavailable(_)))
    }
}

impl From<tokio_postgres::Error> for ServerError {
    fn from(error: tokio_postgres::Error) -> Self {
        let text = with_causes(&error);
        if fault::is_unreachable(&error) { Self::Unreachable(text) } else { Self::Refused(text) }
    }
}

impl From<PoolError> for ServerError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(_) => Self::Unreachable(with_causes(&error)),
            other => Self::Refused(with_causes(&other)),
        }
    }
}
