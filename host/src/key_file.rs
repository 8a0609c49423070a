//! Keys, as a rule in files: 32 random bytes each, made when they are first asked for, their owner's alone (mode 0600, or as `permissions` says).
//!
//! Knows nothing of what a key is for.

use std::ffi::OsString;
use std::fmt::{self, Debug, Formatter};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use storage::permissions;

/// What HMAC-SHA-256 asks for (RFC 7518 section 3.2), and what every key here has.
pub const KEY_BYTES: usize = 32;

/// A key. Cannot be printed, and is cleared when it is dropped.
pub struct Key([u8; KEY_BYTES]);

/// Why a key cannot be used. Every sentence names the path.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Reading or writing failed.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A new key was to be made where a file lies.
    #[error("{} exists already: name a file that does not exist, because a key is never overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others than its owner may use the file.
    #[error("{} has mode {mode:03o}: a key must be its owner's alone, set it to 600", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is damaged, or is something else.
    #[error("{} is not a key: it must hold exactly {KEY_BYTES} bytes", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("no randomness for {}: {source}", path.display())]
    Randomness {
        /// The file that would have been made.
        path: PathBuf,
        /// What the system said.
        source: getrandom::Error,
    },
}

impl Key {
    /// The key in a file, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// Refuses a file that others may use and one of another length; nothing is repaired.
    pub fn open(path: &Path) -> Result<Self, KeyFileError> {
        if !path.exists() {
            make(path)?;
        }
        Self::read(path)
    }

    /// The key in a file that must be there.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn read(path: &Path) -> Result<Self, KeyFileError> {
        read(path)
    }

    /// A new key, in memory alone. The path is where it is to lie, for the error.
    ///
    /// # Errors
    ///
    /// When the system gives no random bytes.
    pub fn random(path: &Path) -> Result<Self, KeyFileError> {
        let mut key = Self([0; KEY_BYTES]);
        let randomness = |source| KeyFileError::Randomness { path: path.to_owned(), source };
        getrandom::fill(&mut key.0).map_err(randomness)?;
        Ok(key)
    }

    /// The key that is kept elsewhere than in a file; none where these are not the bytes of one.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Puts it into a file of its own, with its whole content or not at all, also after a power cut.
    ///
    /// # Errors
    ///
    /// When the disk does not take it, and when something else is there already.
    pub fn keep(&self, path: &Path) -> Result<(), KeyFileError> {
        let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
        write_once(path, &self.0).map_err(failed)?;
        if Self::read(path)?.0 == self.0 { Ok(()) } else { Err(failed(io::ErrorKind::AlreadyExists.into())) }
    }

    /// What is computed with.
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

/// Makes a key file. It is there with its whole content or not at all, also after a power cut.
///
/// Two hosts that start at once in one folder end up with the same key: the temporary file is the lock, and whoever
/// gets it second finds the key in place.
fn make(path: &Path) -> Result<(), KeyFileError> {
    let key = Key::random(path)?;
    write_once(path, &key.0).map_err(|source| KeyFileError::Io { path: path.to_owned(), source })
}

fn write_once(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = OsString::from(path);
    temporary.push(".new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&temporary)?;
    file.lock()?;
    if path.exists() {
        // The name is gone if it was this very file that became the key.
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
