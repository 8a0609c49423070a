//! Creates backups of a data folder, and restores them. A host may serve meanwhile.
//!
//! A backup is a folder of mode 0700. Its name is the UTC time at which it was begun, such as `2026-11-23T06-07-00.123Z`. It
//! contains the databases, keys and components of a data folder, and `backup.json` with the length and SHA-256 of each file. It
//! does not contain the admin token and the compiled code, because the next start creates them again.
//!
//! Databases are copied through SQLite, never as bytes of a file in use. So a host can serve and write meanwhile, in this
//! process or in another. While a large database is copied, its write-ahead log grows. A writer that wants to shorten the
//! log sometimes waits a few seconds.
//!
//! # Invariants
//!
//! - A backup contains everything that was acknowledged before it was begun.
//! - Each database is copied as it was at one moment. The copies of the services' databases begin at the same time, so their
//!   moments are close but not equal. If two services keep related rows, a backup may have one half of them, as after a crash.
//! - `sessions.db` is copied after the services' databases. So if a service considers a session ended, the backup does too.
//!   `deploys.db` follows, so it knows at least the schemas in the backup. Then come the keys and last the components.
//!   Because of this order, a token that was issued before the backup is accepted after a restore.
//! - A backup is complete, checked and on the disk, or it does not exist. Creating one changes no other.

mod contents;
mod copy;
mod file;
mod folder;
mod restore;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context as _, bail};
use storage::folder::DataFolder;
use time::OffsetDateTime;

pub use contents::Contents;
use contents::{OWN_DATABASES, REVISIONS};
pub use file::BackupFile;
use file::{is_database, is_key};
use folder::{names, private_folder, remove, sync};
pub use restore::restore;

/// The name of a backup until it is complete.
const PARTIAL: &str = ".partial";

/// Locked while a backup is being created.
const LOCK: &str = ".lock";

/// A new backup.
#[derive(Debug)]
pub struct Backup {
    /// Its folder.
    pub path: PathBuf,
    /// Its files.
    pub contents: Contents,
}

/// Creates a backup of a data folder, as a new folder inside `folder`.
/// Blocks on the disk.
///
/// # Errors
/// One sentence with the problem and the next step. Older backups are unchanged.
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
        // The error is already reported. If this fails too, the next backup removes the rest.
        let _ = remove(&partial);
    }
    made.with_context(|| format!("cannot back up {}", data.display()))
}

/// The complete backups in a folder with their files, oldest first. A folder that does not exist has none.
/// Blocks on the disk.
///
/// # Errors
/// The folder, or the list of files in one of the backups, cannot be read.
pub fn list(folder: &Path) -> anyhow::Result<Vec<(String, Contents)>> {
    let is_whole = |name: &String| !name.starts_with('.');
    let names = folder::folders(folder)?.into_iter().filter(is_whole);
    names.map(|name| Ok((name.clone(), Contents::read(&folder.join(&name))?))).collect()
}

/// How many bytes a backup of a data folder takes at most, if nobody writes meanwhile.
/// Blocks on the disk.
///
/// # Errors
/// The folder cannot be read.
pub fn needed_bytes(data: &Path) -> anyhow::Result<u64> {
    let length = |path: PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
    // A write-ahead log holds pages that the copy of its database has.
    let databases = names(data)?.into_iter().filter(|name| is_database(name.strip_suffix("-wal").unwrap_or(name)));
    let components = names(&data.join(REVISIONS))?.into_iter().map(|name| Path::new(REVISIONS).join(name));
    Ok(databases.map(PathBuf::from).chain(components).map(|name| length(data.join(name))).sum())
}

/// Copies the files of a backup, and writes the list of them.
fn fill(data: &Path, partial: &Path) -> anyhow::Result<Contents> {
    private_folder(&partial.join(REVISIONS))?;
    let files = names(data)?;
    let (own, services): (Vec<&String>, Vec<&String>) =
        files.iter().filter(|name| is_database(name)).partition(|name| OWN_DATABASES.contains(&name.as_str()));
    if services.is_empty() && own.is_empty() {
        bail!("it contains no database: name the data folder of a host with --data");
    }
    thread::scope(|scope| {
        let copies: Vec<_> = services
            .iter()
            .map(|name| scope.spawn(move || copy::database(&data.join(name), &partial.join(name))))
            .collect();
        copies
            .into_iter()
            .try_for_each(|copy| copy.join().unwrap_or_else(|_| bail!("a thread panicked while it copied a database")))
    })?;
    for name in OWN_DATABASES.into_iter().filter(|name| own.iter().any(|own| own == name)) {
        copy::database(&data.join(name), &partial.join(name))?;
    }
    // List the keys only now. The host may have created and removed some while the databases were copied.
    for name in names(data)?.iter().filter(|name| is_key(name) && data.join(name).exists()) {
        copy::file(&data.join(name), &partial.join(name))?;
    }
    for name in names(&data.join(REVISIONS))?.iter().filter(|name| name.ends_with(".wasm")) {
        let path = Path::new(REVISIONS).join(name);
        // The host may have removed an old component meanwhile.
        if data.join(&path).exists() {
            copy::file(&data.join(&path), &partial.join(&path))?;
        }
    }
    Contents::write(partial)
}

/// Locks the folder of backups, so that only one backup is created at a time.
fn lock(folder: &Path) -> anyhow::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(folder.join(LOCK));
    let file = file.with_context(|| format!("cannot write to {}", folder.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another backup is being created in {}: wait for its end", folder.display())
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {}", folder.display())),
    }
}

/// The name of a backup that begins now.
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
