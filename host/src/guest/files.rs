//! `wasi:filesystem`: read-only folders that the manifest opens for a service.
//!
//! A guest finds them as preopened folders. wasmtime resolves paths inside of them. Neither `..` nor a symbolic link leads out,
//! and every write is denied. Files are read when the guest asks, on blocking threads, so a slow disk stalls no other guest. A
//! response that depends on files is not cached, because files change without notice.
//!
//! Open files are descriptors of the whole process, and a listed folder lies in the host's memory. So both are limited.

mod open_files;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;
use wasmtime::StoreContextMut;
use wasmtime::component::{Accessor, FutureReader, HasSelf, Linker, Resource, StreamReader};
use wasmtime_wasi::filesystem::{Descriptor, Dir, WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::filesystem::types as p2;
use wasmtime_wasi::p3::bindings::filesystem::types as p3;
use wasmtime_wasi::{FsPerms, OpenMode};

use super::Guest;
use open_files::{OpenFiles, Reservation};

/// Files and folders that one instance may have open at the same time.
const MAX_OPEN: usize = 64;

/// Files and folders that all instances of a revision may have open at the same time.
const MAX_OPEN_OF_REVISION: usize = 1024;

/// Entries of folders that one request may list.
const MAX_LISTED: usize = 100_000;

/// The function that opens files, in both versions of `wasi:filesystem/types`.
const OPEN_AT: &str = "[method]descriptor.open-at";

/// The function that lists folders, in both versions of `wasi:filesystem/types`.
const READ_DIRECTORY: &str = "[method]descriptor.read-directory";

/// A folder of the manifest that cannot be opened.
#[derive(Debug, Error)]
#[error("cannot open the folder {}: {cause}: create it, or correct `from`", path.display())]
pub struct FolderError {
    path: PathBuf,
    cause: io::Error,
}

/// The open folders of one revision.
pub struct Folders {
    /// Each with the guest's path to it.
    preopens: Vec<(Dir, String)>,
    open: Arc<OpenFiles>,
}

/// What one store does with files.
#[derive(Default)]
pub(super) struct FileUse {
    /// None before the guest opens its first file.
    open: Option<Arc<OpenFiles>>,
    listed: usize,
}

impl Default for Folders {
    fn default() -> Self {
        Self { preopens: Vec::new(), open: OpenFiles::new(MAX_OPEN_OF_REVISION) }
    }
}

impl Folders {
    /// Opens folders, each with the guest's path to it. Blocks on the disk.
    ///
    /// # Errors
    /// The first one that is no folder, or that the host may not read.
    pub fn open<'f>(folders: impl IntoIterator<Item = (&'f Path, &'f str)>) -> Result<Self, FolderError> {
        let open = |(from, to): (&Path, &str)| {
            let file = open_folder(from).map_err(|cause| FolderError { path: from.to_owned(), cause })?;
            Ok((Dir::new(file, FsPerms::ReadOnly, OpenMode::READ, false), to.to_owned()))
        };
        let preopens = folders.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { preopens, ..Self::default() })
    }

    /// Whether a descriptor is one of the folders.
    pub(super) fn contain(&self, descriptor: &Descriptor) -> bool {
        matches!(descriptor, Descriptor::Dir(dir) if self.preopens.iter().any(|(own, _)| Arc::ptr_eq(&own.dir, &dir.dir)))
    }
}

/// Opens a folder. Asks for its kind first, because opening a pipe would wait for another program.
fn open_folder(path: &Path) -> io::Result<File> {
    if !path.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    let folder = File::open(path)?;
    // A folder that may be opened but not listed would fail at the guest's first call.
    std::fs::read_dir(path)?;
    Ok(folder)
}

/// Links `wasi:filesystem` for WASI 0.2.
pub(super) fn link_files(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p2::bindings::filesystem::preopens;

    preopens::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    p2::add_to_linker::<Guest, WasiFilesystem>(linker, |guest| guest.mark_uncacheable().filesystem())?;
    // These two replace wasmtime's, which have no limits.
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:filesystem/types@0.2.12")?;
    types.func_wrap_async(OPEN_AT, |store, params| Box::new(open_at(store, params)))?;
    types.func_wrap_async(READ_DIRECTORY, |store, params| Box::new(read_directory(store, params)))?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Links `wasi:filesystem` for WASI 0.3.
pub(super) fn link_files_p3(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    use wasmtime_wasi::p3::bindings::filesystem::preopens;

    preopens::add_to_linker::<Guest, HasSelf<Guest>>(linker, |guest| guest)?;
    p3::add_to_linker::<Guest, WasiFilesystem>(linker, Guest::filesystem)?;
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:filesystem/types@0.3.0")?;
    types.func_wrap_concurrent(OPEN_AT, |accessor, params| Box::pin(open_at_p3(accessor, params)))?;
    types.func_wrap_async(READ_DIRECTORY, |store, params| Box::new(read_directory_p3(store, params)))?;
    linker.allow_shadowing(false);
    Ok(())
}

impl wasmtime_wasi::p2::bindings::filesystem::preopens::Host for Guest {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        self.preopen()
    }
}

impl wasmtime_wasi::p3::bindings::filesystem::preopens::Host for Guest {
    fn get_directories(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        self.preopen()
    }
}

impl Guest {
    fn preopen(&mut self) -> wasmtime::Result<Vec<(Resource<Descriptor>, String)>> {
        let folders = self.grants.folders.clone();
        let own = |(dir, to): &(Dir, String)| Ok((self.table.push(Descriptor::Dir(dir.clone()))?, to.clone()));
        folders.preopens.iter().map(own).collect()
    }

    /// Reserves room for one more open file. None if the instance or the revision has too many.
    fn reserve_file(&mut self) -> Option<[Reservation; 2]> {
        let of_store = self.files.open.get_or_insert_with(|| OpenFiles::new(MAX_OPEN)).reserve()?;
        Some([of_store, self.grants.folders.open.reserve()?])
    }

    /// Counts an open file until it is closed: the guest may drop the descriptor and keep a stream of it.
    fn count_file(&mut self, reserved: [Reservation; 2], opened: &Resource<Descriptor>) -> wasmtime::Result<()> {
        let file = match self.table.get(opened)? {
            Descriptor::File(file) => &file.file,
            Descriptor::Dir(dir) => &dir.dir,
        };
        reserved.into_iter().for_each(|reserved| reserved.settle(file));
        Ok(())
    }

    /// The entries of a folder, if this request may still list so many.
    async fn list(&mut self, folder: &Resource<Descriptor>) -> wasmtime::Result<io::Result<Vec<p3::DirectoryEntry>>> {
        let Descriptor::Dir(dir) = self.table.get(folder)? else {
            return Ok(Err(io::ErrorKind::NotADirectory.into()));
        };
        let (dir, rest) = (dir.dir.clone(), MAX_LISTED - self.files.listed);
        let listed = wasmtime_wasi::runtime::spawn_blocking(move || entries(&dir, rest)).await;
        if let Ok(listed) = &listed {
            self.files.listed += listed.len();
        }
        Ok(listed)
    }
}

impl FileUse {
    /// Starts to count for the next request.
    pub(super) fn renew(&mut self) {
        self.listed = 0;
    }
}

/// Lists a folder. Blocks on the disk.
///
/// # Errors
/// `QuotaExceeded` if it has more than `most` entries, `InvalidData` if a name is not UTF-8, or another error of the system.
fn entries(folder: &File, most: usize) -> io::Result<Vec<p3::DirectoryEntry>> {
    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_str().map_err(|_| io::ErrorKind::InvalidData)?;
        if matches!(name, "." | "..") {
            continue;
        }
        if entries.len() == most {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        entries.push(p3::DirectoryEntry { type_: type_of(entry.file_type()), name: name.to_owned() });
    }
    Ok(entries)
}

fn type_of(file: rustix::fs::FileType) -> p3::DescriptorType {
    use rustix::fs::FileType;

    match file {
        FileType::RegularFile => p3::DescriptorType::RegularFile,
        FileType::Directory => p3::DescriptorType::Directory,
        FileType::Symlink => p3::DescriptorType::SymbolicLink,
        FileType::Fifo => p3::DescriptorType::Fifo,
        FileType::Socket => p3::DescriptorType::Socket,
        FileType::CharacterDevice => p3::DescriptorType::CharacterDevice,
        FileType::BlockDevice => p3::DescriptorType::BlockDevice,
        FileType::Unknown => p3::DescriptorType::Other(None),
    }
}

type OpenAt = (Resource<Descriptor>, p2::PathFlags, String, p2::OpenFlags, p2::DescriptorFlags);

type Opened<E> = wasmtime::Result<(Result<Resource<Descriptor>, E>,)>;

async fn open_at(mut store: StoreContextMut<'_, Guest>, params: OpenAt) -> Opened<p2::ErrorCode> {
    let (folder, path_flags, path, open_flags, flags) = params;
    let guest = store.data_mut().mark_uncacheable();
    let Some(reserved) = guest.reserve_file() else { return Ok((Err(p2::ErrorCode::Quota),)) };
    let mut files = guest.filesystem();
    match p2::HostDescriptor::open_at(&mut files, folder, path_flags, path, open_flags, flags).await {
        Ok(opened) => guest.count_file(reserved, &opened).map(|()| (Ok(opened),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

type Listed = wasmtime::Result<(Result<Resource<p2::DirectoryEntryStream>, p2::ErrorCode>,)>;

/// Counts the entries, and then lets wasmtime list them.
async fn read_directory(mut store: StoreContextMut<'_, Guest>, (folder,): (Resource<Descriptor>,)) -> Listed {
    let guest = store.data_mut().mark_uncacheable();
    if let Err(error) = guest.list(&folder).await? {
        return Ok((Err(match error.kind() {
            io::ErrorKind::QuotaExceeded => p2::ErrorCode::Quota,
            io::ErrorKind::InvalidData => p2::ErrorCode::IllegalByteSequence,
            _ => p2::ErrorCode::from(&error),
        }),));
    }
    match p2::HostDescriptor::read_directory(&mut guest.filesystem(), folder).await {
        Ok(stream) => Ok((Ok(stream),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

type OpenAtP3 = (Resource<Descriptor>, p3::PathFlags, String, p3::OpenFlags, p3::DescriptorFlags);

async fn open_at_p3(accessor: &Accessor<Guest>, params: OpenAtP3) -> Opened<p3::ErrorCode> {
    let (folder, path_flags, path, open_flags, flags) = params;
    let Some(reserved) = accessor.with(|mut store| store.get().reserve_file()) else {
        return Ok((Err(p3::ErrorCode::Quota),));
    };
    let files = accessor.with_getter::<WasiFilesystem>(Guest::filesystem);
    match p3::HostDescriptorWithStore::open_at(&files, folder, path_flags, path, open_flags, flags).await {
        Ok(opened) => accessor.with(|mut store| store.get().count_file(reserved, &opened)).map(|()| (Ok(opened),)),
        Err(error) => Ok((Err(error.downcast()?),)),
    }
}

type ListedP3 = wasmtime::Result<((StreamReader<p3::DirectoryEntry>, FutureReader<Result<(), p3::ErrorCode>>),)>;

/// Lists the whole folder at once. wasmtime's implementation would keep a blocking thread until the guest has read
/// the last entry.
async fn read_directory_p3(mut store: StoreContextMut<'_, Guest>, (folder,): (Resource<Descriptor>,)) -> ListedP3 {
    let (entries, result) = match store.data_mut().list(&folder).await? {
        Ok(entries) => (entries, Ok(())),
        Err(error) => (
            Vec::new(),
            Err(match error.kind() {
                io::ErrorKind::QuotaExceeded => p3::ErrorCode::Quota,
                io::ErrorKind::InvalidData => p3::ErrorCode::IllegalByteSequence,
                _ => p3::ErrorCode::from(error),
            }),
        ),
    };
    let stream = StreamReader::new(&mut store, entries)?;
    let result = FutureReader::new(&mut store, async move { Ok::<_, wasmtime::Error>(result) })?;
    Ok(((stream, result),))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_listed_as_far_as_the_request_may() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let open = open_folder(folder.path()).unwrap();
        let mut names: Vec<_> = entries(&open, 3).unwrap().into_iter().map(|entry| entry.name).collect();
        names.sort();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(entries(&open, 2).unwrap_err().kind(), io::ErrorKind::QuotaExceeded);
    }
}
