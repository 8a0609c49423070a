//! A simulated disk that loses unsynced writes, as a real one may when the power fails.
//!
//! Killing a process does not lose its writes, because the kernel keeps them; a power cut does. So the host runs with a
//! preloaded library, `lost_writes/disk.c`, that logs the old content before each write. After a kill, [`Disk::cut`] undoes
//! writes that no sync covers: all of them, or a random selection.
//!
//! A random cut treats each block of a file, and its length, independently: it keeps any state that they had since the last
//! sync. So writes are torn and reordered. Of the names in folders it undoes the newest ones, newest first.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes that a disk writes atomically.
const BLOCK: usize = 512;

/// Every third power cut loses all unsynced writes.
const WHOLE: u64 = 3;

/// The simulated disk of one data folder.
pub struct Disk {
    library: PathBuf,
    below: PathBuf,
    undo: PathBuf,
    /// The disk reports syncs that it did not do. Then a cut loses everything.
    pub lies: bool,
    /// The random seed. The same seed, cuts and writes lose the same.
    seed: u64,
    cuts: u64,
}

/// The state before a change that a cut may undo.
enum Before<'l> {
    /// The old size of a file, and its old bytes at an offset.
    Bytes { inode: u64, at: u64, size: u64, bytes: &'l [u8] },
    /// The file that a name referred to; 0 if there was none.
    Name { inode: u64, path: &'l Path },
}

/// A record in the library's log, and the offset at which it begins.
struct Record<'l> {
    begins: u64,
    kind: u64,
    inode: u64,
    at: u64,
    size: u64,
    bytes: &'l [u8],
}

const STOOD: u64 = 1;
const NAMED: u64 = 2;
const SYNCED: u64 = 3;
const SYNCED_FOLDER: u64 = 4;

/// A pseudo-random generator (Knuth's MMIX).
struct Chance {
    state: u64,
    /// How many of eight changes are lost, on average.
    loses: u64,
}

/// Compiles a C file into a library in this folder, for `LD_PRELOAD`.
pub fn library(folder: &Path, source: &str) -> PathBuf {
    let library = folder.join("library.so");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut compile = Command::new(&compiler);
    compile.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source);
    let compiled =
        compile.status().unwrap_or_else(|error| panic!("cannot run the C compiler {}: {error}", compiler.display()));
    assert!(compiled.success(), "the C compiler {} cannot compile {source}", compiler.display());
    library
}

impl Disk {
    /// A disk for the folder `data` inside this one, which need not exist yet. None outside Linux.
    pub fn below(folder: &Path, seed: u64) -> Option<Self> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        let folder = folder.canonicalize().unwrap();
        let library = library(&folder, concat!(env!("CARGO_MANIFEST_DIR"), "/src/lost_writes/disk.c"));
        let undo = folder.join("undo");
        fs::create_dir(&undo).unwrap();
        Some(Self { library, below: folder.join("data"), undo, lies: false, seed, cuts: 0 })
    }

    /// The environment variables of a host that uses this disk.
    pub fn environment(&self) -> Vec<(&'static str, OsString)> {
        let mut environment = vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("LOST_WRITES_BELOW", self.below.clone().into()),
            ("LOST_WRITES_UNDO", self.undo.clone().into()),
        ];
        if self.lies {
            environment.push(("LOST_WRITES_LIE", "1".into()));
        }
        environment
    }

    /// Cuts the power: undoes unsynced changes. The host must not run. Returns the number of changes that could be lost.
    pub fn cut(&mut self) -> usize {
        self.cuts += 1;
        let seed = self.seed.wrapping_add(self.cuts);
        let mut chance = Chance { state: seed, loses: 8 };
        if !self.lies && !self.cuts.is_multiple_of(WHOLE) {
            chance.loses = 1 + chance.next() % 7;
        }
        let log = fs::read(self.undo.join("log")).unwrap_or_default();
        let unsynced = unsynced(&log);
        self.take_back_bytes(&unsynced, &mut chance);
        self.take_back_names(&unsynced, &mut chance);
        let count = unsynced.len();
        fs::remove_dir_all(&self.undo).unwrap();
        fs::create_dir(&self.undo).unwrap();
        // SQLite's shared memory does not survive a restart of the machine.
        for entry in fs::read_dir(&self.below).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.to_string_lossy().ends_with("-shm") {
                fs::remove_file(path).unwrap();
            }
        }
        count
    }

    fn take_back_bytes(&self, unsynced: &[Before<'_>], chance: &mut Chance) {
        let mut files: HashMap<u64, Torn> = HashMap::new();
        for before in unsynced.iter().rev() {
            if let Before::Bytes { inode, at, size, bytes } = *before {
                let file = files.entry(inode).or_insert_with(|| Torn::open(&self.undo.join(inode.to_string())));
                file.take_back(at, size, bytes, chance);
            }
        }
        for file in files.into_values() {
            file.file.set_len(file.size).unwrap();
        }
    }

    fn take_back_names(&self, unsynced: &[Before<'_>], chance: &mut Chance) {
        for before in unsynced.iter().rev() {
            let Before::Name { inode, path } = *before else { continue };
            if !chance.loses() {
                return;
            }
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else if path.exists() {
                fs::remove_file(path).unwrap();
            }
            if inode != 0 {
                fs::hard_link(self.undo.join(inode.to_string()), path).unwrap();
            }
        }
    }
}

/// A file while its writes are undone, newest first.
struct Torn {
    file: File,
    size: u64,
    /// Blocks whose older writes are kept, and whether the size is kept.
    kept: HashSet<u64>,
    keeps_size: bool,
}

impl Torn {
    fn open(path: &Path) -> Self {
        let file = File::options().write(true).open(path).unwrap();
        let size = file.metadata().unwrap().len();
        Self { file, size, kept: HashSet::new(), keeps_size: false }
    }

    fn take_back(&mut self, at: u64, size: u64, bytes: &[u8], chance: &mut Chance) {
        let mut at = at;
        let mut rest = bytes;
        while !rest.is_empty() {
            let block = at / BLOCK as u64;
            let left = BLOCK - usize::try_from(at % BLOCK as u64).unwrap();
            let (here, after) = rest.split_at(left.min(rest.len()));
            if !self.kept.contains(&block) {
                if chance.loses() {
                    self.file.write_all_at(here, at).unwrap();
                } else {
                    self.kept.insert(block);
                }
            }
            (at, rest) = (at + here.len() as u64, after);
        }
        if size != self.size && !self.keeps_size {
            if chance.loses() {
                self.size = size;
            } else {
                self.keeps_size = true;
            }
        }
    }
}

impl Chance {
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.state >> 33
    }

    fn loses(&mut self) -> bool {
        self.next() % 8 < self.loses
    }
}

/// The changes that no sync covers, oldest first.
fn unsynced(log: &[u8]) -> Vec<Before<'_>> {
    let records: Vec<Record<'_>> = records(log).collect();
    let (mut files, mut folders): (HashMap<u64, u64>, HashMap<&Path, u64>) = Default::default();
    for record in &records {
        let until = match record.kind {
            SYNCED => files.entry(record.inode).or_default(),
            SYNCED_FOLDER => folders.entry(record.path()).or_default(),
            _ => continue,
        };
        *until = record.at.max(*until);
    }
    let is_synced = |record: &Record<'_>| {
        let until = match record.kind {
            STOOD => files.get(&record.inode),
            _ => record.path().parent().and_then(|folder| folders.get(folder)),
        };
        until.is_some_and(|until| record.begins < *until)
    };
    let changes = records.iter().filter(|record| [STOOD, NAMED].contains(&record.kind));
    changes.filter(|record| !is_synced(record)).map(Record::before).collect()
}

/// The records of a log. Skips a last record that the kill cut off, because its change was not made.
fn records(log: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = log;
    std::iter::from_fn(move || {
        let begins = (log.len() - rest.len()) as u64;
        let (head, after) = rest.split_at_checked(5 * 8)?;
        let number = |place: usize| u64::from_ne_bytes(head[place * 8..][..8].try_into().unwrap());
        let (bytes, after) = after.split_at_checked(usize::try_from(number(4)).unwrap())?;
        rest = after;
        Some(Record { begins, kind: number(0), inode: number(1), at: number(2), size: number(3), bytes })
    })
}

impl<'l> Record<'l> {
    fn path(&self) -> &'l Path {
        Path::new(std::str::from_utf8(self.bytes).unwrap())
    }

    fn before(&self) -> Before<'l> {
        let Self { kind, inode, at, size, bytes, .. } = *self;
        match kind {
            STOOD => Before::Bytes { inode, at, size, bytes },
            _ => Before::Name { inode, path: self.path() },
        }
    }
}
