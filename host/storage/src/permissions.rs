//! Checks owner and mode of secret files and of the data folder.
//!
//! A secret file may be readable by its owner only (0600). If root owns it, its group may read it too (0640). Operators give
//! secrets that way to a service that does not run as root. PostgreSQL has the same rule for keys.
//!
//! Only the host's user may write to the data folder. Kubernetes gives a volume to a group of the container's process
//! (`fsGroup`): it sets the folder's setgid bit and lets the group write. Such a folder is accepted if this process is in the
//! group.
//!
//! This module does not know what a file is for.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Permission bits of group and others: read, write, and execute or enter.
const GROUP: u32 = 0o070;
const OTHERS: u32 = 0o007;
const GROUP_BEYOND_READING: u32 = 0o030;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const SETGID: u32 = 0o2000;

/// The mode of a secret file if others may use it; else `None`.
pub fn exposed(file: &Metadata) -> Option<u32> {
    is_exposed(file.uid(), file.mode()).then_some(file.mode() & 0o777)
}

fn is_exposed(owner: u32, mode: u32) -> bool {
    let forbidden = if owner == 0 { GROUP_BEYOND_READING | OTHERS } else { GROUP | OTHERS };
    mode & forbidden != 0
}

/// The mode of a data folder if others may write to it; else `None`.
pub fn open_to_others(folder: &Metadata) -> Option<u32> {
    let mode = folder.mode();
    let is_shared = || is_shared_volume(folder) && is_own_group(folder.gid());
    let is_open = mode & OTHERS_WRITE != 0 || (mode & GROUP_WRITES != 0 && !is_shared());
    is_open.then_some(mode & 0o777)
}

/// Whether a folder looks like a volume that Kubernetes gave to a group.
pub fn is_shared_volume(folder: &Metadata) -> bool {
    folder.mode() & SETGID != 0 && folder.mode() & GROUP_WRITES != 0
}

fn is_own_group(group: u32) -> bool {
    let others = rustix::process::getgroups().unwrap_or_default();
    std::iter::once(rustix::process::getegid()).chain(others).any(|own| own.as_raw() == group)
}

/// Removes the group's permissions from this user's files in a folder, recursively.
///
/// Skips the entry named `except`, symbolic links, and files that are open to others. Returns how many entries it changed.
/// Kubernetes lets the group of a shared volume read and write everything in it, each time it mounts the volume.
///
/// # Errors
///
/// The system's error.
pub fn remove_group_permissions(folder: &Path, except: &str) -> io::Result<usize> {
    let mut changed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        let is_own = metadata.uid() == rustix::process::geteuid().as_raw();
        if !is_own || metadata.is_symlink() || entry.file_name() == except {
            continue;
        }
        if metadata.mode() & GROUP != 0 && metadata.mode() & OTHERS == 0 {
            fs::set_permissions(entry.path(), Permissions::from_mode(metadata.mode() & 0o700))?;
            changed += 1;
        }
        if metadata.is_dir() {
            changed += remove_group_permissions(&entry.path(), "")?;
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_may_use_a_secret_file_but_a_group_may_read_roots() {
        let (root, user) = (0, 1000);
        for (owner, mode) in [(user, 0o600), (user, 0o400), (root, 0o600), (root, 0o640), (root, 0o440)] {
            assert!(!is_exposed(owner, 0o100_000 | mode), "{owner} {mode:o}");
        }
        let exposed = [(user, 0o640), (user, 0o660), (user, 0o604), (user, 0o601), (root, 0o660), (root, 0o650)];
        for (owner, mode) in exposed.into_iter().chain([(root, 0o644), (root, 0o641), (root, 0o642)]) {
            assert!(is_exposed(owner, 0o100_000 | mode), "{owner} {mode:o}");
        }
    }

    #[test]
    fn only_the_own_group_of_a_shared_volume_may_write_too() {
        let folder = tempfile::tempdir().unwrap();
        let open = |mode| {
            fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
            open_to_others(&folder.path().metadata().unwrap())
        };
        for mode in [0o700, 0o750, 0o755, 0o2770, 0o2775] {
            assert_eq!(open(mode), None, "{mode:o}");
        }
        for mode in [0o770, 0o775, 0o777, 0o2777, 0o702] {
            assert_eq!(open(mode), Some(mode & 0o777), "{mode:o}");
        }
    }

    #[test]
    fn the_groups_of_the_process_are_its_own() {
        let own = |group| is_own_group(group);
        assert!(own(rustix::process::getegid().as_raw()));
        assert!(!own(4_000_000_000));
    }
}
