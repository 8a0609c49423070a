//! Folders: listing, creating, removing and syncing them.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::Context as _;

/// The sorted names of the files in a folder. Empty if the folder does not exist.
pub(super) fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    listed(folder, fs::FileType::is_file)
}

fn listed(folder: &Path, is_wanted: fn(&fs::FileType) -> bool) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    for entry in entries {
        let entry = entry?;
        if is_wanted(&entry.file_type()?) {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The sorted names of the folders in a folder. Empty if the folder does not exist.
pub(super) fn folders(folder: &Path) -> anyhow::Result<Vec<String>> {
    listed(folder, fs::FileType::is_dir)
}

/// Creates a folder that only its owner may use, and its missing parents.
/// An existing folder is no error.
pub(super) fn private_folder(path: &Path) -> anyhow::Result<()> {
    let created = DirBuilder::new().recursive(true).mode(0o700).create(path);
    created.with_context(|| format!("cannot create the folder {}", path.display()))
}

/// Removes a folder with all that it contains. A missing folder is no error.
pub(super) fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot remove {}", folder.display())),
    }
}

/// Syncs a folder, so that the names of its files survive a power cut.
pub(super) fn sync(folder: &Path) -> anyhow::Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| format!("cannot sync {}", folder.display()))
}
