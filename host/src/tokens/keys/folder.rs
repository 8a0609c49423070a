//! The files of the keys: what they are called, and how one is made, emptied and removed.
//!
//! An empty one is of a key that was disabled. Knows nothing of which key signs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{KeyChangeError, Place, SigningKey, TokensError};
use crate::key_file::{Key, KeyFileError};

/// The file of the first key.
const FIRST: &str = "signing.key";

/// The files of the others, around the second in which they began.
const OTHERS: (&str, &str) = ("signing-", ".key");

/// What a crash leaves of a key that was being made, after the name of its file.
const UNFINISHED: &str = ".new";

/// Where the files are. Everything here blocks on the disk.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Makes the first key if there is none.
    pub(super) fn open(path: &Path) -> Result<Self, TokensError> {
        let folder = Self(path.to_owned());
        if folder.begins()?.is_empty() {
            Key::open(&folder.path(None))?;
        }
        Ok(folder)
    }

    /// The file of the key that began in that second; none for the first.
    fn path(&self, since: Option<u64>) -> PathBuf {
        let (start, end) = OTHERS;
        self.0.join(since.map_or_else(|| FIRST.to_owned(), |since| format!("{start}{since}{end}")))
    }

    /// When the keys began that are there, newest first; none for the first. Removes what is left of keys that were never in use.
    fn list(&self) -> io::Result<Vec<Option<u64>>> {
        let mut begins = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some(since) = self.begin(name) {
                begins.push(since);
            } else if name.strip_suffix(UNFINISHED).and_then(|name| self.begin(name)).flatten().is_some() {
                remove(&entry.path());
            }
        }
        begins.sort_unstable_by(|one, other| other.cmp(one));
        Ok(begins)
    }

    /// What a file's name says, if it is one that a key's file has: `signing-007.key` is none.
    fn begin(&self, name: &str) -> Option<Option<u64>> {
        let (start, end) = OTHERS;
        let second = name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)?.parse().ok());
        (self.path(second).file_name()? == name).then_some(second)
    }

    /// Whether a key was disabled.
    fn is_mark(&self, since: Option<u64>) -> bool {
        fs::metadata(self.path(since)).is_ok_and(|file| file.is_file() && file.len() == 0)
    }
}

impl Place for Folder {
    fn begins(&self) -> Result<Vec<(Option<u64>, bool)>, TokensError> {
        let begins = self.list().map_err(|source| TokensError::Io { path: self.0.clone(), source })?;
        Ok(begins.into_iter().map(|since| (since, self.is_mark(since))).collect())
    }

    fn read(&self, since: Option<u64>) -> Result<SigningKey, TokensError> {
        Ok(SigningKey::read(&self.path(since))?)
    }

    fn random(&self, since: Option<u64>) -> Result<Key, KeyFileError> {
        Key::random(&self.path(since))
    }

    /// Leaves nothing where that fails: a key that stayed there would sign after a restart.
    fn keep(&self, since: Option<u64>, key: &Key) -> Result<(), String> {
        let path = self.path(since);
        let kept = key.keep(&path).inspect_err(|_| {
            let mut unfinished = path.clone().into_os_string();
            unfinished.push(UNFINISHED);
            let left = [PathBuf::from(unfinished), path];
            left.iter().filter(|left| left.is_file()).for_each(|left| remove(left));
        });
        kept.map_err(|error| error.to_string())
    }

    fn empty(&self, since: Option<u64>) -> Result<(), KeyChangeError> {
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

    fn discard(&self, since: Option<u64>) {
        remove(&self.path(since));
    }

    fn not_kept(&self, cause: String) -> KeyChangeError {
        KeyChangeError::NotKept(cause)
    }

    fn is_shared(&self) -> bool {
        false
    }
}

/// What cannot be removed does no harm: it verifies nothing, and the next start tries again.
fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && !is_absence(&error)
    {
        tracing::warn!(path = %path.display(), %error, "a key that verifies nothing cannot be removed: remove it");
    }
}

fn is_absence(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
