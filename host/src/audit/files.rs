//! The files of the audit log: the current file, and the numbered full ones.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

/// The name of the current file.
pub const FILE: &str = "audit.jsonl";

/// How many bytes are read at a time.
const CHUNK_BYTES: u64 = 64 << 10;

/// The name of a full file.
pub(super) fn numbered(number: u64) -> String {
    format!("audit.{number}.jsonl")
}

/// The numbers of the full files in a folder, oldest first.
pub(super) fn numbers(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_prefix("audit.")?.strip_suffix(".jsonl")?.parse().ok());
        numbers.extend(number.filter(|number| *numbered(*number) == *name));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Opens the current file. Creates it if it is missing.
pub(super) fn open(folder: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(folder.join(FILE))?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Syncs the file and its folder to the disk.
pub(super) fn sync(folder: &Path, file: &File) -> io::Result<()> {
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

/// Whether a file exists and is not empty.
pub(super) fn has_bytes(path: &Path) -> io::Result<bool> {
    match fs::metadata(path) {
        Ok(found) => Ok(found.is_file() && found.len() > 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The newest lines of the current file, at most `most`, newest first. Reads no more than the last 256 KiB. Blocks on the disk.
///
/// # Errors
/// The file cannot be read.
pub fn latest(folder: &Path, most: usize) -> io::Result<Vec<String>> {
    let mut file = File::open(folder.join(FILE))?;
    let from = file.metadata()?.len().saturating_sub(4 * CHUNK_BYTES);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(4 * CHUNK_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // In the middle of the file, the first line is only a part of one.
    let lines = text.lines().skip(usize::from(from > 0)).collect::<Vec<_>>();
    Ok(lines.into_iter().rev().take(most).map(str::to_owned).collect())
}

/// The first line of a file with its line feed.
/// Incomplete if the file ends earlier.
pub(super) fn first_line(file: &mut File) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    BufReader::new(file).take(CHUNK_BYTES).read_until(b'\n', &mut first)?;
    Ok(first)
}

/// The number of bytes in whole lines, and the last whole line with its line feed.
/// The line is empty if there is none.
pub(super) fn last_line(file: &mut File) -> io::Result<(u64, Vec<u8>)> {
    let found = file.metadata()?.len();
    let length = line_feed_before(file, found)?;
    let begin = line_feed_before(file, length.saturating_sub(1))?;
    let mut last = Vec::new();
    file.seek(SeekFrom::Start(begin))?;
    file.take(length - begin).read_to_end(&mut last)?;
    Ok((length, last))
}

/// The position after the last line feed before `end`, or 0.
fn line_feed_before(file: &mut File, mut end: u64) -> io::Result<u64> {
    let mut chunk = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(CHUNK_BYTES);
        chunk.clear();
        file.seek(SeekFrom::Start(begin))?;
        file.take(end - begin).read_to_end(&mut chunk)?;
        if let Some(position) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(begin + position as u64 + 1);
        }
        end = begin;
    }
    Ok(0)
}
