//! The components themselves, each in a file under its digest: durable, read back only whole, and bounded in number.
//!
//! What may go is decided by the record alone, for each service by itself. Times of files decide nothing, because a clock may go back.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use sha2::{Digest as _, Sha256};

use super::{Record, RecordError};
use crate::deploy::hex;

/// Components of one service that stay on the disk because they were active, newest first.
const ARTIFACTS_EACH: u32 = 20;

/// Digits of a digest.
const DIGEST_DIGITS: usize = 64;

/// The digests whose components stay: active, on trial, being stored, the one before the newest change of each service, and for
/// each service the last `?1` that were active. What the host reverted may go, because nothing goes back to it.
const RETAINED: &str = "
    SELECT digest FROM active
    UNION SELECT digest FROM canary
    UNION SELECT after FROM history WHERE result = 'running'
    UNION SELECT before FROM history WHERE before IS NOT NULL
        AND id IN (SELECT max(id) FROM history WHERE result IN ('active', 'kept') GROUP BY service)
    UNION SELECT after FROM (
        SELECT after, row_number() OVER (PARTITION BY service ORDER BY max(id) DESC) AS place
        FROM history WHERE result IN ('active', 'kept') GROUP BY service, after
    ) WHERE place <= ?1";

impl Record {
    /// Stores a component under its digest, durably, unless it lies there whole. The line of the history that needs it has been begun,
    /// or `prune` might remove it again. Blocks on the disk.
    pub fn store(&self, digest: &str, bytes: &[u8]) -> Result<(), RecordError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.artifact(digest);
        let is_whole = fs::read(&path).is_ok_and(|stored| stored == bytes);
        let stored = if is_whole { self.sync_folder() } else { self.write(&path, bytes) };
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

    /// Removes the components that nothing serves and no rollback needs, and what lies beside them under their digests. Blocks on
    /// the disk.
    pub(in crate::deploy) fn prune(&self) -> Result<(), RecordError> {
        // Nothing is being written meanwhile, so a partial file belongs to nobody.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let retained = self.retained()?;
        self.remove_others(&retained).map_err(|error| self.fail(error))
    }

    fn retained(&self) -> Result<BTreeSet<String>, RecordError> {
        let database = self.database();
        let read = || -> rusqlite::Result<BTreeSet<String>> {
            database.prepare(RETAINED)?.query_map([ARTIFACTS_EACH], |row| row.get(0))?.collect()
        };
        read().map_err(|error| self.fail(error))
    }

    fn remove_others(&self, retained: &BTreeSet<String>) -> std::io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(digest) = digest_of(name) else { continue };
            if !retained.contains(digest) || name.ends_with(PARTIAL) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let partial = path.with_extension(PARTIAL);
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&partial, path)?;
        self.sync_folder()
    }

    fn sync_folder(&self) -> std::io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
}

/// What a component's file is called until it is whole.
const PARTIAL: &str = "partial";

/// The digest under which a file lies: the component itself, or its signature. None for a file that is not the record's.
fn digest_of(name: &str) -> Option<&str> {
    let (digest, _) = name.split_once('.')?;
    let is_digest = digest.len() == DIGEST_DIGITS && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then_some(digest)
}
