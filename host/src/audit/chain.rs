//! The log's file: opened, mended, appended to. Each line carries the hash of all that stands before it.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::FILE;

/// What stands between a line's text and its hash, and behind it.
const BEFORE_HASH: &str = ",\"hash\":\"";
const AFTER_HASH: &str = "\"}";

/// Hexadecimal digits of a hash.
const HASH_DIGITS: usize = 64;

const CHUNK_BYTES: u64 = 64 << 10;

/// A log that is open for appending, by one writer.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) file: File,
    /// Bytes of whole lines. What lies behind them is left of a write that failed.
    length: u64,
    /// The last line with its line feed, or nothing.
    last: Vec<u8>,
    /// Whether something lies behind the whole lines.
    torn: bool,
}

impl Chain {
    /// Opens the log in a folder, making it where it is missing. Gives how many bytes of a torn line were cut off.
    pub(super) fn open(folder: &Path) -> io::Result<(Self, u64)> {
        let path = folder.join(FILE);
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        let found = file.metadata()?.len();
        let length = line_feed_before(&mut file, found)?;
        if length < found {
            file.set_len(length)?;
        }
        let begin = line_feed_before(&mut file, length.saturating_sub(1))?;
        let mut last = Vec::new();
        file.seek(SeekFrom::Start(begin))?;
        (&mut file).take(length - begin).read_to_end(&mut last)?;
        // With its name in the folder.
        file.sync_all()?;
        File::open(folder)?.sync_all()?;
        Ok((Self { file, length, last, torn: false }, found - length))
    }

    /// The hash of the last line; nothing where there is none.
    pub(super) fn last_hash(&self) -> &str {
        split(self.last.strip_suffix(b"\n").unwrap_or_default()).map_or("", |(_, hash)| hash)
    }

    /// Appends lines and syncs them. On an error there is none of them.
    pub(super) fn append(&mut self, texts: impl Iterator<Item = String>) -> io::Result<()> {
        let (mut lines, mut begin) = (Vec::new(), None);
        for text in texts {
            let before = begin.map_or(&*self.last, |begin| &lines[begin..]);
            let hash = hash(before, text.as_bytes());
            begin = Some(lines.len());
            lines.extend_from_slice(format!("{text}{BEFORE_HASH}{hash}{AFTER_HASH}\n").as_bytes());
        }
        let Some(begin) = begin else { return Ok(()) };
        self.mend()?;
        self.torn = true;
        if let Err(error) = self.file.write_all(&lines).and_then(|()| self.file.sync_data()) {
            // Where this fails too, the next write tries it again, and so does the next start.
            let _ = self.mend();
            return Err(error);
        }
        self.torn = false;
        self.length += lines.len() as u64;
        self.last = lines.split_off(begin);
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

/// The hash that a line of this text has after the line before it.
pub(super) fn hash(before: &[u8], text: &[u8]) -> String {
    let digest = Sha256::new().chain_update(before).chain_update(text).finalize();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text and the hash of a line, without its line feed.
pub(super) fn split(line: &[u8]) -> Option<(&[u8], &str)> {
    let text = line.len().checked_sub(BEFORE_HASH.len() + HASH_DIGITS + AFTER_HASH.len())?;
    let (text, rest) = line.split_at(text);
    let hash = std::str::from_utf8(rest).ok()?.strip_prefix(BEFORE_HASH)?.strip_suffix(AFTER_HASH)?;
    Some((text, hash))
}

/// Where the last line that ends before a place in the file ends; 0 if none does.
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
