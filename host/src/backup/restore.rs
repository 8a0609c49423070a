//! Restores a backup into a data folder.
//!
//! First the backup is checked, and a second copy of it is written into the data folder and synced. Only then do other files of
//! the folder change. While they change, a marker says that the folder is half restored, and no host starts on it.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, bail};
use storage::folder::{DataFolder, RESTORING};

use super::contents::{Contents, REVISIONS, STAGE};
use super::copy;
use super::file::{is_database, is_key};
use super::folder::{names, private_folder, remove, sync};

/// The suffixes of SQLite's other files beside a database.
/// SQLite would apply old ones to a restored database of the same name.
const SQLITE_SUFFIXES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Restores a backup into a data folder that no host uses.
/// Returns the list of its files. Blocks on the disk.
///
/// If the folder contains databases, keys or components, the backup is refused. With `replace` they are removed.
///
/// # Errors
/// One sentence with the problem and the next step. The folder is unchanged or marked as half restored.
pub fn restore(backup: &Path, data: &Path, replace: bool) -> anyhow::Result<Contents> {
    let contents = Contents::read(backup)?;
    contents.verify(backup)?;
    let folder = DataFolder::lock(data)?;
    let data = folder.path();
    let existing = data_files(data)?;
    if let Some(first) = existing.first().filter(|_| !replace) {
        bail!(
            "{} contains {first} already: name an empty folder, or remove its databases, keys and components with --replace",
            data.display()
        );
    }
    contents.stage(backup, &data.join(STAGE))?;
    let marker = data.join(RESTORING);
    File::create(&marker)
        .and_then(|file| file.sync_all())
        .with_context(|| format!("cannot write {}", marker.display()))?;
    sync(data)?;
    for name in &existing {
        fs::remove_file(data.join(name)).with_context(|| format!("cannot remove {name} in {}", data.display()))?;
    }
    contents.move_in(data)?;
    fs::remove_file(&marker).with_context(|| format!("cannot remove {}", marker.display()))?;
    sync(data)?;
    Ok(contents)
}

/// The databases, keys and components in a folder, as paths relative to it.
fn data_files(data: &Path) -> anyhow::Result<Vec<String>> {
    let is_data = |name: &String| {
        let database = SQLITE_SUFFIXES.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        is_database(database) || is_key(name)
    };
    let mut files: Vec<String> = names(data)?.into_iter().filter(is_data).collect();
    files.extend(names(&data.join(REVISIONS))?.into_iter().map(|name| format!("{REVISIONS}/{name}")));
    Ok(files)
}

impl Contents {
    /// Copies the backup into a folder on the disk of the data folder.
    fn stage(&self, backup: &Path, stage: &Path) -> anyhow::Result<()> {
        remove(stage)?;
        private_folder(&stage.join(REVISIONS))?;
        for (name, file) in &self.files {
            if copy::file(&backup.join(name), &stage.join(name))? != *file {
                bail!("{name} changed while it was copied from {}: try again, or use another backup", backup.display());
            }
        }
        sync(&stage.join(REVISIONS))?;
        sync(stage)
    }

    /// Moves the staged files to their places.
    fn move_in(&self, data: &Path) -> anyhow::Result<()> {
        let (stage, revisions) = (data.join(STAGE), data.join(REVISIONS));
        private_folder(&revisions)?;
        for name in self.files.keys() {
            fs::rename(stage.join(name), data.join(name))
                .with_context(|| format!("cannot move {name} into {}", data.display()))?;
        }
        remove(&stage)?;
        sync(&revisions)?;
        sync(data)
    }
}
