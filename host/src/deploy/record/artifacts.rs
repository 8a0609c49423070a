//! The components themselves, each in a file under its digest: durable, read back only whole, and bounded in number.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use sha2::{Digest as _, Sha256};

use super::{Record, RecordError};
use crate::deploy::hex;

/// Components that stay in the folder beside those that are active or tried, newest first.
const ARTIFACTS: usize = 20;

impl Record {
    /// Keeps a component under its digest, durably, and forgets the oldest that are not active.
    pub fn store(&self, digest: &str, bytes: &[u8]) -> Result<(), RecordError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.artifact(digest);
        let stored = if fs::read(&path).is_ok_and(|stored| stored == bytes) {
            // It is among the newest again, or the next that is stored would push it out.
            File::options().write(true).open(&path).and_then(|file| file.set_modified(std::time::SystemTime::now()))
        } else {
            self.write(&path, bytes).and_then(|()| self.prune())
        };
        stored.map_err(|error| self.fail(error))
    }

    /// Reads a component that was kept. None when it is gone or damaged.
    pub fn load(&self, digest: &str) -> Option<Vec<u8>> {
        let bytes = fs::read(self.artifact(digest)).ok()?;
        (hex(&Sha256::digest(&bytes)) == digest).then_some(bytes)
    }

    /// Where a component lies that is kept.
    pub fn artifact(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.wasm"))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let partial = path.with_extension("partial");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        File::open(&self.folder)?.sync_all()
    }

    fn prune(&self) -> std::io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
        files.sort_by_key(|(modified, _)| std::cmp::Reverse(*modified));
        for (_, path) in files.into_iter().skip(ARTIFACTS) {
            let digest = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
            let sql =
                "SELECT EXISTS (SELECT 1 FROM active WHERE digest = ?1 UNION SELECT 1 FROM canary WHERE digest = ?1)";
            let is_active: bool = self.database().query_row(sql, [digest], |row| row.get(0)).unwrap_or(true);
            if !is_active {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}
