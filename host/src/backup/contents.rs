//! The list of files in a backup: `backup.json`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use storage::folder::{LOCK, RESTORING};

use super::copy;
use super::file::{BackupFile, is_database};
use super::folder::{names, sync};

/// The file with the list.
const CONTENTS: &str = "backup.json";

/// The format of the backups that this host writes and reads.
const FORMAT: u32 = 1;

/// The folder of components, in a data folder and in a backup.
pub(super) const REVISIONS: &str = "revisions";

/// The folder inside a data folder to which a backup is copied first.
pub(super) const STAGE: &str = ".restore";

/// The host's own databases, in the order in which they are copied.
pub(super) const OWN_DATABASES: [&str; 2] = ["sessions.db", "deploys.db"];

/// The files of a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Contents {
    format: u32,
    /// The version of the host that created the backup.
    comptoir: String,
    /// Each file by its path relative to the backup.
    pub files: BTreeMap<String, BackupFile>,
}

impl Contents {
    /// Whether the backup contains the database of a service.
    /// Databases in PostgreSQL are not in backups.
    pub fn has_services(&self) -> bool {
        self.files.keys().any(|name| is_database(name) && !OWN_DATABASES.contains(&name.as_str()))
    }

    /// The length of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// Lists the files of a backup, syncs them, and writes the list into it.
    pub(super) fn write(backup: &Path) -> anyhow::Result<Self> {
        let mut files = BTreeMap::new();
        for (prefix, folder) in [(String::new(), backup.to_owned()), (format!("{REVISIONS}/"), backup.join(REVISIONS))]
        {
            for name in names(&folder)? {
                files.insert(format!("{prefix}{name}"), BackupFile::measure(&folder.join(&name))?);
            }
            sync(&folder)?;
        }
        let contents = Self { format: FORMAT, comptoir: env!("CARGO_PKG_VERSION").to_owned(), files };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(backup.join(CONTENTS))?;
        file.write_all(&serde_json::to_vec_pretty(&contents)?)?;
        file.sync_all()?;
        sync(backup)?;
        Ok(contents)
    }

    /// Reads the list of a backup.
    /// Refuses other formats, and the names of files that no backup contains.
    pub(super) fn read(backup: &Path) -> anyhow::Result<Self> {
        let shown = backup.display();
        let text = fs::read(backup.join(CONTENTS)).with_context(|| {
            format!(
                "{shown} is not a backup, because it has no {CONTENTS}: name a folder that `comptoir backup` created"
            )
        })?;
        let contents: Self = serde_json::from_slice(&text)
            .with_context(|| format!("cannot read {shown}/{CONTENTS}: use another backup"))?;
        if contents.format != FORMAT {
            bail!(
                "{shown} has format {}, but this host reads format {FORMAT}: restore it with the version that created it",
                contents.format
            );
        }
        let is_expected = |name: &String| {
            let path = Path::new(name);
            let folder = path.parent().unwrap_or(Path::new(""));
            path.components().all(|part| matches!(part, Component::Normal(_)))
                && (folder == Path::new("") || folder == Path::new(REVISIONS))
                && ![LOCK, RESTORING, STAGE].contains(&name.as_str())
        };
        match contents.files.keys().find(|name| !is_expected(name)) {
            Some(name) => bail!("{shown}/{CONTENTS} lists {name:?}, which no backup contains: use another backup"),
            None => Ok(contents),
        }
    }

    /// Checks that no file of the backup is missing, changed or damaged.
    pub(super) fn verify(&self, backup: &Path) -> anyhow::Result<()> {
        for (name, file) in &self.files {
            let path = backup.join(name);
            if BackupFile::measure(&path)? != *file {
                bail!("{} changed since the backup was created: use another backup", path.display());
            }
            if is_database(name) {
                copy::check(&path)?;
            }
        }
        Ok(())
    }
}
