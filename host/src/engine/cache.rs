//! The compilation cache: a folder of machine code that later starts of the host load instead of compiling again.
//!
//! wasmtime loads machine code without checking it. An attacker who could write code into this folder would control the host. So each
//! file ends with a MAC: HMAC-SHA-256 (RFC 2104) over the code and its origin. The host loads only files with a valid MAC. The key is
//! the file `mac-key` in the folder. The folder must belong to the host's user and have mode 0700.
//!
//! With `fsGroup`, Kubernetes opens the folders of a volume to a group at each mount and sets their setgid bit. Members of that group
//! can then read the key and write code. So a host that finds the bit empties the folder, closes it to the group and creates a new key.
//!
//! A file's name consists of the component's SHA-256 and a hash of the engine's settings. It contains the code as wasmtime serializes
//! it, then the MAC. Files are written atomically and survive a power failure.
//!
//! The host works without any of these files, because it compiles a component again if its code is missing or cannot be trusted. Beyond
//! [`LIMIT_BYTES`], the host removes the least recently used files.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::key_file::{Key, KeyFileError};

/// Limit for all files together. Machine code is two to five times as large as its component.
const LIMIT_BYTES: u64 = 512 << 20;

/// The mode bit that Kubernetes sets on the folders of a volume with `fsGroup`.
const SETGID: u32 = 0o2000;

/// Name of the key file.
const KEY: &str = "mac-key";

/// Length of the MAC at the end of each file, in bytes.
const MAC_BYTES: usize = 32;

/// Begins the authenticated data, so that a MAC made with this key for another purpose is never valid here.
const LABEL: &[u8] = b"comptoir compiled code\0";

/// The origin of machine code. The MAC covers it, and the processor's architecture too.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// SHA-256 of the component.
    pub(super) component: [u8; 32],
    /// A hash of wasmtime's version and of the engine's settings.
    pub(super) settings: u64,
}

/// Why machine code was not loaded or not stored.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The path is not a folder, or other users have access to it.
    #[error(
        "the compilation cache {} must be a folder of this user with mode 700, but has mode {mode:03o}: delete it, \
         and the host creates a new one", folder.display()
    )]
    Folder {
        /// The path of the cache.
        folder: PathBuf,
        /// Its permission bits, of which only the owner's may be set.
        mode: u32,
    },
    /// The key cannot be read or created.
    #[error("cannot use the key of the compilation cache: {0}")]
    Key(#[from] KeyFileError),
    /// A file's MAC is not valid. The file was removed.
    #[error("removed {} from the compilation cache: it was truncated, changed or moved, or it has another key's MAC", path.display())]
    Forged {
        /// The path of the artifact.
        path: PathBuf,
    },
    /// The MAC is valid, but wasmtime cannot load the code. The file was removed.
    #[error("removed {} from the compilation cache: this host cannot load it: {cause}", path.display())]
    Unfit {
        /// The path of the artifact.
        path: PathBuf,
        /// The error from wasmtime.
        cause: String,
    },
    /// Reading or writing failed.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// A folder of machine code. Each use checks the folder again, so that the operator can fix its mode while the host serves.
#[derive(Debug)]
pub(super) struct CompilationCache {
    folder: PathBuf,
    limit_bytes: u64,
    /// Held while the folder is checked, so that only one thread empties it.
    checking: Mutex<()>,
}

impl CompilationCache {
    /// The cache in this folder. The first use creates the folder.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), limit_bytes: LIMIT_BYTES, checking: Mutex::default() }
    }

    /// Reads a component's machine code. None if the cache does not have it. Blocks on the disk.
    ///
    /// # Errors
    /// The folder or the file cannot be trusted or read.
    pub(super) fn get(&self, origin: Origin) -> Result<Option<Vec<u8>>, CacheError> {
        let key = self.key()?;
        let path = self.path(origin);
        let failed = |source| CacheError::Io { path: path.clone(), source };
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        let mut code = Vec::new();
        file.read_to_end(&mut code).map_err(failed)?;
        let mac = code.split_off(code.len().saturating_sub(MAC_BYTES));
        if authenticate(&key, origin, &code).verify_slice(&mac).is_err() {
            self.remove(origin);
            return Err(CacheError::Forged { path });
        }
        // The file's time records its last use. If setting it fails, the file is only removed sooner.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some(code))
    }

    /// Reads a component's machine code like [`Self::get`], but changes nothing in the folder. None if it is not there, or if the folder
    /// or the file cannot be trusted.
    pub(super) fn peek(&self, origin: Origin) -> Option<Vec<u8>> {
        let metadata = fs::symlink_metadata(&self.folder).ok()?;
        if !is_own(&metadata) || metadata.mode() & (SETGID | 0o077) != 0 {
            return None;
        }
        let key = Key::read(&self.folder.join(KEY)).ok()?;
        let mut code = fs::read(self.path(origin)).ok()?;
        let mac = code.split_off(code.len().saturating_sub(MAC_BYTES));
        authenticate(&key, origin, &code).verify_slice(&mac).ok().map(|()| code)
    }

    /// Stores a component's machine code durably and removes the least recently used files. Blocks on the disk.
    ///
    /// # Errors
    /// The folder cannot be trusted or written.
    pub(super) fn insert(&self, origin: Origin, code: &[u8]) -> Result<(), CacheError> {
        let key = self.key()?;
        let path = self.path(origin);
        let mac = authenticate(&key, origin, code).finalize().into_bytes();
        let written = self.write(&path, &[code, &mac]).and_then(|()| self.sweep(&path));
        written.map_err(|source| CacheError::Io { path, source })
    }

    /// Removes a component's file. If that fails, the next `insert` overwrites it.
    pub(super) fn remove(&self, origin: Origin) {
        let _ = fs::remove_file(self.path(origin));
    }

    /// The path of a component's file.
    pub(super) fn path(&self, origin: Origin) -> PathBuf {
        let component: String = origin.component.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{component}-{:016x}", origin.settings))
    }

    /// Checks that only this user has access to the folder, and reads the key.
    fn key(&self) -> Result<Key, CacheError> {
        let failed = |source| CacheError::Io { path: self.folder.clone(), source };
        let _checking = self.checking.lock().unwrap_or_else(PoisonError::into_inner);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(failed)?;
        let read_metadata = || fs::symlink_metadata(&self.folder).map_err(failed);
        let mut metadata = read_metadata()?;
        if is_own(&metadata) && metadata.mode() & SETGID != 0 && metadata.mode() & 0o007 == 0 {
            self.close_to_group().map_err(failed)?;
            metadata = read_metadata()?;
        }
        let mode = metadata.mode() & 0o777;
        if !is_own(&metadata) || mode & 0o077 != 0 {
            return Err(CacheError::Folder { folder: self.folder.clone(), mode });
        }
        Ok(Key::open(&self.folder.join(KEY))?)
    }

    /// Closes the folder to its group and removes the key and all code.
    ///
    /// The setgid bit is cleared last. If the host crashes before that, the next check starts again.
    fn close_to_group(&self) -> io::Result<()> {
        fs::set_permissions(&self.folder, Permissions::from_mode(SETGID | 0o700))?;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() && is_cache_file(&entry.file_name()) {
                fs::remove_file(entry.path())?;
            }
        }
        File::open(&self.folder)?.sync_all()?;
        fs::set_permissions(&self.folder, Permissions::from_mode(0o700))
    }

    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        // Several hosts can share the folder, so each writes to a random name first.
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let partial = path.with_extension(format!("{:016x}", u64::from_ne_bytes(random)));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        let written = parts.iter().try_for_each(|part| file.write_all(part)).and_then(|()| file.sync_all());
        if let Err(error) = written.and_then(|()| fs::rename(&partial, path)) {
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        File::open(&self.folder)?.sync_all()
    }

    /// Removes the least recently used files until the others are within the limit, but never the new one. This also removes files that a
    /// crash left incomplete.
    fn sweep(&self, new: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Another host may have removed the file in the meantime.
            if let Ok(metadata) = entry.metadata()
                && metadata.is_file()
                && entry.file_name() != KEY
            {
                files.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        files.sort_unstable();
        let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, length, path) in files.iter().filter(|(.., path)| path != new) {
            if bytes <= self.limit_bytes {
                break;
            }
            let _ = fs::remove_file(path);
            bytes -= length;
        }
        Ok(())
    }
}

/// Whether this is a folder of this user.
fn is_own(metadata: &Metadata) -> bool {
    metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw()
}

/// Whether the cache created this file: the key, machine code, or a temporary file of either.
fn is_cache_file(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(KEY.as_bytes()) || name.get(64) == Some(&b'-') && name[..64].iter().all(u8::is_ascii_hexdigit)
}

/// Computes the MAC of machine code. All data before the code has a fixed length or ends with a zero byte, so it is unambiguous.
fn authenticate(key: &Key, origin: Origin, code: &[u8]) -> Hmac<Sha256> {
    let mac = Hmac::<Sha256>::new_from_slice(key.bytes()).expect("HMAC takes a key of any length");
    mac.chain_update(LABEL)
        .chain_update(std::env::consts::ARCH)
        .chain_update([0])
        .chain_update(origin.component)
        .chain_update(origin.settings.to_le_bytes())
        .chain_update(code)
}

#[cfg(test)]
mod tests;
