//! Gives a service an empty database, for development. Keeps the old one beside it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use rusqlite::Connection;
use storage::folder::DataFolder;

use crate::clock::Clock;
use crate::deploy::Record;
use crate::manifest::Manifest;

/// Moves the database of a service aside, so that the next start of the host makes an empty one. Returns where the old one is, which is
/// a complete SQLite file.
///
/// No host may use the data folder. Sessions, key-value entries and the history stay.
///
/// # Errors
/// The service has no database in the data folder, a host uses the folder, or a file cannot be moved. If the manifest names a
/// PostgreSQL server, nothing is moved: other hosts may use that database.
pub fn recreate_database(manifest: &Manifest, data: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let Some(service) = manifest.services.get(name) else {
        bail!("there is no service `{name}` in {}", manifest.file.display());
    };
    if !service.has_storage() {
        bail!("the service `{name}` has no database: \"storage\" is not in its `grants`");
    }
    if manifest.postgres.is_some() {
        bail!(
            "the database of `{name}` is in PostgreSQL, where other hosts may use it: drop its schema yourself (DROP SCHEMA \
             \"service_{name}\" CASCADE), then start again"
        );
    }
    let folder = DataFolder::open(data)?;
    let file = folder.database(name)?;
    if !file.exists() {
        bail!("the service `{name}` has no database yet: there is no {}", file.display());
    }
    let record = Record::open(folder.path(), Clock::default())?;
    close(&file);
    let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string().replace(':', "-");
    let old = with_suffix(&file, &format!(".old-{time}"));
    // The main file moves last. After a crash in between, the next attempt moves the rest.
    for suffix in ["-wal", "-shm", ""] {
        let (from, to) = (with_suffix(&file, suffix), with_suffix(&old, suffix));
        match std::fs::rename(&from, &to) {
            Err(error) if error.kind() == ErrorKind::NotFound && !suffix.is_empty() => {}
            moved => moved.with_context(|| format!("cannot move {} to {}", from.display(), to.display()))?,
        }
    }
    record.forget_database(name)?;
    Ok(old)
}

/// Moves the rows of the write-ahead log into the main file, as far as SQLite can read them. Then the main file is complete.
fn close(file: &Path) {
    let closed = Connection::open(file).and_then(|database| {
        database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        database.close().map_err(|(_, error)| error)
    });
    if let Err(error) = closed {
        // A damaged database can be moved too.
        tracing::warn!(%error, "cannot close {}, moving it as it is", file.display());
    }
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
