//! Secret keys of 32 random bytes, usually in files.
//!
//! A key file is created when the host first needs it. Only its owner may use it (mode 0600; `permissions` has the exact
//! rule). This module does not know what a key is for.

use std::ffi::OsString;
use std::fmt::{self, Debug, Formatter};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use storage::permissions;

/// The length of every key.
/// HMAC-SHA-256 requires at least this (RFC 7518, section 3.2).
pub const KEY_BYTES: usize = 32;

/// A secret key.
/// It cannot be printed, and its memory is cleared when it is dropped.
pub struct Key([u8; KEY_BYTES]);

/// A key cannot be read or created. Every message names the path.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Reading or writing failed.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The path of the key file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A new key's file exists already.
    #[error("{} exists already: name a file that does not exist, because a key is never overwritten", path.display())]
    Exists {
        /// The path of the key file.
        path: PathBuf,
    },
    /// Other users than the owner may use the file.
    #[error("{} has mode {mode:03o}: only its owner may use a key file, so set the mode to 600", path.display())]
    Exposed {
        /// The path of the key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file does not contain a key.
    #[error(
        "{} does not have the {KEY_BYTES} bytes of a key: restore it from a backup, or name another file",
        path.display()
    )]
    Malformed {
        /// The path of the key file.
        path: PathBuf,
    },
    /// The system provided no random bytes.
    #[error("cannot create {}, because the system provides no random bytes: {source}", path.display())]
    Randomness {
        /// The file that was not created.
        path: PathBuf,
        /// The system's error.
        source: getrandom::Error,
    },
}

impl Key {
    /// Reads a key from a file. Creates the file if it is missing.
    ///
    /// # Errors
    ///
    /// If other users may use the file, or if it has another length. The host repairs neither.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        if !path.exists() {
            create(path)?;
        }
        Self::read(path)
    }

    /// Reads a key from an existing file.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        read(path)
    }

    /// Generates a key in memory. Only the error needs the path.
    ///
    /// # Errors
    ///
    /// If the system provides no random bytes.
    pub fn random(path: &Path) -> Result<Self, KeyFileError> {
        let mut key = Self([0; KEY_BYTES]);
        let randomness = |source| KeyFileError::Randomness { path: path.to_owned(), source };
        getrandom::fill(&mut key.0).map_err(randomness)?;
        Ok(key)
    }

    /// A key that was saved elsewhere, such as in a database.
    /// Returns `None` if the length is wrong.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Saves the key in a new file. After a power cut the file is complete or missing.
    ///
    /// # Errors
    ///
    /// If the disk refuses the file, or if the file exists with other content.
    pub fn save(&self, path: &Path) -> Result<(), KeyFileError> {
        let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
        write_once(path, &self.0).map_err(failed)?;
        if Self::read(path)?.0 == self.0 { Ok(()) } else { Err(failed(io::ErrorKind::AlreadyExists.into())) }
    }

    /// The secret bytes.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

impl Debug for Key {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("Key")
    }
}

/// Creates a key file. After a power cut the file is complete or missing.
///
/// Two hosts that start in one folder at the same time get the same key. The temporary file is the lock: the host that gets
/// it second finds the finished key.
fn create(path: &Path) -> Result<(), KeyFileError> {
    let key = Key::random(path)?;
    write_once(path, &key.0).map_err(|source| KeyFileError::Io { path: path.to_owned(), source })
}

fn write_once(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = OsString::from(path);
    temporary.push(".new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&temporary)?;
    file.lock()?;
    if path.exists() {
        // If this very file became the key, its temporary name no longer exists.
        return fs::remove_file(&temporary).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        });
    }
    file.set_len(0)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn read(path: &Path) -> Result<Key, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if let Some(mode) = permissions::exposed(&metadata) {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    if !metadata.is_file() || metadata.len() != KEY_BYTES as u64 {
        return Err(KeyFileError::Malformed { path: path.to_owned() });
    }
    let mut key = Key([0; KEY_BYTES]);
    file.read_exact(&mut key.0).map_err(failed)?;
    Ok(key)
}
