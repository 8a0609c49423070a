//! The files that a component is built from, and what changed in them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context as _, bail};
use ignore::WalkBuilder;

/// The most files and folders of one build.
const MOST: usize = 20_000;

/// Larger files are compared by time and length alone.
const READ_BYTES: u64 = 1 << 20;

/// Folders that builds write into. Hidden folders, such as `.git` and `.venv`, are left out anyway.
const BUILT: [&str; 4] = ["target", "node_modules", "__pycache__", "venv"];

/// Files and folders that a component is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sources {
    roots: BTreeSet<PathBuf>,
    /// The components and the data folder, which are no sources, even if they are in a root.
    left_out: Arc<BTreeSet<PathBuf>>,
}

/// What the sources contain at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    files: BTreeMap<PathBuf, Content>,
    folders: BTreeSet<PathBuf>,
}

/// A file's content, by a hash. A build may write a file again with the same content.
#[derive(Debug, Clone, Copy)]
struct Content {
    stamp: Stamp,
    hash: u64,
}

/// A file's modification time and length.
pub(super) type Stamp = (SystemTime, u64);

/// The stamp of a file. None if it is no file or cannot be read.
pub(super) fn stamp(file: &Path) -> Option<Stamp> {
    // Reading a pipe would wait for its writer.
    let metadata = fs::metadata(file).ok().filter(fs::Metadata::is_file)?;
    Some((metadata.modified().ok()?, metadata.len()))
}

/// The path without links and dots, also if its last part does not exist yet.
pub(super) fn resolved(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    match (absolute.canonicalize(), absolute.parent(), absolute.file_name()) {
        (Ok(resolved), ..) => resolved,
        (Err(_), Some(parent), Some(name)) => resolved(parent).join(name),
        _ => absolute,
    }
}

impl Sources {
    /// The sources in these files and folders, without those in `left_out`, which must be resolved.
    pub(super) fn new(roots: &[PathBuf], left_out: &Arc<BTreeSet<PathBuf>>) -> Self {
        Self { roots: roots.iter().map(|root| resolved(root)).collect(), left_out: left_out.clone() }
    }

    /// Looks at all sources. Blocks on the disk. Reads only files that changed since `before`.
    ///
    /// Leaves out what `.gitignore` and `.ignore` name, hidden files, and folders that builds write into.
    ///
    /// # Errors
    /// A root does not exist, or there are too many files.
    pub(super) fn look(&self, before: &Snapshot) -> anyhow::Result<Snapshot> {
        let mut found = Snapshot::default();
        for root in &self.roots {
            fs::metadata(root).with_context(|| format!("cannot read {}: correct `sources`", root.display()))?;
            let left_out = self.left_out.clone();
            let mut walk = WalkBuilder::new(root);
            walk.require_git(false).filter_entry(move |entry| {
                let is_built = |name: &OsStr| BUILT.iter().any(|built| name == *built);
                let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
                let leaves_out = is_folder && entry.depth() > 0 && is_built(entry.file_name());
                !leaves_out && !left_out.contains(entry.path())
            });
            // An entry that cannot be read has just vanished, or the build will say why it cannot read it.
            for entry in walk.build().filter_map(Result::ok) {
                found.add(entry.into_path(), before);
                if found.files.len() + found.folders.len() > MOST {
                    bail!(
                        "there are more than {MOST} files in {}: name the folders that count in `sources`, or leave out others \
                         with .gitignore",
                        root.display()
                    );
                }
            }
        }
        Ok(found)
    }
}

impl Snapshot {
    fn add(&mut self, path: PathBuf, before: &Self) {
        if path.is_dir() {
            self.folders.insert(path);
            return;
        }
        let Some(stamp) = stamp(&path) else { return };
        let known = before.files.get(&path).filter(|known| known.stamp == stamp);
        let content = known.copied().unwrap_or_else(|| Content { stamp, hash: hash(&path, stamp) });
        self.files.insert(path, content);
    }

    /// One file that differs. None if the contents are the same.
    pub(super) fn difference<'s>(&'s self, other: &'s Self) -> Option<&'s Path> {
        let lacks = |one: &'s Self, other: &Self| {
            let is_other = |(path, content): &(&PathBuf, &Content)| {
                other.files.get(*path).is_none_or(|other| other.hash != content.hash)
            };
            one.files.iter().find(is_other).map(|(path, _)| &**path)
        };
        lacks(self, other).or_else(|| lacks(other, self))
    }

    /// The folders that contain the sources.
    pub(super) fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let of_files = self.files.keys().filter_map(|file| file.parent().map(Path::to_owned));
        self.folders.iter().cloned().chain(of_files)
    }
}

fn hash(file: &Path, stamp: Stamp) -> u64 {
    let mut hasher = DefaultHasher::new();
    match fs::read(file) {
        Ok(bytes) if stamp.1 <= READ_BYTES => bytes.hash(&mut hasher),
        _ => stamp.hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    struct Project {
        folder: tempfile::TempDir,
        sources: Sources,
    }

    impl Project {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let root = folder.path().canonicalize().unwrap();
            let left_out = Arc::new(BTreeSet::from([root.join("data"), root.join("a.wasm")]));
            Self { sources: Sources::new(&[root], &left_out), folder }
        }

        fn write(&self, file: &str, text: &str) {
            let file = self.folder.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }

        fn look(&self, before: &Snapshot) -> Snapshot {
            self.sources.look(before).unwrap()
        }
    }

    #[test]
    fn only_files_that_a_build_reads_are_sources() {
        let project = Project::new();
        project.write("src/lib.rs", "1");
        project.write(".gitignore", "generated\n*.log\n");
        let before = project.look(&Snapshot::default());
        let no_sources =
            ["target/a", "node_modules/b/c", ".venv/d", "x/__pycache__/e", "data/f", "a.wasm", "generated/g", "h.log"];
        for file in no_sources {
            project.write(file, "1");
        }
        assert_eq!(before.difference(&project.look(&before)), None);
        for file in ["src/lib.rs", "src/new/more.rs", "Cargo.toml"] {
            let before = project.look(&before);
            project.write(file, "2");
            let now = project.look(&before);
            assert!(before.difference(&now).unwrap().ends_with(file), "{file}");
        }
        fs::remove_file(project.folder.path().join("src/lib.rs")).unwrap();
        let now = project.look(&before);
        assert!(now.difference(&before).is_some());
    }

    #[test]
    fn the_same_content_with_another_time_is_no_change() {
        let project = Project::new();
        project.write("src/lib.rs", "1");
        let before = project.look(&Snapshot::default());
        let file = fs::File::options().write(true).open(project.folder.path().join("src/lib.rs")).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let now = project.look(&before);
        assert_eq!(before.difference(&now), None);
        assert!(now.folders().any(|folder| folder.ends_with("src")), "{now:?}");
    }

    #[test]
    fn a_root_that_does_not_exist_is_named() {
        let sources = Sources::new(&["/nowhere/src".into()], &Arc::default());
        let error = sources.look(&Snapshot::default()).unwrap_err().to_string();
        assert_eq!(error, "cannot read /nowhere/src: correct `sources`");
    }
}
