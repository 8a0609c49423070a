//! The log as it is written: opened, mended, appended to. Each line carries the hash of all that stands before it.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::FILE;
use super::files::{self, aside, first_line, has_bytes, last_line, numbers, sync};

/// What stands between a line's text and its hash, and behind it.
const BEFORE_HASH: &str = ",\"hash\":\"";
const AFTER_HASH: &str = "\"}";

/// What stands near the end of the text of a file's first line, before the number that the file will have.
const BEFORE_NUMBER: &str = ",\"file\":";

/// What stands at the end of it, around the last hash of the file before it.
const BEFORE_AFTER: &str = ",\"after\":\"";
const AFTER_AFTER: &str = "\"";

/// Hexadecimal digits of a hash.
const HASH_DIGITS: usize = 64;

/// A log that is open for appending, by one writer.
#[derive(Debug)]
pub(super) struct Chain {
    folder: PathBuf,
    /// Bytes with which a file is full. What is appended in one go stands in one file, so a file may have somewhat more.
    file_bytes: u64,
    pub(super) file: File,
    /// Bytes of whole lines. What lies behind them is left of a write that failed.
    length: u64,
    /// The last line of the file with its line feed, or nothing.
    last: Vec<u8>,
    /// The last hash of the file before it, if there is one.
    after: Option<String>,
    /// Under which number the file is put aside, unless that is taken by then.
    number: u64,
    /// Whether something lies behind the whole lines.
    torn: bool,
}

impl Chain {
    /// Opens the log in a folder, making it where it is missing. Gives how many bytes of a torn line were cut off.
    pub(super) fn open(folder: &Path, file_bytes: u64) -> io::Result<(Self, u64)> {
        let before = newest(folder)?;
        let after =
            before.map(|number| File::open(folder.join(aside(number))).and_then(|mut file| last_line(&mut file)));
        let after = after.transpose()?.map(|(_, last)| hash_of(&last).to_owned());
        let mut file = files::open(folder)?;
        let found = file.metadata()?.len();
        let (length, last) = last_line(&mut file)?;
        // Where all that were put aside are kept elsewhere, only the file itself knows which number comes next.
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

    /// The hash of the last line; nothing where there is none.
    pub(super) fn last_hash(&self) -> &str {
        if self.last.is_empty() { self.after.as_deref().unwrap_or_default() } else { hash_of(&self.last) }
    }

    /// Appends lines and syncs them. On an error there is none of them.
    pub(super) fn append(&mut self, texts: impl Iterator<Item = String>) -> io::Result<()> {
        let mut texts = texts.peekable();
        if texts.peek().is_none() {
            return Ok(());
        }
        self.mend()?;
        if self.length >= self.file_bytes {
            self.begin_file()?;
        }
        let lines = self.lines(texts);
        self.torn = true;
        if let Err(error) = self.file.write_all(&lines).and_then(|()| self.file.sync_data()) {
            // Where this fails too, the next write tries it again, and so does the next start.
            let _ = self.mend();
            return Err(error);
        }
        self.torn = false;
        self.length += lines.len() as u64;
        let begin = lines[..lines.len() - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.last = lines[begin..].to_vec();
        Ok(())
    }

    /// The lines of these texts, behind those that there are.
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

    /// Puts the file aside, which is full, and begins another. What is on the disk holds together at each moment of it, and it may be
    /// done again wherever it failed.
    fn begin_file(&mut self) -> io::Result<()> {
        let current = self.folder.join(FILE);
        // An empty one, or none, is what a try left that failed: the full one was put aside then. Whatever else lies there is kept.
        if has_bytes(&current)? {
            let number = self.number.max(newest(&self.folder)?.unwrap_or_default() + 1);
            fs::rename(&current, self.folder.join(aside(number)))?;
            self.number = number + 1;
        }
        let file = files::open(&self.folder)?;
        sync(&self.folder, &file)?;
        self.after = Some(hash_of(&self.last).to_owned());
        (self.file, self.length) = (file, 0);
        self.last.clear();
        Ok(())
    }

    /// Cuts off what a write that failed left behind.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.length)?;
            self.torn = false;
        }
        Ok(())
    }
}

/// The number of the newest file in a folder that was put aside.
fn newest(folder: &Path) -> io::Result<Option<u64>> {
    Ok(numbers(folder)?.last().copied())
}

/// The number that a file will have, as its first line says. The first file of all does not say it, nor do some old ones.
fn own_number(first: &[u8]) -> Option<u64> {
    let (text, _) = split(first.strip_suffix(b"\n")?)?;
    let (text, _) = around(text, BEFORE_AFTER, AFTER_AFTER)?;
    std::str::from_utf8(text).ok()?.rsplit_once(BEFORE_NUMBER)?.1.parse().ok()
}

/// The hash that a line of this text has after the line before it.
pub(super) fn hash(before: &[u8], text: &[u8]) -> String {
    let digest = Sha256::new().chain_update(before).chain_update(text).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text and the hash of a line, without its line feed.
pub(super) fn split(line: &[u8]) -> Option<(&[u8], &str)> {
    around(line, BEFORE_HASH, AFTER_HASH)
}

/// The last hash of the file before, as the text of a file's first line has it.
pub(super) fn after(text: &[u8]) -> Option<&str> {
    around(text, BEFORE_AFTER, AFTER_AFTER).map(|(_, hash)| hash)
}

/// The hash of a line with its line feed; nothing where it has none.
fn hash_of(line: &[u8]) -> &str {
    split(line.strip_suffix(b"\n").unwrap_or_default()).map_or("", |(_, hash)| hash)
}

/// What stands before, and a hash that stands between these at the end.
fn around<'a>(line: &'a [u8], before: &str, behind: &str) -> Option<(&'a [u8], &'a str)> {
    let rest = line.len().checked_sub(before.len() + HASH_DIGITS + behind.len())?;
    let (text, rest) = line.split_at(rest);
    let hash = std::str::from_utf8(rest).ok()?.strip_prefix(before)?.strip_suffix(behind)?;
    Some((text, hash))
}
