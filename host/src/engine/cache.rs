//! Compiled code, kept from one start to the next.
//!
//! Machine code is loaded without a look at what it does: whoever could put theirs here would own the host. So code comes out
//! of the folder only where it bears a mark that nobody makes without the folder's key: HMAC-SHA-256 (RFC 2104) over the code and
//! over what it was made from and for. The key lies in the folder, as `mac-key`. The folder must be this user's alone, mode
//! 0700.
//!
//! Kubernetes opens the folders of a volume to a group (`fsGroup`) each time that it mounts it, and sets their setgid bit. Others may
//! have read the key and written code meanwhile. So the folder is emptied, gets a new key, and is this user's alone again.
//!
//! A file is named by the component's SHA-256 and the engine's settings, and holds the code as wasmtime serializes it, then
//! the mark. It is there whole or not at all, also after a power cut.
//!
//! Nothing here is needed: what is lost, or cannot be trusted, is compiled again. Beyond [`LIMIT_BYTES`] the files go that were not
//! used for longest.

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

/// What all files may have together. A component's code has two to five times its own bytes.
const LIMIT_BYTES: u64 = 512 << 20;

/// What Kubernetes sets on the folders of a volume that it gives to a group.
const SETGID: u32 = 0o2000;

/// The file of the key.
const KEY: &str = "mac-key";

/// Bytes of the mark at the end of each file.
const MARK_BYTES: usize = 32;

/// Sets these marks apart from whatever else a key could be used for.
const LABEL: &[u8] = b"comptoir compiled code\0";

/// What code was made from, and what for. Beside it the mark covers the processor's architecture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// SHA-256 of the component.
    pub(super) component: [u8; 32],
    /// A hash of wasmtime's version and of the engine's settings.
    pub(super) settings: u64,
}

/// Why compiled code was not loaded, or not kept. Each says where.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It is not this user's alone, or no folder at all.
    #[error(
        "{} holds compiled code and must be a folder of this user with mode 700, but has mode {mode:03o}: nothing is loaded from \
         it or kept in it; delete it, and it is made again", folder.display()
    )]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is no key to verify with.
    #[error("the key of the compiled code: {0}")]
    Key(#[from] KeyFileError),
    /// A file is not as this host left it. It was removed.
    #[error("{} was cut off, changed, moved or marked with another key, and is removed", path.display())]
    Forged {
        /// The file.
        path: PathBuf,
    },
    /// The mark is right, but wasmtime does not take the code. It was removed.
    #[error("{} does not fit this host, and is removed: {cause}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What wasmtime said.
        cause: String,
    },
    /// Reading or writing failed.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A folder of compiled code. Looks at the folder anew each time, so that a mistake can be mended while the host serves.
#[derive(Debug)]
pub(super) struct Cache {
    folder: PathBuf,
    limit_bytes: u64,
    /// Held while the folder is looked at, so that it is emptied once.
    looking: Mutex<()>,
}

impl Cache {
    /// A folder, which is made when it is first used.
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), limit_bytes: LIMIT_BYTES, looking: Mutex::default() }
    }

    /// The code that is kept of a component, if there is any. Blocks on the disk.
    ///
    /// # Errors
    /// What is there cannot be trusted, or not be read.
    pub(super) fn take(&self, origin: Origin) -> Result<Option<Vec<u8>>, CacheError> {
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
        let shown = code.split_off(code.len().saturating_sub(MARK_BYTES));
        if marker(&key, origin, &code).verify_slice(&shown).is_err() {
            self.remove(origin);
            return Err(CacheError::Forged { path });
        }
        // It is among those that were used last. Where this cannot be noted it goes sooner, no more.
        let _ = file.set_modified(SystemTime::now());
        Ok(Some(code))
    }

    /// Keeps the code of a component, durably, and forgets what was not used for longest. Blocks on the disk.
    ///
    /// # Errors
    /// The folder cannot be trusted, or not be written.
    pub(super) fn put(&self, origin: Origin, code: &[u8]) -> Result<(), CacheError> {
        let key = self.key()?;
        let path = self.path(origin);
        let mark = marker(&key, origin, code).finalize().into_bytes();
        let written = self.write(&path, &[code, &mark]).and_then(|()| self.sweep(&path));
        written.map_err(|source| CacheError::Io { path, source })
    }

    /// Removes what is kept of a component. Where that cannot be, what is kept next replaces it.
    pub(super) fn remove(&self, origin: Origin) {
        let _ = fs::remove_file(self.path(origin));
    }

    /// Where the code of a component lies.
    pub(super) fn path(&self, origin: Origin) -> PathBuf {
        let component: String = origin.component.iter().map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("{component}-{:016x}", origin.settings))
    }

    /// The key, once the folder is found to be this user's alone.
    fn key(&self) -> Result<Key, CacheError> {
        let failed = |source| CacheError::Io { path: self.folder.clone(), source };
        let _looking = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(failed)?;
        let look = || fs::symlink_metadata(&self.folder).map_err(failed);
        let mut metadata = look()?;
        let is_own = |metadata: &Metadata| metadata.is_dir() && metadata.uid() == rustix::process::geteuid().as_raw();
        if is_own(&metadata) && metadata.mode() & SETGID != 0 && metadata.mode() & 0o007 == 0 {
            self.renew().map_err(failed)?;
            metadata = look()?;
        }
        let mode = metadata.mode() & 0o777;
        if !is_own(&metadata) || mode & 0o077 != 0 {
            return Err(CacheError::Folder { folder: self.folder.clone(), mode });
        }
        Ok(Key::open(&self.folder.join(KEY))?)
    }

    /// Closes the folder to its group and removes the key and all code. The setgid bit goes last: until then, the next look begins anew.
    fn renew(&self) -> io::Result<()> {
        fs::set_permissions(&self.folder, Permissions::from_mode(SETGID | 0o700))?;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() && is_of_a_cache(&entry.file_name()) {
                fs::remove_file(entry.path())?;
            }
        }
        File::open(&self.folder)?.sync_all()?;
        fs::set_permissions(&self.folder, Permissions::from_mode(0o700))
    }

    fn write(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        // Hosts may share the folder, so each writes to a name of its own.
        let mut chance = [0; 8];
        getrandom::fill(&mut chance).map_err(io::Error::other)?;
        let partial = path.with_extension(format!("{:016x}", u64::from_ne_bytes(chance)));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        let written = parts.iter().try_for_each(|part| file.write_all(part)).and_then(|()| file.sync_all());
        if let Err(error) = written.and_then(|()| fs::rename(&partial, path)) {
            let _ = fs::remove_file(&partial);
            return Err(error);
        }
        File::open(&self.folder)?.sync_all()
    }

    /// Removes files until those that stay are within the limit, but never the one that was kept just now. What a crash left
    /// half written counts as any other.
    fn sweep(&self, kept: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            // Another host may have removed it meanwhile.
            if let Ok(metadata) = entry.metadata()
                && metadata.is_file()
                && entry.file_name() != KEY
            {
                files.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        files.sort_unstable();
        let mut bytes: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        for (_, length, path) in files.iter().filter(|(.., path)| path != kept) {
            if bytes <= self.limit_bytes {
                break;
            }
            let _ = fs::remove_file(path);
            bytes -= length;
        }
        Ok(())
    }
}

/// Whether a file has a name that a cache gives: the key's, that of code, or one of theirs while they are written.
fn is_of_a_cache(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(KEY.as_bytes()) || name.get(64) == Some(&b'-') && name[..64].iter().all(u8::is_ascii_hexdigit)
}

/// What makes and verifies the mark of some code. Every part before the code has one length, or ends with a zero.
fn marker(key: &Key, origin: Origin, code: &[u8]) -> Hmac<Sha256> {
    let marker = Hmac::<Sha256>::new_from_slice(key.bytes()).expect("HMAC takes a key of any length");
    marker
        .chain_update(LABEL)
        .chain_update(std::env::consts::ARCH)
        .chain_update([0])
        .chain_update(origin.component)
        .chain_update(origin.settings.to_le_bytes())
        .chain_update(code)
}

#[cfg(test)]
mod tests;
