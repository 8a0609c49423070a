//! Who may use what the host must keep to itself, by owner and mode: one rule for secret files, one for the data folder.
//!
//! A secret file is its owner's alone (0600). One that root owns may be read by its group (0640), which is how secrets are given to a
//! service that does not run as root. PostgreSQL has the same rule for keys.
//!
//! Only the host's user may write to the data folder. Kubernetes gives a volume to a group of the container's process (`fsGroup`):
//! it sets the folder's setgid bit and lets the group write. Such a folder is accepted if this process is in the group.
//!
//! Knows nothing of what a file is for.

use std::fs::{self, Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// Group and others, each with reading, writing, and executing or entering.
const GROUP: u32 = 0o070;
const OTHERS: u32 = 0o007;
const GROUP_BEYOND_READING: u32 = 0o030;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const SETGID: u32 = 0o2000;

/// The mode of a secret file that others may use; none for one that is kept well.
pub fn exposed(file: &Metadata) -> Option<u32> {
    is_exposed(file.uid(), file.mode()).then_some(file.mode() & 0o777)
}

fn is_exposed(owner: u32, mode: u32) -> bool {
    let forbidden = if owner == 0 { GROUP_BEYOND_READING | OTHERS } else { GROUP | OTHERS };
    mode & forbidden != 0
}

/// The mode of a data folder that others may write to; none for one that is kept well.
pub fn open_to_others(folder: &Metadata) -> Option<u32> {
    let mode = folder.mode();
    let is_shared = || is_shared_volume(folder) && is_own_group(folder.gid());
    let is_open = mode & OTHERS_WRITE != 0 || (mode & GROUP_WRITES != 0 && !is_shared());
    is_open.then_some(mode & 0o777)
}

/// Whether a folder is as Kubernetes leaves a volume that it gives to a group.
pub fn is_shared_volume(folder: &Metadata) -> bool {
    folder.mode() & SETGID != 0 && folder.mode() & GROUP_WRITES != 0
}

fn is_own_group(group: u32) -> bool {
    let others = rustix::process::getgroups().unwrap_or_default();
    std::iter::once(rustix::process::getegid()).chain(others).any(|own| own.as_raw() == group)
}

/// Takes from the group what it may do with this user's files and folders in a folder, except with the one of a name. Kubernetes lets
/// the group of a shared volume read and write all of them, each time that it mounts it. Files that are open to others stay as they
/// are, and so do links. Gives how many were changed.
///
/// # Errors
/// What the system says.
pub fn take_from_group(folder: &Path, except: &str) -> io::Result<usize> {
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
            changed += take_from_group(&entry.path(), "")?;
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_file_is_its_owners_alone_or_roots_and_readable_by_a_group() {
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
    fn a_data_folder_is_not_writable_by_others_but_for_the_own_group_of_a_shared_volume() {
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
    fn a_group_that_the_process_is_not_in_is_not_its_own() {
        let own = |group| is_own_group(group);
        assert!(own(rustix::process::getegid().as_raw()));
        assert!(!own(4_000_000_000));
    }
}
