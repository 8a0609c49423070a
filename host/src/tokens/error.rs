//! What can fail when tokens are issued, sessions are ended, and keys are changed.

use std::io;
use std::path::PathBuf;

use crate::key_file::KeyFileError;

/// The token store cannot be opened or reloaded.
///
/// Every message names the path, or the shared database.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// Reading or writing failed.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A signing key cannot be used.
    #[error("the signing key: {0}")]
    Key(#[from] KeyFileError),
    /// The file of ended sessions cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Sessions {
        /// The SQLite file.
        path: PathBuf,
        /// SQLite's error.
        source: rusqlite::Error,
    },
    /// The database that hosts share cannot be used.
    #[error(
        "cannot {task} in the database that the hosts share: {cause}. Check that this host can reach the database, and that \
         only hosts write to it"
    )]
    Shared {
        /// The step that failed, as a verb and its object.
        task: &'static str,
        /// The database's error.
        cause: String,
    },
}

/// The store did not issue a token.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The session was revoked and gets no further token.
    #[error("the session has ended")]
    SessionEnded,
    /// A claim is empty, too long, or contains a control character.
    /// The message names it and may be shown to the caller.
    #[error("{0}")]
    Invalid(String),
    /// The host cannot sign now. Log the cause; do not show it to the caller.
    #[error("cannot issue a token: {0}")]
    Unavailable(String),
}

/// The end of a session may not be permanent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// No token has a session id of this form. The message may be shown to the caller.
    #[error("{0}")]
    Invalid(String),
    /// The store could not save the end of the session.
    ///
    /// This host refuses the session until it restarts. After the restart it may accept the session again, and other
    /// hosts may accept it now. Log the cause; do not show it to the caller.
    #[error("cannot record the end of a session: {0}")]
    Unavailable(String),
}

/// A signing key was not created, or not disabled for good.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyChangeError {
    /// No key has this name. Nothing changed.
    #[error("there is no key `{0}`: list the keys with `comptoir keys`")]
    Unknown(String),
    /// As many keys verify tokens as the host allows. Nothing changed.
    #[error("there are {limit} keys already: disable one, or wait until the oldest one has expired")]
    TooMany {
        /// How many keys may verify tokens at the same time.
        limit: usize,
    },
    /// The new key could not be created or saved. Nothing changed.
    /// Contains the system's error.
    #[error("the host created no key, so nothing changed: {0}")]
    NotMade(String),
    /// The key is refused until the host restarts.
    /// The host could not save a new key, so after a restart the old one would sign again.
    #[error(
        "the host refuses the key until it restarts, because it could not save a new key: {0}. Make room on the disk, and \
         disable the key again"
    )]
    NotKept(String),
    /// This host refuses the key until it restarts.
    /// The other hosts still accept the key.
    #[error(
        "this host refuses the key until it restarts, but the other hosts still accept it, because the shared database did \
         not save the change: {0}. Disable the key again"
    )]
    NotShared(String),
    /// The key is refused until the host restarts, because its file still contains it.
    #[error(
        "the host refuses the key until it restarts, because it cannot empty {}: {cause}. Disable the key again, or remove \
         the file",
        path.display()
    )]
    NotRemoved {
        /// The key's file.
        path: PathBuf,
        /// The system's error.
        cause: String,
    },
    /// The key is refused, but the disk has not confirmed that its file is empty.
    #[error(
        "the host refuses the key, but {} may return after a power cut, because the disk did not confirm that the file is \
         empty: {cause}. Disable the key again",
        path.display()
    )]
    NotSynced {
        /// The key's file.
        path: PathBuf,
        /// The system's error.
        cause: String,
    },
}
