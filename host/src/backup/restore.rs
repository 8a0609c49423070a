//! A backup put back into a data folder.
//!
//! Nothing in the folder changes before the backup was found sound and a second copy of it lies in the folder, on the disk.
//! From then on until the end the folder is marked as half restored, and no host starts on it.

use std::fs::{self, File};
use std::path::{Component, Path};

use anyhow::{Context as _, bail};
use storage::folder::{DataFolder, LOCK, RESTORING};

use super::{CONTENTS, Contents, FORMAT, REVISIONS, copy, is_key, names, private_folder, remove, sync};

/// Where the files lie until all of them are there.
const STAGE: &str = ".restore";

/// What SQLite puts beside a database. Beside another database it would be taken for part of it.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Puts a backup into a data folder that no host uses, and gives what it held. Blocks on the disk.
///
/// What is in the folder already stays where it is, and the backup is refused, unless `replace` says that its databases, keys
/// and components may go.
///
/// # Errors
/// One sentence that says what was wrong and what to do. The folder is as it was, or is marked as half restored.
pub fn restore(backup: &Path, data: &Path, replace: bool) -> anyhow::Result<Contents> {
    let contents = Contents::read(backup)?;
    contents.verify(backup)?;
    let folder = DataFolder::lock(data)?;
    let data = folder.path();
    let held = held(data)?;
    if let Some(first) = held.first().filter(|_| !replace) {
        bail!(
            "{} holds {first} already: name an empty folder, or give up what it holds with --replace",
            data.display()
        );
    }
    contents.stage(backup, &data.join(STAGE))?;
    let marker = data.join(RESTORING);
    File::create(&marker)
        .and_then(|file| file.sync_all())
        .with_context(|| format!("cannot write {}", marker.display()))?;
    sync(data)?;
    for name in &held {
        fs::remove_file(data.join(name)).with_context(|| format!("cannot remove {name} in {}", data.display()))?;
    }
    contents.take_in(data)?;
    fs::remove_file(&marker).with_context(|| format!("cannot remove {}", marker.display()))?;
    sync(data)?;
    Ok(contents)
}

/// What of a host's data is in a folder, by path relative to it.
fn held(data: &Path) -> anyhow::Result<Vec<String>> {
    let is_data = |name: &String| {
        let beside = BESIDE.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        copy::is_database(beside) || is_key(name)
    };
    let mut held: Vec<String> = names(data)?.into_iter().filter(is_data).collect();
    held.extend(names(&data.join(REVISIONS))?.into_iter().map(|name| format!("{REVISIONS}/{name}")));
    Ok(held)
}

impl Contents {
    fn read(backup: &Path) -> anyhow::Result<Self> {
        let shown = backup.display();
        let text = fs::read(backup.join(CONTENTS)).with_context(|| {
            format!("{shown} is no backup, which has a {CONTENTS}: name one of the folders that `comptoir backup` made")
        })?;
        let contents: Self = serde_json::from_slice(&text)
            .with_context(|| format!("{shown}/{CONTENTS} cannot be read: use another backup"))?;
        if contents.format != FORMAT {
            bail!(
                "{shown} has the format {}, and this host reads {FORMAT}: use the host that made it",
                contents.format
            );
        }
        let is_inside = |name: &String| {
            let path = Path::new(name);
            let folder = path.parent().unwrap_or(Path::new(""));
            path.components().all(|part| matches!(part, Component::Normal(_)))
                && (folder == Path::new("") || folder == Path::new(REVISIONS))
                && ![LOCK, RESTORING, STAGE].contains(&name.as_str())
        };
        match contents.files.keys().find(|name| !is_inside(name)) {
            Some(name) => bail!("{shown}/{CONTENTS} names {name:?}, which no backup holds: use another backup"),
            None => Ok(contents),
        }
    }

    /// Refuses a backup of which anything is missing, changed or damaged.
    fn verify(&self, backup: &Path) -> anyhow::Result<()> {
        for (name, entry) in &self.files {
            let path = backup.join(name);
            if copy::entry(&path)? != *entry {
                bail!("{} is not what the backup held when it was made: use another backup", path.display());
            }
            if copy::is_database(name) {
                copy::check(&path)?;
            }
        }
        Ok(())
    }

    /// Copies the backup to the disk that it is to be on.
    fn stage(&self, backup: &Path, stage: &Path) -> anyhow::Result<()> {
        remove(stage)?;
        private_folder(&stage.join(REVISIONS))?;
        for (name, entry) in &self.files {
            if copy::file(&backup.join(name), &stage.join(name))? != *entry {
                bail!("{name} changed while it was copied from {}", backup.display());
            }
        }
        sync(&stage.join(REVISIONS))?;
        sync(stage)
    }

    /// Moves what was staged to its place.
    fn take_in(&self, data: &Path) -> anyhow::Result<()> {
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
