//! The data folder of one host, and the lock that keeps other hosts away.
//!
//! A [`DataFolder`] proves that no other host writes to the folder. SQLite's own locks would allow two hosts to share a file. But
//! each host keeps state about its files in memory, and these states would diverge.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::permissions;

/// The name of the lock file.
pub const LOCK: &str = "lock";

/// The default name of the folder with compiled artifacts.
///
/// The engine decides from its owner whether it can be trusted.
pub const CACHE: &str = "cache";

/// Exists while a restore is running.
///
/// The files beside it are partly old and partly from the backup.
pub const RESTORING: &str = "restoring";

/// A locked data folder.
///
/// The lock ends when this is dropped or when the process ends.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    lock: File,
}

/// Why a folder cannot be the data folder.
#[derive(Debug, Error)]
pub enum FolderError {
    /// It cannot be created, read or written.
    #[error("cannot use the data folder {}: {cause}", path.display())]
    Unusable {
        /// The path of the folder, as configured.
        path: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// Other users may write to it.
    #[error(
        "others can write to the data folder {} (mode {mode:03o}): run `chmod 700` on it, or name a new folder inside \
         it, which this host then creates", path.display()
    )]
    Open {
        /// The path of the folder, as configured.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another host holds the lock.
    #[error("another host is using the data folder {}: stop it, or give this host a folder of its own", path.display())]
    Taken {
        /// The path of the folder, as configured.
        path: PathBuf,
    },
    /// A restore was interrupted.
    #[error(
        "the data folder {} is half restored: run `comptoir restore` with --replace on it again",
        path.display()
    )]
    HalfRestored {
        /// The path of the folder, as configured.
        path: PathBuf,
    },
    /// The name would lead out of the folder or is too long.
    #[error("{0:?} cannot name a database: use at most 64 letters, digits, `-` and `_`")]
    Name(String),
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        // Closing the file is not enough. If another thread is starting a process now, that process holds a copy of the file
        // until it executes its program.
        let _ = self.lock.unlock();
    }
}

impl DataFolder {
    /// Locks the folder. Creates it with mode 0700 if it is missing.
    ///
    /// # Errors
    ///
    /// [`FolderError::Taken`] if another host holds the lock. Else the reason why the folder cannot be used.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FolderError> {
        let folder = Self::lock(path)?;
        Self::check_whole(&folder.path)?;
        Ok(folder)
    }

    /// Refuses a folder with an interrupted restore.
    ///
    /// # Errors
    ///
    /// [`FolderError::HalfRestored`].
    pub fn check_whole(path: &Path) -> Result<(), FolderError> {
        if path.join(RESTORING).exists() {
            return Err(FolderError::HalfRestored { path: path.to_owned() });
        }
        Ok(())
    }

    /// Locks the folder like [`DataFolder::open`], even after an interrupted restore.
    ///
    /// A restore needs this.
    ///
    /// # Errors
    ///
    /// Those of [`DataFolder::open`], except [`FolderError::HalfRestored`].
    pub fn lock(path: impl AsRef<Path>) -> Result<Self, FolderError> {
        let path = path.as_ref();
        let unusable = |cause| FolderError::Unusable { path: path.to_owned(), cause };
        make(path).map_err(unusable)?;
        // Resolved once, so that the databases stay in place if a symbolic link changes later.
        let resolved = path.canonicalize().map_err(unusable)?;
        let metadata = resolved.metadata().map_err(unusable)?;
        if let Some(mode) = permissions::open_to_others(&metadata) {
            return Err(FolderError::Open { path: path.to_owned(), mode });
        }
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(resolved.join(LOCK))
            .map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::Taken { path: path.to_owned() }),
            Err(TryLockError::Error(cause)) => return Err(unusable(cause)),
        }
        if permissions::is_shared_volume(&metadata) {
            let changed = permissions::remove_group_permissions(&resolved, CACHE).map_err(unusable)?;
            tracing::info!(
                target: crate::LOG_TARGET,
                changed,
                "the data folder {} is a volume shared with a group: removed the group's permissions from its files",
                path.display()
            );
        }
        Ok(Self { path: resolved, lock })
    }

    /// The absolute path of the folder, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the disk accepts and flushes a write in a data folder.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub fn check_writes(folder: &Path) -> io::Result<()> {
        let path = folder.join("write-check");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let written = file.write_all(&[0; 4096]).and_then(|()| file.sync_all());
        std::fs::remove_file(&path)?;
        written
    }

    /// The path of a service's database: `<folder>/<service>.db`.
    ///
    /// # Errors
    ///
    /// [`FolderError::Name`] if the name is empty, longer than 64 bytes, or contains characters other than letters, digits, `-`
    /// and `_`.
    pub fn database(&self, service: &str) -> Result<PathBuf, FolderError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if service.is_empty() || service.len() > 64 || !service.bytes().all(plain) {
            return Err(FolderError::Name(service.to_owned()));
        }
        Ok(self.path.join(format!("{service}.db")))
    }
}

/// Creates the folder and its missing parents, and flushes their names to disk.
///
/// Else a power failure could remove the name of the folder, and with it all files inside. The name is flushed at every start,
/// because an earlier process may have been killed before it did that.
fn make(path: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing = path.ancestors().skip(1).take_while(is_missing).count();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    path.ancestors().take(missing + 1).try_for_each(|made| {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match File::open(above) {
            Ok(above) => above.sync_all(),
            // The parent folder belongs to another user, who gave this folder to the host's user.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            Err(error) => Err(error),
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_second_host_learns_which_folder_is_taken_and_what_to_do() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("data");
        let first = DataFolder::open(&path).unwrap();
        let refusal = DataFolder::open(&path).unwrap_err();
        assert!(matches!(refusal, FolderError::Taken { .. }));
        assert!(refusal.to_string().contains(path.to_str().unwrap()), "{refusal}");
        assert!(refusal.to_string().contains("stop it"), "{refusal}");
        drop(first);
        DataFolder::open(&path).unwrap();
    }

    #[test]
    fn only_the_owner_may_use_a_new_folder() {
        let outer = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(outer.path().join("a/b")).unwrap();
        assert_eq!(folder.path().metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(folder.path().join("lock").metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_folder_writable_by_others_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        set_permissions(outer.path(), Permissions::from_mode(0o770)).unwrap();
        let refusal = DataFolder::open(outer.path()).unwrap_err();
        assert!(matches!(refusal, FolderError::Open { mode: 0o770, .. }), "{refusal}");
    }

    #[test]
    fn group_permissions_of_a_shared_volume_are_removed() {
        let outer = tempfile::tempdir().unwrap();
        let at = |name: &str| outer.path().join(name);
        std::fs::create_dir(at("revisions")).unwrap();
        std::fs::create_dir(at(CACHE)).unwrap();
        for file in ["key", "revisions/one.wasm", "cache/mac-key", "open"] {
            std::fs::write(at(file), "x").unwrap();
        }
        // Kubelet does the same for fsGroup: it lets the group read and write, and sets setgid on folders.
        let given = [
            ("key", 0o660),
            ("revisions/one.wasm", 0o660),
            ("cache/mac-key", 0o660),
            ("open", 0o664),
            ("revisions", 0o2770),
        ];
        for (name, mode) in given.into_iter().chain([(CACHE, 0o2770), ("", 0o2770)]) {
            set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
        }
        DataFolder::open(outer.path()).unwrap();
        let mode = |name| at(name).metadata().unwrap().mode() & 0o7777;
        assert_eq!((mode("key"), mode("revisions"), mode("revisions/one.wasm")), (0o600, 0o700, 0o600));
        assert_eq!(mode("open"), 0o664, "a file that everybody may read stays as it is, so that its check refuses it");
        assert_eq!(
            (mode(CACHE), mode("cache/mac-key")),
            (0o2770, 0o660),
            "the cache keeps its mode, so that the engine sees that it was open to others"
        );
    }

    #[test]
    fn a_file_instead_of_a_folder_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("file");
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(DataFolder::open(&path), Err(FolderError::Unusable { .. })));
    }

    #[test]
    fn a_database_name_cannot_lead_out_of_the_folder() {
        let outer = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(outer.path().join("data")).unwrap();
        assert_eq!(folder.database("orders").unwrap(), folder.path().join("orders.db"));
        for name in ["", "../orders", "a/b", "a.db", "ä", "a\0b"] {
            assert!(matches!(folder.database(name), Err(FolderError::Name(_))), "{name:?}");
        }
    }
}
