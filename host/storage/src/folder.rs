//! The folder that holds one host's files, and the lock that keeps it to one host.
//!
//! Holding a [`DataFolder`] is the proof that no other host writes there: SQLite's own locks would let two hosts share a
//! file, but what the hosts keep in memory about it would part ways.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::permissions;

/// The lock's file.
pub const LOCK: &str = "lock";

/// The folder of compiled code, unless the host is told another one. Its owner decides whether it can be trusted.
pub const CACHE: &str = "cache";

/// There while a backup is being put back: what is beside it belongs partly to the backup, partly to what was before.
pub const RESTORING: &str = "restoring";

/// A data folder, locked. Dropping it, or the end of the process however it comes, lets another host take it.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    lock: File,
}

/// Why a folder cannot hold this host's data.
#[derive(Debug, Error)]
pub enum FolderError {
    /// It cannot be created, read or written.
    #[error("the data folder {} cannot be used: {cause}", path.display())]
    Unusable {
        /// The folder as it was given.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Someone but its owner may write there.
    #[error(
        "the data folder {} has mode {mode:03o}, which lets others write to it: run `chmod 700` on it, or name a folder in it, which \
         this host then makes", path.display()
    )]
    Open {
        /// The folder as it was given.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another host holds the lock.
    #[error("another host is using the data folder {}: stop it, or give this host a folder of its own", path.display())]
    Taken {
        /// The folder as it was given.
        path: PathBuf,
    },
    /// A restore was cut off.
    #[error(
        "the data folder {} was left half restored: run `comptoir restore` with --replace on it again",
        path.display()
    )]
    HalfRestored {
        /// The folder as it was given.
        path: PathBuf,
    },
    /// The name would leave the folder, or clash with the lock.
    #[error("{0:?} cannot name a database: letters, digits, `-` and `_` only, and at most 64 of them")]
    Name(String),
}

impl Drop for DataFolder {
    fn drop(&mut self) {
        // Closing the file is not enough: a process that another thread starts at this moment holds a copy until it has become
        // another program.
        let _ = self.lock.unlock();
    }
}

impl DataFolder {
    /// Takes the folder, and creates it with mode 0700 where it is missing.
    ///
    /// # Errors
    ///
    /// [`FolderError::Taken`] while another host holds it; else why it cannot be used.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FolderError> {
        let folder = Self::lock(path)?;
        Self::check_whole(&folder.path)?;
        Ok(folder)
    }

    /// Refuses a folder that a restore left half done.
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

    /// Takes the folder as [`DataFolder::open`] does, whole or not: for a restore.
    ///
    /// # Errors
    ///
    /// Those of [`DataFolder::open`] but the last.
    pub fn lock(path: impl AsRef<Path>) -> Result<Self, FolderError> {
        let path = path.as_ref();
        let unusable = |cause| FolderError::Unusable { path: path.to_owned(), cause };
        make(path).map_err(unusable)?;
        // Resolved once: a path that changes its meaning later does not move the databases.
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
            let changed = permissions::take_from_group(&resolved, CACHE).map_err(unusable)?;
            tracing::info!(
                changed,
                "the data folder {} is a volume that is shared with a group: its files are now this user's alone",
                path.display()
            );
        }
        Ok(Self { path: resolved, lock })
    }

    /// The folder: absolute, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the disk takes what is written into a data folder now, durably. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// What the system said.
    pub fn check_writes(folder: &Path) -> io::Result<()> {
        let path = folder.join("write-check");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        let written = file.write_all(&[0; 4096]).and_then(|()| file.sync_all());
        std::fs::remove_file(&path)?;
        written
    }

    /// Where the database of a service lies: `<folder>/<service>.db`.
    ///
    /// # Errors
    ///
    /// [`FolderError::Name`] for a name that is not made of letters, digits, `-` and `_`.
    pub fn database(&self, service: &str) -> Result<PathBuf, FolderError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if service.is_empty() || service.len() > 64 || !service.bytes().all(plain) {
            return Err(FolderError::Name(service.to_owned()));
        }
        Ok(self.path.join(format!("{service}.db")))
    }
}

/// Makes the folder, and those above it that are missing, so that a power cut does not take away its name and with it all that
/// was synced below. The name is synced at each start: whoever made it may have been killed before that.
fn make(path: &Path) -> io::Result<()> {
    let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing = path.ancestors().skip(1).take_while(is_missing).count();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    path.ancestors().take(missing + 1).try_for_each(|made| {
        let above = made.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
        match File::open(above) {
            Ok(above) => above.sync_all(),
            // Somebody else's, who gave the folder to this user.
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
    fn a_second_host_is_told_which_folder_and_what_to_do() {
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
    fn a_new_folder_is_the_owners_alone() {
        let outer = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(outer.path().join("a/b")).unwrap();
        assert_eq!(folder.path().metadata().unwrap().mode() & 0o777, 0o700);
        assert_eq!(folder.path().join("lock").metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        let outer = tempfile::tempdir().unwrap();
        set_permissions(outer.path(), Permissions::from_mode(0o770)).unwrap();
        let refusal = DataFolder::open(outer.path()).unwrap_err();
        assert!(matches!(refusal, FolderError::Open { mode: 0o770, .. }), "{refusal}");
    }

    #[test]
    fn what_a_shared_volume_gives_to_the_group_is_taken_away_again() {
        let outer = tempfile::tempdir().unwrap();
        let at = |name: &str| outer.path().join(name);
        std::fs::create_dir(at("revisions")).unwrap();
        std::fs::create_dir(at(CACHE)).unwrap();
        for file in ["key", "revisions/one.wasm", "cache/mac-key", "open"] {
            std::fs::write(at(file), "x").unwrap();
        }
        // As kubelet does it for fsGroup: reading and writing for the group, and setgid for folders.
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
        assert_eq!(mode("open"), 0o664, "a file that anybody may read stays a fault");
        assert_eq!((mode(CACHE), mode("cache/mac-key")), (0o2770, 0o660), "the cache must see that it was open");
    }

    #[test]
    fn a_file_is_no_folder() {
        let outer = tempfile::tempdir().unwrap();
        let path = outer.path().join("file");
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(DataFolder::open(&path), Err(FolderError::Unusable { .. })));
    }

    #[test]
    fn a_name_cannot_leave_the_folder() {
        let outer = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(outer.path().join("data")).unwrap();
        assert_eq!(folder.database("orders").unwrap(), folder.path().join("orders.db"));
        for name in ["", "../orders", "a/b", "a.db", "ä", "a\0b"] {
            assert!(matches!(folder.database(name), Err(FolderError::Name(_))), "{name:?}");
        }
    }
}
