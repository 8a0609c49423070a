//! The keys of an installation: the newest signs, and those before it verify until the last token that they signed has expired.
//!
//! Each is a file of its own in the data folder, mode 0600: `signing.key` is the first one, and `signing-1795449600.key` signs since
//! that Unix second. There is nothing else to know of them, so a rotation is one file that appears and a disabled key is one that
//! goes. Whatever moment a crash takes, the folder is as before or as after, and no good token is refused.
//!
//! Asking takes no lock: the keys are replaced behind one pointer.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde::Serialize;

use super::key::SigningKey;
use super::{ACCESS_LIFETIME_SECONDS, TokensError};
use crate::clock::Clock;

/// How long a key verifies after the next one's first second, in seconds: what its last token lasts, and a minute, because it goes on
/// signing until the next one is on the disk.
pub(super) const KEPT_SECONDS: u64 = ACCESS_LIFETIME_SECONDS as u64 + 60;

/// Keys that may verify at one moment. Each token is compared with all of them.
pub(super) const KEYS_LIMIT: usize = 16;

/// The file of the first key.
const FIRST: &str = "signing.key";

/// The files of the others, around the second in which they began.
const OTHERS: (&str, &str) = ("signing-", ".key");

/// What a crash leaves of a key that was being made, beside its file.
const UNFINISHED: &str = ".new";

/// A key as its operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyState {
    /// Its name, the `kid` of its tokens: 16 hex digits.
    pub id: String,
    /// The Unix second since which it signs, or signed; none for the first.
    pub since: Option<u64>,
    /// The Unix second in which it stops verifying; none for the one that signs.
    pub until: Option<u64>,
}

/// Why the keys are not as they were wanted.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyChangeError {
    /// Nothing changed: no key of this name verifies anything.
    #[error("there is no key `{0}`: `comptoir keys` lists those that there are")]
    Unknown(String),
    /// Nothing changed.
    #[error("there are {KEYS_LIMIT} keys already: disable one, or wait until one has no good token any more")]
    TooMany,
    /// Nothing changed. The cause is the system's.
    #[error("no key was made, so nothing changed: {0}")]
    NotMade(String),
    /// The key is refused, but only until a restart.
    #[error("the key is refused now, but not after a restart, because {} cannot be removed: {cause}. Remove it", path.display())]
    NotRemoved {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
}

/// All keys that verify. Changed by one at a time.
#[derive(Debug)]
pub(super) struct Keys {
    folder: PathBuf,
    /// Newest first, and never empty.
    held: ArcSwap<Vec<Held>>,
    changing: Mutex<()>,
}

/// A key and the Unix second in which it began to sign; none for the first.
#[derive(Clone, Debug)]
struct Held {
    since: Option<u64>,
    key: Arc<SigningKey>,
}

impl Keys {
    /// Reads the keys in a folder, after making the first if there is none, and removes those that verify nothing any more.
    pub(super) fn open(folder: &Path, now: u64) -> Result<Keys, TokensError> {
        let mut begins = begins(folder).map_err(|source| TokensError::Io { path: folder.to_owned(), source })?;
        if begins.is_empty() {
            begins.push(None);
        }
        let mut held = Vec::new();
        for since in begins {
            let path = path(folder, since);
            if is_over(&held, now) {
                discard(&path);
            } else {
                held.push(Held { since, key: Arc::new(SigningKey::open(&path)?) });
            }
        }
        Ok(Keys { folder: folder.to_owned(), held: ArcSwap::from_pointee(held), changing: Mutex::default() })
    }

    /// The one that signs from now on, at least for this call.
    pub(super) fn signer(&self) -> Arc<SigningKey> {
        self.held.load()[0].key.clone()
    }

    /// The payload of a token, still encoded, if one of the keys signed it. The token's header names the key: it must be that key's,
    /// byte for byte.
    pub(super) fn signed_payload<'t>(&self, token: &'t str, now: u64) -> Option<&'t str> {
        let held = self.held.load();
        let position = held.iter().position(|held| held.key.is_named_by(token))?;
        if is_over(&held[..position], now) {
            return None;
        }
        held[position].key.signed_payload(token)
    }

    /// Those that verify, newest first.
    pub(super) fn list(&self, now: u64) -> Vec<KeyState> {
        let held = good(&self.held.load(), now);
        let state = |(position, one): (usize, &Held)| KeyState {
            id: one.key.id().to_owned(),
            since: one.since,
            until: until(&held[..position]),
        };
        held.iter().enumerate().map(state).collect()
    }

    /// Has a new key sign. It is on the disk before it does. Blocks on the disk.
    pub(super) fn rotate(&self, clock: &Clock) -> Result<(), KeyChangeError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = self.sweep(clock.unix_seconds());
        if held.len() >= KEYS_LIMIT {
            return Err(KeyChangeError::TooMany);
        }
        self.begin_next(&mut held, clock.unix_seconds())?;
        self.held.store(Arc::new(held));
        Ok(())
    }

    /// Refuses all that a key signed, and has a new one sign if it was the one that does. Blocks on the disk.
    pub(super) fn disable(&self, id: &str, clock: &Clock) -> Result<(), KeyChangeError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = self.sweep(clock.unix_seconds());
        let is_it = |held: &Held| held.key.id() == id;
        if !held.iter().any(is_it) {
            return Err(KeyChangeError::Unknown(id.to_owned()));
        }
        if is_it(&held[0]) {
            self.begin_next(&mut held, clock.unix_seconds())?;
        }
        let (disabled, kept): (Vec<Held>, Vec<Held>) = held.into_iter().partition(is_it);
        self.held.store(Arc::new(kept));
        disabled.iter().try_for_each(|disabled| {
            let path = path(&self.folder, disabled.since);
            let removed = fs::remove_file(&path).and_then(|()| File::open(&self.folder)?.sync_all());
            removed.map_err(|error| KeyChangeError::NotRemoved { path, cause: error.to_string() })
        })
    }

    /// Puts a new key on the disk and before the others. One that began in the future, by a wrong clock, is still the older one.
    fn begin_next(&self, held: &mut Vec<Held>, now: u64) -> Result<(), KeyChangeError> {
        let since = held[0].since.map_or(now, |newest| now.max(newest.saturating_add(1)));
        let path = path(&self.folder, Some(since));
        let key = SigningKey::open(&path).map_err(|error| {
            // A key that stayed there would sign after a restart, and the one that signs until then would end too early.
            let left = [path.with_extension(format!("key{UNFINISHED}")), path];
            left.iter().filter(|left| left.is_file()).for_each(|left| discard(left));
            KeyChangeError::NotMade(error.to_string())
        })?;
        held.insert(0, Held { since: Some(since), key: Arc::new(key) });
        Ok(())
    }

    /// The keys that verify, once the files of the others are gone.
    fn sweep(&self, now: u64) -> Vec<Held> {
        let held = self.held.load();
        let good = good(&held, now);
        for over in &held[good.len()..] {
            discard(&path(&self.folder, over.since));
        }
        good
    }
}

/// When a key stops verifying that has these newer ones, newest first; none while it is the newest.
fn until(newer: &[Held]) -> Option<u64> {
    newer.last()?.since.map(|next_began| next_began.saturating_add(KEPT_SECONDS))
}

/// Whether a key that has these newer ones has stopped verifying. Then all that are older have, too.
fn is_over(newer: &[Held], now: u64) -> bool {
    until(newer).is_some_and(|until| until <= now)
}

fn good(held: &[Held], now: u64) -> Vec<Held> {
    let is_good = |position: &usize| !is_over(&held[..*position], now);
    (0..held.len()).take_while(is_good).map(|position| held[position].clone()).collect()
}

fn path(folder: &Path, since: Option<u64>) -> PathBuf {
    let (start, end) = OTHERS;
    folder.join(since.map_or_else(|| FIRST.to_owned(), |since| format!("{start}{since}{end}")))
}

/// When the keys in a folder began, newest first; none for the first. Removes what is left of keys that were never in use.
fn begins(folder: &Path) -> io::Result<Vec<Option<u64>>> {
    let (start, end) = OTHERS;
    let mut begins = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let middle = name.strip_prefix(start);
        let second = |end: &str| middle.and_then(|middle| middle.strip_suffix(end)?.parse::<u64>().ok());
        if name == FIRST {
            begins.push(None);
        } else if let Some(since) = second(end) {
            begins.push(Some(since));
        } else if second(&format!("{end}{UNFINISHED}")).is_some() {
            discard(&entry.path());
        }
    }
    begins.sort_unstable_by(|one, other| other.cmp(one));
    Ok(begins)
}

/// Removes what is of no use any more. What cannot be removed does no harm: it verifies nothing, and the next start tries again.
fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a key that verifies nothing cannot be removed: remove it");
    }
}
