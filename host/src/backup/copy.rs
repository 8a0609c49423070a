//! One file of a backup: copied, checked, measured.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest as _, Sha256};

use super::Entry;

const CHUNK_BYTES: usize = 64 << 10;

/// Whether a file is a database, by its name.
pub(super) fn is_database(name: &str) -> bool {
    name.ends_with(".db")
}

/// Copies a database as it is at one moment, whoever writes to it meanwhile, and checks the copy.
pub(super) fn database(from: &Path, to: &Path) -> anyhow::Result<()> {
    let target = to.to_str().with_context(|| format!("{} is not UTF-8, which SQLite needs", to.display()))?;
    // Made here for its mode. SQLite takes a file that is empty for one that is not there.
    create(to)?;
    // What reads a write-ahead log must be able to write the index beside it.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let copied = Connection::open_with_flags(from, flags).and_then(|live| live.execute("VACUUM INTO ?1", [target]));
    copied.with_context(|| format!("cannot copy the database {}", from.display()))?;
    check(to)
}

/// Copies a file that nobody changes.
pub(super) fn file(from: &Path, to: &Path) -> anyhow::Result<Entry> {
    let mut source = File::open(from).with_context(|| format!("cannot read {}", from.display()))?;
    let mut target = create(to)?;
    let copied = std::io::copy(&mut source, &mut target).and_then(|_| target.flush());
    copied.with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    entry(to)
}

/// The length and the digest of a file, which is on the disk when this returns.
pub(super) fn entry(path: &Path) -> anyhow::Result<Entry> {
    let measure = || -> std::io::Result<Entry> {
        let mut file = File::open(path)?;
        file.sync_all()?;
        let (mut bytes, mut digest, mut chunk) = (0, Sha256::new(), vec![0; CHUNK_BYTES]);
        loop {
            let read = file.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            digest.update(&chunk[..read]);
            bytes += read as u64;
        }
        let sha256 = digest.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        Ok(Entry { bytes, sha256 })
    };
    measure().with_context(|| format!("cannot read {}", path.display()))
}

/// Refuses a database whose structure or references are damaged.
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
        Ok(table.map(|table| format!("a row of {table} refers to one that is not there")))
    };
    match find().with_context(|| format!("cannot check {}", path.display()))? {
        None => Ok(()),
        Some(finding) => bail!("the database {} is damaged: {finding}", path.display()),
    }
}

fn create(path: &Path) -> anyhow::Result<File> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    made.with_context(|| format!("cannot make {}", path.display()))
}
