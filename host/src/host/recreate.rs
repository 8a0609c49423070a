//! Gives a service an empty database, for development. Keeps the old one beside it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, bail, ensure};
use rusqlite::Connection;
use storage::folder::DataFolder;

use crate::clock::Clock;
use crate::deploy::Record;
use crate::manifest::Manifest;

/// How long other threads of this program may take to close a database.
const CLOSE_TIME: Duration = Duration::from_secs(10);
/// The pause before the next look.
const PAUSE: Duration = Duration::from_millis(20);

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
    close(&file)?;
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

/// Makes the main file complete, with the rows of the write-ahead log, and waits until nobody else has it open.
///
/// The threads of a host that has just stopped may still be closing their connections. SQLite's last connection deletes the
/// write-ahead log by its name, which would be that of the new database.
///
/// # Errors
/// Somebody still has it open.
fn close(file: &Path) -> anyhow::Result<()> {
    let until = Instant::now() + CLOSE_TIME;
    loop {
        match leave_wal(file) {
            Ok(()) => return Ok(()),
            Err(error) if is_open_elsewhere(&error) => {
                ensure!(Instant::now() < until, "{} is still open: end the program that uses it", file.display());
                std::thread::sleep(PAUSE);
            }
            Err(error) => {
                // A damaged database can be moved too.
                tracing::warn!(%error, "cannot close {}, moving it as it is", file.display());
                return Ok(());
            }
        }
    }
}

/// Changes the journal mode, which SQLite allows only to the one connection of a database.
fn leave_wal(file: &Path) -> rusqlite::Result<()> {
    let database = Connection::open(file)?;
    database.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    database.close().map_err(|(_, error)| error)
}

fn is_open_elsewhere(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_database_is_complete_only_when_nobody_else_has_it_open() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("todo.db");
        let other = Connection::open(&file).unwrap();
        other.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE items (name TEXT)").unwrap();
        assert!(is_open_elsewhere(&leave_wal(&file).unwrap_err()));
        other.close().unwrap();
        close(&file).unwrap();
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert_eq!(files, ["todo.db"]);
    }
}
