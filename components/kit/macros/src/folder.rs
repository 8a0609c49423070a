//! Reads the files of a folder, within limits.

use std::fs;
use std::path::{Path, PathBuf};

/// The most files of a folder. Each has up to two routes, and the host accepts 1,000 routes of a component.
const FILES: usize = 400;

/// The most bytes of one file.
const FILE_BYTES: u64 = 4 << 20;

/// The most bytes of all files.
const FOLDER_BYTES: usize = 8 << 20;

/// A file of the folder.
#[derive(Debug)]
pub(crate) struct File {
    /// Where it lies.
    pub(crate) source: PathBuf,
    /// Its path within the folder, such as `assets/app.js`.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// All files of a folder and its subfolders, in the order of their names.
///
/// Leaves out what begins with a dot, except `.well-known`. Follows no symbolic links.
pub(crate) fn read(folder: &Path) -> Result<Vec<File>, String> {
    let mut files = Vec::new();
    collect(folder, "", &mut files)?;
    if files.is_empty() {
        return Err("the folder has no files".to_owned());
    }
    if files.iter().map(|file| file.bytes.len()).sum::<usize>() > FOLDER_BYTES {
        return Err(format!("the files have more than {} MiB together", FOLDER_BYTES >> 20));
    }
    files.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(files)
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("cannot read the folder /{prefix}: {error}");
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let file_name = entry.file_name().into_string().map_err(|_| format!("a name in /{prefix} is not UTF-8"))?;
        if file_name.starts_with('.') && file_name != ".well-known" {
            continue;
        }
        let name = format!("{prefix}{file_name}");
        check_name(&file_name).map_err(|why| format!("{name}: {why}"))?;
        let source = entry.path();
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_symlink() {
            return Err(format!("{name} is a symbolic link: put a file there"));
        } else if kind.is_dir() {
            collect(&source, &format!("{name}/"), files)?;
        } else {
            files.push(file(source, name)?);
        }
        if files.len() > FILES {
            return Err(format!("the folder has more than {FILES} files"));
        }
    }
    Ok(())
}

fn file(source: PathBuf, name: String) -> Result<File, String> {
    let failed = |error: std::io::Error| format!("cannot read {name}: {error}");
    if fs::metadata(&source).map_err(failed)?.len() > FILE_BYTES {
        return Err(format!("{name} has more than {} MiB", FILE_BYTES >> 20));
    }
    let bytes = fs::read(&source).map_err(failed)?;
    Ok(File { source, name, bytes })
}

/// Allows the characters that need no encoding in a path (RFC 3986, section 2.3).
fn check_name(name: &str) -> Result<(), &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if name.bytes().all(is_plain) {
        return Ok(());
    }
    Err("a name may have letters of ASCII, digits, `-`, `.`, `_` and `~`: rename it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_read_with_its_subfolders_and_without_hidden_files() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.html", ".hidden", ".git/config", "a/c.css", ".well-known/security.txt"] {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, name).unwrap();
        }
        let files = read(folder.path()).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, [".well-known/security.txt", "a/c.css", "b.html"]);
        assert!(files.iter().all(|file| file.bytes == file.name.as_bytes()));
    }

    #[test]
    fn a_folder_that_cannot_be_served_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let refused = || read(folder.path()).unwrap_err();
        assert_eq!(refused(), "the folder has no files");
        let file = folder.path().join("ein Bild.png");
        fs::write(&file, "").unwrap();
        assert!(refused().starts_with("ein Bild.png: a name may have letters"), "{}", refused());
        fs::remove_file(file).unwrap();
        let file = folder.path().join("large.bin");
        fs::write(&file, vec![0; (4 << 20) + 1]).unwrap();
        assert_eq!(refused(), "large.bin has more than 4 MiB");
        fs::remove_file(file).unwrap();
        for number in 0..3 {
            fs::write(folder.path().join(format!("{number}.bin")), vec![0; 4 << 20]).unwrap();
        }
        assert_eq!(refused(), "the files have more than 8 MiB together");
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        assert!(refused().contains("link is a symbolic link"), "{}", refused());
        assert!(read(Path::new("/no/such/folder")).unwrap_err().contains("cannot read the folder /"));
    }

    #[test]
    fn a_folder_has_a_limit_of_files() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..=FILES {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        assert_eq!(read(folder.path()).unwrap_err(), "the folder has more than 400 files");
    }
}
