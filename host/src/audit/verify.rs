//! `comptoir audit verify`: checks the hash chain of an audit log.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::{Context as _, bail};

use super::chain::{after, hash, split};
use super::files::{FILE, numbered, numbers};

/// The result for a log without errors.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// How many lines all files have together.
    pub lines: u64,
    /// The hash of the last line. Empty if there is none.
    pub last_hash: String,
}

/// Checks all files of the audit log in a data folder.
///
/// `anchor` is a hash that was noted earlier. With an anchor, some line must have this hash, or the oldest file must follow it.
/// Without one, the oldest file must be the first file of the log. Blocks on the disk. If a host is writing, the last line can be
/// incomplete.
///
/// # Errors
/// If a line does not fit its predecessor, if a file is missing, or if no line has the anchor's hash.
pub fn verify(folder: &Path, anchor: Option<&str>) -> anyhow::Result<Verified> {
    let shown = folder.display();
    let list =
        || numbers(folder).with_context(|| format!("cannot read {shown}: name the data folder of a host with --data"));
    loop {
        let files = list()?;
        let verified = Walk::through(folder, &files, anchor);
        // A running host may have renamed a full file meanwhile.
        if files == list()? {
            return verified;
        }
    }
}

/// The state of a walk through the files.
struct Walk<'a> {
    anchor: Option<&'a str>,
    anchored: bool,
    verified: Verified,
}

impl<'a> Walk<'a> {
    fn through(folder: &Path, numbers: &[u64], anchor: Option<&'a str>) -> anyhow::Result<Verified> {
        if let Some(gap) = numbers.windows(2).find(|pair| pair[1] != pair[0] + 1) {
            bail!("the audit log misses the file {}: put it back", folder.join(numbered(gap[0] + 1)).display());
        }
        let mut walk = Self { anchor, anchored: anchor.is_none(), verified: Verified::default() };
        for number in numbers {
            walk.file(&folder.join(numbered(*number)))?;
        }
        let current = folder.join(FILE);
        // If a host stopped while it renamed a full file, the current one does not exist yet.
        if numbers.is_empty() || current.exists() {
            walk.file(&current)?;
        }
        if !walk.anchored {
            bail!(
                "the audit log in {} has no line with the anchor's hash. Either its end was removed, or the log was \
                 rewritten, or the line is in a file that is kept elsewhere",
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
                    "{shown}: line {number} is not whole: a host is writing it, or a crash tore it and the next start cuts it off"
                );
            };
            let Some((text, found)) = split(whole).filter(|(text, found)| hash(&before, text) == *found) else {
                bail!("{shown}: the hash of line {number} is wrong: this line or the previous one was changed");
            };
            if number == 1 {
                self.check_first_line(path, after(text))?;
            }
            self.anchored |= self.is_anchor(found);
            found.clone_into(&mut self.verified.last_hash);
            self.verified.lines += 1;
            std::mem::swap(&mut before, &mut line);
            line.clear();
        }
        Ok(())
    }

    /// Checks that a file follows the previous one.
    /// The oldest file follows nothing, or the anchor.
    fn check_first_line(&mut self, path: &Path, after: Option<&str>) -> anyhow::Result<()> {
        let shown = path.display();
        match after {
            Some(after) if self.verified.lines == 0 => {
                if self.anchor.is_none() {
                    bail!(
                        "{shown} follows another file, which is missing. Put that file back. If it is kept elsewhere, pass \
                         the hash of its last line, or of any later line, with --anchor"
                    );
                }
                self.anchored |= self.is_anchor(after);
            }
            after if after.unwrap_or_default() != self.verified.last_hash => {
                bail!(
                    "{shown} does not follow the end of the previous file: either that end was removed, or a file \
                     between them"
                )
            }
            _ => {}
        }
        Ok(())
    }
}
