//! A secret in a file, which may be replaced while the host serves.
//!
//! Each use checks the file's metadata, which costs little, and reads a changed file again. If the new content cannot be used, the
//! previous value stays. The host logs that once, and tries again when the file changes again.

use std::fmt::{self, Debug, Formatter};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hyper::header::HeaderValue;
use storage::permissions;

/// The shortest secret in bytes. Masking a shorter one would change answers that do not contain it.
const SHORTEST_BYTES: usize = 8;

/// The longest secret in bytes. It must fit into a header.
const LONGEST_BYTES: usize = 4096;

/// The value of a secret. It cannot be printed, and its memory is cleared when it is dropped.
pub(super) struct SecretValue(Vec<u8>);

impl SecretValue {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text of the value. Empty only if it is no text, which [`SecretFile::open`] refuses.
    pub(super) fn text(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Drop for SecretValue {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0);
    }
}

impl Debug for SecretValue {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretValue")
    }
}

/// Why the file of a secret cannot be used. No message contains a part of it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("cannot read {}: {cause}. Name an existing file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// Other users may read it.
    #[error("{} has mode {mode:03o}: only its owner may read it, so set the mode to 600 (640 if root owns it)", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It cannot be the value of a header.
    #[error(
        "{} must hold one line of {SHORTEST_BYTES} to {LONGEST_BYTES} visible ASCII characters", path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
}

/// Identifies one state of a file: device, inode, length, and ctime in seconds and nanoseconds. None if there is no file.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// A secret, read from its file.
#[derive(Debug)]
pub(super) struct SecretFile {
    path: PathBuf,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    value: Arc<SecretValue>,
    /// The state of the file at the last attempt to read it, also if it failed.
    stamp: Stamp,
}

impl SecretFile {
    /// Reads the secret. A line feed at the end of the file is not part of it.
    ///
    /// # Errors
    /// The file cannot be read, others may read it, or it is no value of a header.
    pub(super) fn open(path: &Path) -> Result<Self, SecretError> {
        // Taken before the file is read, so that a change in between is noticed at the next use.
        let stamp = stamp(path);
        let value = Arc::new(read(path)?);
        Ok(Self { path: path.to_owned(), loaded: Mutex::new(Loaded { value, stamp }) })
    }

    /// The value. Reads a changed file again.
    pub(super) fn value(&self) -> Arc<SecretValue> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&self.path);
        if stamp != loaded.stamp {
            loaded.stamp = stamp;
            match read(&self.path) {
                Ok(value) => {
                    tracing::info!(file = %self.path.display(), "read the changed secret {}", self.path.display());
                    loaded.value = Arc::new(value);
                }
                Err(error) => tracing::error!(%error, "cannot use a changed secret; its previous value stays: {error}"),
            }
        }
        loaded.value.clone()
    }
}

fn stamp(path: &Path) -> Stamp {
    fs::metadata(path).ok().map(|file| (file.dev(), file.ino(), file.len(), file.ctime(), file.ctime_nsec()))
}

fn read(path: &Path) -> Result<SecretValue, SecretError> {
    let unreadable = |cause| SecretError::Unreadable { path: path.to_owned(), cause };
    let file = File::open(path).map_err(unreadable)?;
    if let Some(mode) = permissions::exposed(&file.metadata().map_err(unreadable)?) {
        return Err(SecretError::Exposed { path: path.to_owned(), mode });
    }
    let mut value = SecretValue(Vec::with_capacity(LONGEST_BYTES + 2));
    file.take(LONGEST_BYTES as u64 + 2).read_to_end(&mut value.0).map_err(unreadable)?;
    for end in [b'\n', b'\r'] {
        if value.0.last() == Some(&end) {
            value.0.pop();
        }
    }
    let is_visible = value.0.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    let is_header = is_visible && HeaderValue::from_bytes(&value.0).is_ok();
    if !is_header || !(SHORTEST_BYTES..=LONGEST_BYTES).contains(&value.0.len()) {
        return Err(SecretError::Malformed { path: path.to_owned() });
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        let new = path.with_extension("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(new, path).unwrap();
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_bad_one_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payment.key");
        write(&path, "sk_test_1234\n", 0o600);
        let file = SecretFile::open(&path).unwrap();
        assert_eq!(file.value().bytes(), b"sk_test_1234");
        write(&path, "sk_test_5678", 0o600);
        assert_eq!(file.value().bytes(), b"sk_test_5678");
        write(&path, "short", 0o600);
        assert_eq!(file.value().bytes(), b"sk_test_5678");
        write(&path, "sk_test_9999", 0o644);
        assert_eq!(file.value().bytes(), b"sk_test_5678");
        fs::remove_file(&path).unwrap();
        assert_eq!(file.value().bytes(), b"sk_test_5678");
        write(&path, "sk_test_0000\r\n", 0o600);
        assert_eq!(file.value().bytes(), b"sk_test_0000");
    }

    #[test]
    fn a_file_that_others_read_or_that_is_no_header_is_refused_without_showing_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("payment.key");
        assert!(SecretFile::open(&path).unwrap_err().to_string().contains("Name an existing file"));
        write(&path, "sk_test_1234", 0o644);
        assert!(SecretFile::open(&path).unwrap_err().to_string().contains("set the mode to 600"));
        for text in
            ["", "sk_test", "sk_test_1\nsk_test_2", "sk_test_ä", "sk\u{1b}_test_1", &"x".repeat(LONGEST_BYTES + 1)]
        {
            write(&path, text, 0o600);
            let refused = SecretFile::open(&path).unwrap_err();
            assert!(matches!(refused, SecretError::Malformed { .. }), "{text}");
            assert!(text.is_empty() || !format!("{refused} {refused:?}").contains(text), "{refused}");
        }
        write(&path, "sk_test_1234", 0o600);
        assert!(!format!("{:?}", SecretFile::open(&path).unwrap()).contains("sk_test"));
    }
}
