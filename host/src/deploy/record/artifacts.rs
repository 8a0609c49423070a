//! The stored components: one file each, named by its digest. Files are durable, are never read in part, and are bounded in number.
//!
//! Only the record decides which files may be removed, separately for each service. File times do not count, because a clock may be
//! set back.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;

use super::{Record, RecordError};
use crate::deploy::digest::sha256;

/// How many formerly active components of one service stay on the disk.
const ARTIFACTS_EACH: u32 = 20;

/// Hexadecimal digits of a digest.
const DIGEST_DIGITS: usize = 64;

/// Selects the digests of components that must stay: active ones, canaries, and those of running deploys. Of each service also
/// the previous one and the last `?1` active ones. A reverted component may be removed, because no rollback uses it.
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
    /// Stores a component durably under its digest, unless the file is already there. Begin its history line first: otherwise `prune`
    /// could remove the file again. Blocks on the disk.
    pub fn store(&self, digest: &str, bytes: &[u8]) -> Result<(), RecordError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.artifact(digest);
        let is_whole = fs::read(&path).is_ok_and(|stored| stored == bytes);
        let stored = if is_whole { self.sync_folder() } else { self.write(&path, bytes) };
        stored.map_err(|error| self.fail(error))
    }

    /// Reads a stored component. None if its file is missing or damaged.
    pub fn load(&self, digest: &str) -> Option<Vec<u8>> {
        let bytes = fs::read(self.artifact(digest)).ok()?;
        (sha256(&bytes) == digest).then_some(bytes)
    }

    /// The path of a stored component's file.
    pub fn artifact(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}.wasm"))
    }

    /// Removes the components that no service and no rollback needs, and other files under their digests, such as signatures. Blocks
    /// on the disk.
    pub(in crate::deploy) fn prune(&self) -> Result<(), RecordError> {
        // The lock keeps writers out, so a partial file is a leftover of a crash.
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

/// The extension of a file that is not completely written yet.
const PARTIAL: &str = "partial";

/// The digest in a file name, of a component or its signature. None if the file does not belong to the record.
fn digest_of(name: &str) -> Option<&str> {
    let (digest, _) = name.split_once('.')?;
    let is_digest = digest.len() == DIGEST_DIGITS && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_digest.then_some(digest)
}
