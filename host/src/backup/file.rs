//! One file of a backup: its kind, length and digest.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// How many bytes are read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFile {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

impl BackupFile {
    /// Measures a file. Also syncs it to the disk.
    pub(super) fn measure(path: &Path) -> anyhow::Result<Self> {
        let measure = || -> std::io::Result<Self> {
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
            Ok(Self { bytes, sha256 })
        };
        measure().with_context(|| format!("cannot read {}", path.display()))
    }
}

/// Whether a file is a database, by its name.
pub(super) fn is_database(name: &str) -> bool {
    name.ends_with(".db")
}

/// Whether a file is a key, by its name.
pub(super) fn is_key(name: &str) -> bool {
    name.ends_with(".key")
}
