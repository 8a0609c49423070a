//! Copies databases and other files, and checks databases.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use rusqlite::{Connection, OpenFlags};

use super::file::BackupFile;

/// Copies a database as it is at one moment, and checks the copy.
/// Other connections may write to it meanwhile.
pub(super) fn database(from: &Path, to: &Path) -> anyhow::Result<()> {
    let target = to.to_str().with_context(|| {
        format!("the path {} is not UTF-8, which SQLite needs: choose another folder", to.display())
    })?;
    // SQLite treats an empty file as a missing one. Creating it here sets its mode.
    create(to)?;
    // Reading a write-ahead log requires write access to its index.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let copied = Connection::open_with_flags(from, flags).and_then(|live| live.execute("VACUUM INTO ?1", [target]));
    copied.with_context(|| format!("cannot copy the database {}", from.display()))?;
    check(to)
}

/// Copies a file that does not change meanwhile.
pub(super) fn file(from: &Path, to: &Path) -> anyhow::Result<BackupFile> {
    let mut source = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let mut target = create(to)?;
    let copied = std::io::copy(&mut source, &mut target).and_then(|_| target.flush());
    copied.with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    BackupFile::measure(to)
}

/// Checks the structure and the foreign keys of a database.
pub(super) fn check(path: &Path) -> anyhow::Result<()> {
    let find = || -> rusqlite::Result<Option<String>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(path, flags)?;
        let found: String = database.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if found != "ok" {
            return Ok(Some(found));
        }
        let mut broken = database.prepare("PRAGMA foreign_key_check")?;
        let table = broken.query([])?.next()?.map(|row| row.get::<_, String>(0)).transpose()?;
        Ok(table.map(|table| format!("a row of {table} refers to a missing row")))
    };
    match find().with_context(|| format!("cannot check {}", path.display()))? {
        None => Ok(()),
        Some(finding) => bail!("the database {} is damaged: {finding}", path.display()),
    }
}

fn create(path: &Path) -> anyhow::Result<File> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created.with_context(|| format!("cannot create {}", path.display()))
}
