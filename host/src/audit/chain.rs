//! The writer of the audit log. Each line has a hash of all that precedes it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::files::{self, FILE, first_line, has_bytes, last_line, numbered, numbers, sync};

/// The texts before and after the hash of a line.
const BEFORE_HASH: &str = ",\"hash\":\"";
const AFTER_HASH: &str = "\"}";

/// The text before the file's future number, near the end of a file's first line.
const BEFORE_NUMBER: &str = ",\"file\":";

/// The texts before and after the hash of the previous file.
/// They stand at the end of a file's first line.
const BEFORE_AFTER: &str = ",\"after\":\"";
const AFTER_AFTER: &str = "\"";

/// How many hexadecimal digits a hash has.
const HASH_DIGITS: usize = 64;

/// A log that is open for appending. It must be the only writer.
#[derive(Debug)]
pub(super) struct Chain {
    folder: PathBuf,
    /// A file with this many bytes is full.
    /// One append never spans two files, so a file can become longer.
    file_bytes: u64,
    pub(super) file: File,
    /// How many bytes are whole lines. A failed write can leave bytes after them.
    length: u64,
    /// The last line of the file with its line feed. Empty if there is none.
    last: Vec<u8>,
    /// The last hash of the previous file, if one exists.
    after: Option<String>,
    /// The number that the file gets when it is full.
    /// If another file has this number by then, the file gets a higher one.
    number: u64,
    /// Whether the file has bytes after its whole lines.
    torn: bool,
}

impl Chain {
    /// Opens the log in a folder. Creates a missing log.
    /// Also returns how many bytes of a torn line were cut off.
    pub(super) fn open(folder: &Path, file_bytes: u64) -> io::Result<(Self, u64)> {
        let before = newest(folder)?;
        let after =
            before.map(|number| File::open(folder.join(numbered(number))).and_then(|mut file| last_line(&mut file)));
        let after = after.transpose()?.map(|(_, last)| hash_of(&last).to_owned());
        let mut file = files::open(folder)?;
        let found = file.metadata()?.len();
        let (length, last) = last_line(&mut file)?;
        // If all full files were moved away, only the current file knows which number comes next.
        let number = own_number(&first_line(&mut file)?).unwrap_or_default().max(before.unwrap_or_default() + 1);
        if length < found {
            file.set_len(length)?;
        }
        sync(folder, &file)?;
        Ok((
            Self { folder: folder.to_owned(), file_bytes, file, length, last, after, number, torn: false },
            found - length,
        ))
    }

    /// The hash of the last line. Empty if there is none.
    pub(super) fn last_hash(&self) -> &str {
        if self.last.is_empty() { self.after.as_deref().unwrap_or_default() } else { hash_of(&self.last) }
    }

    /// Appends lines and syncs them. After an error the log has none of them.
    pub(super) fn append(&mut self, texts: impl Iterator<Item = String>) -> io::Result<()> {
        let mut texts = texts.peekable();
        if texts.peek().is_none() {
            return Ok(());
        }
        self.cut_torn()?;
        if self.length >= self.file_bytes {
            self.begin_file()?;
        }
        let lines = self.lines(texts);
        self.torn = true;
        if let Err(error) = self.file.write_all(&lines).and_then(|()| self.file.sync_data()) {
            // If this fails too, the next append and the next start try it again.
            let _ = self.cut_torn();
            return Err(error);
        }
        self.torn = false;
        self.length += lines.len() as u64;
        let begin = lines[..lines.len() - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.last = lines[begin..].to_vec();
        Ok(())
    }

    /// Builds the lines of these texts, which follow the last line.
    fn lines(&self, texts: impl Iterator<Item = String>) -> Vec<u8> {
        let (mut lines, mut begin) = (Vec::new(), None);
        for mut text in texts {
            let before = begin.map_or(&*self.last, |begin| &lines[begin..]);
            if let Some(after) = self.after.as_ref().filter(|_| before.is_empty()) {
                text.push_str(&format!("{BEFORE_NUMBER}{}{BEFORE_AFTER}{after}{AFTER_AFTER}", self.number));
            }
            let hash = hash(before, text.as_bytes());
            begin = Some(lines.len());
            lines.extend_from_slice(format!("{text}{BEFORE_HASH}{hash}{AFTER_HASH}\n").as_bytes());
        }
        lines
    }

    /// Renames the full file and begins another.
    ///
    /// `verify` accepts the files at every moment of this. If a step fails, the next call can repeat them all.
    fn begin_file(&mut self) -> io::Result<()> {
        let current = self.folder.join(FILE);
        // If an earlier call failed, the current file is empty or missing, and the full one already has its number.
        if has_bytes(&current)? {
            let number = self.number.max(newest(&self.folder)?.unwrap_or_default() + 1);
            fs::rename(&current, self.folder.join(numbered(number)))?;
            self.number = number + 1;
        }
        let file = files::open(&self.folder)?;
        sync(&self.folder, &file)?;
        self.after = Some(hash_of(&self.last).to_owned());
        (self.file, self.length) = (file, 0);
        self.last.clear();
        Ok(())
    }

    /// Cuts off the bytes of a failed write.
    fn cut_torn(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        Ok(())
    }
}

/// The number of the newest full file in a folder.
fn newest(folder: &Path) -> io::Result<Option<u64>> {
    Ok(numbers(folder)?.last().copied())
}

/// The future number in a file's first line.
/// The first file of a log has none, nor do some files of old hosts.
fn own_number(first: &[u8]) -> Option<u64> {
    let (text, _) = split(first.strip_suffix(b"\n")?)?;
    let (text, _) = split_hash(text, BEFORE_AFTER, AFTER_AFTER)?;
    std::str::from_utf8(text).ok()?.rsplit_once(BEFORE_NUMBER)?.1.parse().ok()
}

/// The hash of a line with this text, after the line `before`.
pub(super) fn hash(before: &[u8], text: &[u8]) -> String {
    let digest = Sha256::new().chain_update(before).chain_update(text).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Splits a line without its line feed into text and hash.
pub(super) fn split(line: &[u8]) -> Option<(&[u8], &str)> {
    split_hash(line, BEFORE_HASH, AFTER_HASH)
}

/// The last hash of the previous file, from the text of a file's first line.
pub(super) fn after(text: &[u8]) -> Option<&str> {
    split_hash(text, BEFORE_AFTER, AFTER_AFTER).map(|(_, hash)| hash)
}

/// The hash of a line with its line feed. Empty if the line has none.
fn hash_of(line: &[u8]) -> &str {
    split(line.strip_suffix(b"\n").unwrap_or_default()).map_or("", |(_, hash)| hash)
}

/// Splits off a hash at the end, which has these texts before and after it.
fn split_hash<'a>(line: &'a [u8], before: &str, after: &str) -> Option<(&'a [u8], &'a str)> {
    let rest = line.len().checked_sub(before.len() + HASH_DIGITS + after.len())?;
    let (text, rest) = line.split_at(rest);
    let hash = std::str::from_utf8(rest).ok()?.strip_prefix(before)?.strip_suffix(after)?;
    Some((text, hash))
}
