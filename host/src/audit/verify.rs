//! Whether a log's chain holds: `comptoir audit verify`.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, bail};

use super::FILE;
use super::chain::{after, hash, split};
use super::files::{aside, numbers};

/// A log that holds together.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many lines it has, in all of its files.
    pub lines: u64,
    /// The hash of the last one; empty where there is none.
    pub last_hash: String,
}

/// Goes through the log in a data folder, all of its files in their order. With an anchor, a hash that was known before, there must be
/// a line that has it, or the oldest file must go on after it; without one the oldest file must be the first of all. Blocks on the
/// disk. While a host writes, the last line may be half there.
///
/// # Errors
/// The line at which the chain breaks, a file that is missing, or that the anchor is gone.
pub fn verify(folder: &Path, anchor: Option<&str>) -> anyhow::Result<Verified> {
    let shown = folder.display();
    let of =
        || numbers(folder).with_context(|| format!("cannot read {shown}: name the data folder of a host with --data"));
    loop {
        let found = of()?;
        let verified = Walk::through(folder, &found, anchor);
        // A host that writes may have put a file aside meanwhile.
        if found == of()? {
            return verified;
        }
    }
}

/// A walk through the files.
struct Walk<'a> {
    anchor: Option<&'a str>,
    anchored: bool,
    verified: Verified,
}

impl<'a> Walk<'a> {
    fn through(folder: &Path, numbers: &[u64], anchor: Option<&'a str>) -> anyhow::Result<Verified> {
        if let Some(gap) = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1) {
            bail!("{} is missing: put it back", folder.join(aside(gap[0] + 1)).display());
        }
        let mut walk = Self { anchor, anchored: anchor.is_none(), verified: Verified::default() };
        for number in numbers {
            walk.file(&folder.join(aside(*number)))?;
        }
        let current = folder.join(FILE);
        // A host that ended while it put a file aside has not begun the next.
        if numbers.is_empty() || current.exists() {
            walk.file(&current)?;
        }
        if !walk.anchored {
            bail!(
                "{} holds together, but no line has the anchor's hash: its end was removed, or all was written anew, or the line is in \
                 a file that is kept elsewhere",
                folder.display()
            );
        }
        Ok(walk.verified)
    }

    fn is_anchor(&self, hash: &str) -> bool {
        self.anchor.is_some_and(|anchor| anchor.eq_ignore_ascii_case(hash))
    }

    fn file(&mut self, path: &Path) -> anyhow::Result<()> {
        let shown = path.display();
        let file = File::open(path)
            .with_context(|| format!("cannot read {shown}: name the data folder of a host with --data"))?;
        let (mut file, mut before, mut line) = (BufReader::new(file), Vec::new(), Vec::new());
        let mut number = 0_u64;
        while file.read_until(b'\n', &mut line).with_context(|| format!("cannot read {shown}"))? > 0 {
            number += 1;
            let Some(whole) = line.strip_suffix(b"\n") else {
                bail!(
                    "{shown}: line {number} is not whole: it is being written, or the next start of the host cuts it off"
                );
            };
            let Some((text, found)) = split(whole).filter(|(text, found)| hash(&before, text) == *found) else {
                bail!("{shown}: line {number} does not follow from the lines before: it or the one before was changed");
            };
            if number == 1 {
                self.begins(path, after(text))?;
            }
            self.anchored |= self.is_anchor(found);
            found.clone_into(&mut self.verified.last_hash);
            self.verified.lines += 1;
            std::mem::swap(&mut before, &mut line);
            line.clear();
        }
        Ok(())
    }

    /// Whether a file goes on where the one before it ended. The oldest one has none before it, or goes on after the anchor.
    fn begins(&mut self, path: &Path, after: Option<&str>) -> anyhow::Result<()> {
        let shown = path.display();
        match after {
            Some(after) if self.verified.lines == 0 => {
                if self.anchor.is_none() {
                    bail!(
                        "{shown} goes on after another file, which is missing: put it back, or where it is kept elsewhere give the \
                         hash of its last line with --anchor, or of any line since"
                    );
                }
                self.anchored |= self.is_anchor(after);
            }
            after if after.unwrap_or_default() != self.verified.last_hash => {
                bail!(
                    "{shown} does not go on where the file before it ends: the end of that one was removed, or a file between them"
                )
            }
            _ => {}
        }
        Ok(())
    }
}
