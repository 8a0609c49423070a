//! Whether a log's chain holds: `comptoir audit verify`.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, bail};

use super::FILE;
use super::chain::{hash, split};

/// A log that holds together.
#[derive(Debug, PartialEq, Eq)]
pub struct Verified {
    /// How many lines it has.
    pub lines: u64,
    /// The hash of the last one; empty where there is none.
    pub last_hash: String,
}

/// Goes through the log in a data folder. With an anchor, a hash that was known before, there must be a line that has it.
/// Blocks on the disk. While a host writes, the last line may be half there.
///
/// # Errors
/// The line at which the chain breaks, or that the anchor is gone.
pub fn verify(folder: &Path, anchor: Option<&str>) -> anyhow::Result<Verified> {
    let path = folder.join(FILE);
    let shown = path.display();
    let file = File::open(&path)
        .with_context(|| format!("cannot read {shown}: name the data folder of a host with --data"))?;
    let (mut file, mut before, mut line) = (BufReader::new(file), Vec::new(), Vec::new());
    let (mut verified, mut anchored) = (Verified { lines: 0, last_hash: String::new() }, anchor.is_none());
    while file.read_until(b'\n', &mut line).with_context(|| format!("cannot read {shown}"))? > 0 {
        let number = verified.lines + 1;
        let Some(whole) = line.strip_suffix(b"\n") else {
            bail!(
                "{shown}: line {number} is not whole: it is being written, or the next start of the host cuts it off"
            );
        };
        let Some((_, found)) = split(whole).filter(|(text, found)| hash(&before, text) == *found) else {
            bail!("{shown}: line {number} does not follow from the lines before: it or the one before was changed");
        };
        found.clone_into(&mut verified.last_hash);
        anchored |= anchor.is_some_and(|anchor| anchor.eq_ignore_ascii_case(found));
        verified.lines = number;
        std::mem::swap(&mut before, &mut line);
        line.clear();
    }
    if !anchored {
        bail!(
            "{shown} holds together, but no line has the anchor's hash: its end was removed, or all was written anew"
        );
    }
    Ok(verified)
}
