//! Signing keys in files of the data folder.
//!
//! An empty file is the tombstone of a disabled key. This module does not know which key signs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::store::KeyStore;
use crate::key_file::{Key, KeyFileError};
use crate::tokens::error::{KeyChangeError, TokensError};
use crate::tokens::key::SigningKey;

/// The file of the first key.
const FIRST: &str = "signing.key";

/// What stands before and after the second in the name of every other key's file.
const OTHERS: (&str, &str) = ("signing-", ".key");

/// Ends the name of a file while its key is being written.
/// A crash can leave such a file.
const UNFINISHED: &str = ".new";

/// The folder of the key files. Every method blocks on the disk.
#[derive(Debug)]
pub(super) struct KeyFolder(PathBuf);

impl KeyFolder {
    /// Creates the first key if there is no key.
    pub(super) fn open(path: &Path) -> Result<Self, TokensError> {
        let folder = Self(path.to_owned());
        if folder.list()?.is_empty() {
            Key::open(&folder.path(None))?;
        }
        Ok(folder)
    }

    fn path(&self, since: Option<u64>) -> PathBuf {
        let (start, end) = OTHERS;
        self.0.join(since.map_or_else(|| FIRST.to_owned(), |since| format!("{start}{since}{end}")))
    }

    /// The seconds of all keys, newest first.
    /// Removes unfinished files of keys that never signed.
    fn seconds(&self) -> io::Result<Vec<Option<u64>>> {
        let mut seconds = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(since) = self.second(name) {
                seconds.push(since);
            } else if name.strip_suffix(UNFINISHED).and_then(|name| self.second(name)).flatten().is_some() {
                remove(&entry.path());
            }
        }
        seconds.sort_unstable_by(|one, other| other.cmp(one));
        Ok(seconds)
    }

    /// The second in a key file's name.
    /// Other names, such as `signing-007.key`, return `None`.
    fn second(&self, name: &str) -> Option<Option<u64>> {
        let (start, end) = OTHERS;
        let second = name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)?.parse().ok());
        (self.path(second).file_name()? == name).then_some(second)
    }

    /// Whether the file is the tombstone of a disabled key.
    fn is_erased(&self, since: Option<u64>) -> bool {
        fs::metadata(self.path(since)).is_ok_and(|file| file.is_file() && file.len() == 0)
    }
}

impl KeyStore for KeyFolder {
    fn list(&self) -> Result<Vec<(Option<u64>, bool)>, TokensError> {
        let seconds = self.seconds().map_err(|source| TokensError::Io { path: self.0.clone(), source })?;
        Ok(seconds.into_iter().map(|since| (since, self.is_erased(since))).collect())
    }

    fn load(&self, since: Option<u64>) -> Result<SigningKey, TokensError> {
        Ok(SigningKey::read(&self.path(since))?)
    }

    fn generate(&self, since: Option<u64>) -> Result<Key, KeyFileError> {
        Key::random(&self.path(since))
    }

    /// If saving fails, removes the files.
    /// A file that remained would sign after a restart.
    fn save(&self, since: Option<u64>, key: &Key) -> Result<(), String> {
        let path = self.path(since);
        let saved = key.save(&path).inspect_err(|_| {
            let mut unfinished = path.clone().into_os_string();
            unfinished.push(UNFINISHED);
            let files = [PathBuf::from(unfinished), path];
            files.iter().filter(|file| file.is_file()).for_each(|file| remove(file));
        });
        saved.map_err(|error| error.to_string())
    }

    fn erase(&self, since: Option<u64>) -> Result<(), KeyChangeError> {
        let path = self.path(since);
        let emptied = File::options().write(true).open(&path).and_then(|file| {
            file.set_len(0)?;
            Ok(Some(file))
        });
        let emptied = emptied.or_else(|error| if is_absence(&error) { Ok(None) } else { Err(error) });
        let file =
            emptied.map_err(|error| KeyChangeError::NotRemoved { path: path.clone(), cause: error.to_string() })?;
        let synced = file.map_or(Ok(()), |file| file.sync_all()).and_then(|()| File::open(&self.0)?.sync_all());
        synced.map_err(|error| KeyChangeError::NotSynced { path, cause: error.to_string() })
    }

    fn remove(&self, since: Option<u64>) {
        remove(&self.path(since));
    }

    fn not_saved(&self, cause: String) -> KeyChangeError {
        KeyChangeError::NotKept(cause)
    }

    fn is_shared(&self) -> bool {
        false
    }
}

/// Removes a file, or logs that it cannot.
/// The file does no harm: its key verifies nothing, and the next start tries again.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && !is_absence(&error)
    {
        tracing::warn!(path = %path.display(), %error, "tokens: cannot remove an expired signing key; remove its file");
    }
}

fn is_absence(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
