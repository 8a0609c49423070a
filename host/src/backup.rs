//! Backups: made while a host serves or while none does, and put back.
//!
//! A backup is a folder of mode 0700, named by the moment at which it was begun, in UTC: `2026-11-23T06-07-00.123Z`. It holds
//! every database, the keys and the components of a data folder, and `backup.json` with the length and the SHA-256 of each
//! file. It leaves out what the next start makes again: the admin token and the compiled code.
//!
//! It is made through SQLite and never from the bytes of a database that is in use, so a host may serve and write meanwhile, in
//! this process or in another. While a large database is copied, its write-ahead log grows, and a writer that wants to shorten it
//! waits for a few seconds now and then.
//!
//! # What holds
//!
//! - Whatever was acknowledged before a backup was begun is in it.
//! - Each database is as it was at one moment. The services' databases are begun at once, so their moments are close, but they
//!   are not the same: of something that two services keep together, a backup may hold one half, as after a crash.
//! - `sessions.db` is read after the services' databases, so no session that one of them holds for ended lives on. `deploys.db`
//!   is read after that, so it knows at least the schemas that are there, and the components come last. Between them come the keys,
//!   so no good token that was given before the backup was begun is refused after it was put back.
//! - A backup is there whole, checked and on the disk, or not at all. Making one changes no other.

mod copy;
mod restore;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use storage::folder::DataFolder;
use time::OffsetDateTime;

pub use restore::restore;

/// Lists what a backup holds.
const CONTENTS: &str = "backup.json";

/// What a backup is called until it is whole.
const PARTIAL: &str = ".partial";

/// Held by the backup that is being made.
const LOCK: &str = ".lock";

/// The form of a backup that this host writes and reads.
const FORMAT: u32 = 1;

/// The components of a data folder.
const REVISIONS: &str = "revisions";

/// The host's own databases, in the order in which they are read.
const OWN_DATABASES: [&str; 2] = ["sessions.db", "deploys.db"];

/// What a backup holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Contents {
    format: u32,
    /// The host's version.
    comptoir: String,
    /// By path, relative to the backup.
    pub files: BTreeMap<String, Entry>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its length.
    pub bytes: u64,
    /// In hexadecimal.
    pub sha256: String,
}

/// A backup that was made.
#[derive(Debug)]
pub struct Backup {
    /// Its folder.
    pub path: PathBuf,
    /// What it holds.
    pub contents: Contents,
}

impl Contents {
    /// Whether a service's database is in it: those in PostgreSQL are not.
    pub fn has_services(&self) -> bool {
        self.files.keys().any(|name| copy::is_database(name) && !OWN_DATABASES.contains(&name.as_str()))
    }

    /// The bytes of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|entry| entry.bytes).sum()
    }
}

/// Makes a backup of a data folder, as a new folder inside `folder`. Blocks on the disk.
///
/// # Errors
/// One sentence that says what was wrong and what to do. The backups that were there are as they were.
pub fn create(data: &Path, folder: &Path) -> anyhow::Result<Backup> {
    let data = data.canonicalize().with_context(|| format!("cannot use the data folder {}", data.display()))?;
    DataFolder::check_whole(&data)?;
    private_folder(folder)?;
    let folder = folder.canonicalize()?;
    let _lock = lock(&folder)?;
    let partial = folder.join(PARTIAL);
    remove(&partial)?;
    let name = name(OffsetDateTime::now_utc());
    let made = fill(&data, &partial).and_then(|contents| {
        fs::rename(&partial, folder.join(&name))?;
        sync(&folder)?;
        Ok(Backup { path: folder.join(&name), contents })
    });
    if made.is_err() {
        // What failed is said; what is left of it, the next backup removes.
        let _ = remove(&partial);
    }
    made.with_context(|| format!("no backup was made of {}", data.display()))
}

/// Copies all that belongs into a backup, and writes down what that is.
fn fill(data: &Path, partial: &Path) -> anyhow::Result<Contents> {
    private_folder(&partial.join(REVISIONS))?;
    let files = names(data)?;
    let (own, services): (Vec<&String>, Vec<&String>) =
        files.iter().filter(|name| copy::is_database(name)).partition(|name| OWN_DATABASES.contains(&name.as_str()));
    if services.is_empty() && own.is_empty() {
        bail!("it holds no database: name the data folder of a host with --data");
    }
    thread::scope(|scope| {
        let copies: Vec<_> = services
            .iter()
            .map(|name| scope.spawn(move || copy::database(&data.join(name), &partial.join(name))))
            .collect();
        copies.into_iter().try_for_each(|copy| copy.join().unwrap_or_else(|_| bail!("a thread that copies panicked")))
    })?;
    for name in OWN_DATABASES.into_iter().filter(|name| own.iter().any(|own| own == name)) {
        copy::database(&data.join(name), &partial.join(name))?;
    }
    // Looked for now: the host makes and removes keys while this runs, and the databases took a while.
    for name in names(data)?.iter().filter(|name| is_key(name) && data.join(name).exists()) {
        copy::file(&data.join(name), &partial.join(name))?;
    }
    for name in names(&data.join(REVISIONS))?.iter().filter(|name| name.ends_with(".wasm")) {
        let path = Path::new(REVISIONS).join(name);
        // The host forgets old components while this runs.
        if data.join(&path).exists() {
            copy::file(&data.join(&path), &partial.join(&path))?;
        }
    }
    write_contents(partial)
}

fn write_contents(partial: &Path) -> anyhow::Result<Contents> {
    let mut files = BTreeMap::new();
    for (prefix, folder) in [(String::new(), partial.to_owned()), (format!("{REVISIONS}/"), partial.join(REVISIONS))] {
        for name in names(&folder)? {
            files.insert(format!("{prefix}{name}"), copy::entry(&folder.join(&name))?);
        }
        sync(&folder)?;
    }
    let contents = Contents { format: FORMAT, comptoir: env!("CARGO_PKG_VERSION").to_owned(), files };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(partial.join(CONTENTS))?;
    file.write_all(&serde_json::to_vec_pretty(&contents)?)?;
    file.sync_all()?;
    sync(partial)?;
    Ok(contents)
}

fn is_key(name: &str) -> bool {
    name.ends_with(".key")
}

/// Takes the folder of backups for one backup.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK));
    let file = file.with_context(|| format!("cannot write to {}", folder.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another backup is being made in {}: wait for its end", folder.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", folder.display())),
    }
}

fn name(now: OffsetDateTime) -> String {
    format!(
        "{:04}-{:02}-{:02}T{:02}-{:02}-{:02}.{:03}Z",
        now.year(),
        u8::from(now.month()),
        now.day(),
        now.hour(),
        now.minute(),
        now.second(),
        now.millisecond()
    )
}

/// The names of the files in a folder, sorted; none where there is no folder.
fn names(folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(names),
        entries => entries.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn private_folder(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the folder {}", path.display()))
}

/// Removes a folder with all that is in it, where it is there.
fn remove(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| format!("cannot remove {}", folder.display())),
    }
}

/// Makes the names in a folder survive a power cut.
fn sync(folder: &Path) -> anyhow::Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| format!("cannot sync {}", folder.display()))
}
