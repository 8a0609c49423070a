//! The keys of an installation: the newest signs, and those before it verify until the last token that they signed has expired.
//!
//! Each is a file of its own in the data folder, mode 0600: `signing.key` is the first one, and `signing-1795449600.key` signs since
//! that Unix second. There is nothing else to know of them, so a rotation is one file that appears. A disabled key is a file that is
//! emptied: its second goes on saying when the one before ends, and it goes with that one. Whatever moment a crash takes, the
//! folder is as before or as after, and no good token is refused, but those of the moment between a new key's first signature and
//! its file, where another one was disabled.
//!
//! **A wrong clock.** A key that is over verifies nothing, but its file stays a day longer, as long as the end of a session is
//! remembered and for the same reason: while all that a clock was wrong by stays under a day, each key verifies again once the
//! clock is right.
//!
//! Asking takes no lock: the keys are replaced behind one pointer.

mod folder;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde::Serialize;

use super::key::SigningKey;
use super::{ACCESS_LIFETIME_SECONDS, TokensError};
use crate::clock::Clock;
use crate::key_file::{Key, KeyFileError};
use folder::Folder;

/// How long a key verifies after the next one's first second, in seconds: what its last token lasts, and a minute, because it goes on
/// signing until the next one is on the disk.
pub(super) const KEPT_SECONDS: u64 = ACCESS_LIFETIME_SECONDS as u64 + 60;

/// How long its file stays after that, in seconds.
pub(super) const ASIDE_SECONDS: u64 = 24 * 3600;

/// Keys that may verify at one moment. Each token is compared with all of them.
pub(super) const KEYS_LIMIT: usize = 16;

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
    /// The key is refused, but only until a restart: no other one would sign then. The cause is the system's.
    #[error(
        "the key is refused now, but not after a restart, because no other one can be kept: {0}. Make room, and disable it again"
    )]
    NotKept(String),
    /// The key is refused, but only until a restart.
    #[error(
        "the key is refused now, but not after a restart, because {} cannot be emptied: {cause}. Disable it again, or remove the file",
        path.display()
    )]
    NotRemoved {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
    /// The key is refused, and its file is empty or gone. It would be back if the machine lost its power now.
    #[error(
        "the key is refused, but a power cut may bring {} back, because the disk does not confirm that it is empty: {cause}. \
         Disable it again",
        path.display()
    )]
    NotSynced {
        /// Its file.
        path: PathBuf,
        /// What the system said.
        cause: String,
    },
}

/// Where the keys are. Everything here blocks on it.
trait Place: Debug + Send + Sync {
    /// When the keys began that are there, newest first; none for the first. With each, whether it was disabled.
    fn begins(&self) -> Result<Vec<(Option<u64>, bool)>, TokensError>;

    /// The key that began in that second, which must be there.
    fn read(&self, since: Option<u64>) -> Result<SigningKey, TokensError>;

    /// A new key that is to begin in that second. It is nowhere yet.
    fn random(&self, since: Option<u64>) -> Result<Key, KeyFileError>;

    /// Makes room for a key and puts it there, or leaves nothing. The error is the cause.
    fn keep(&self, since: Option<u64>, key: &Key) -> Result<(), String>;

    /// Takes a key out of its place, which stays there empty. One that is gone already is no error.
    fn empty(&self, since: Option<u64>) -> Result<(), KeyChangeError>;

    /// Removes what is of no use any more. What cannot be removed does no harm: the log says so.
    fn discard(&self, since: Option<u64>);

    /// What it means for a key that was disabled that no other one was kept.
    fn not_kept(&self, cause: String) -> KeyChangeError;
}

/// All keys that verify, and what is still known of others. Changed by one at a time.
#[derive(Debug)]
pub(super) struct Keys {
    place: Box<dyn Place>,
    /// Newest first, and never empty. The newest is never disabled.
    held: ArcSwap<Vec<Held>>,
    changing: Mutex<()>,
}

/// A key, and the Unix second in which it began to sign; none for the first.
#[derive(Clone, Debug)]
struct Held {
    since: Option<u64>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// In its place.
    Kept(Arc<SigningKey>),
    /// May sign, and is in no place yet.
    Unkept(Arc<SigningKey>, Arc<Key>),
    /// Disabled, but its place may still hold it: its name, by which it can be disabled again.
    Refused(Arc<str>),
    /// Disabled, and its place is empty.
    Mark,
}

impl Held {
    /// The key, if it is not disabled.
    fn key(&self) -> Option<&Arc<SigningKey>> {
        match &self.state {
            State::Kept(key) | State::Unkept(key, _) => Some(key),
            State::Refused(_) | State::Mark => None,
        }
    }

    fn id(&self) -> Option<&str> {
        match &self.state {
            State::Kept(key) | State::Unkept(key, _) => Some(key.id()),
            State::Refused(id) => Some(id),
            State::Mark => None,
        }
    }

    fn is_mark(&self) -> bool {
        matches!(self.state, State::Mark)
    }
}

impl Keys {
    /// Reads the keys in a folder, after making the first if there is none, and removes what is of no use any more.
    pub(super) fn open(folder: &Path, now: u64) -> Result<Keys, TokensError> {
        Keys::at(Box::new(Folder::open(folder)?), now)
    }

    fn at(place: Box<dyn Place>, now: u64) -> Result<Keys, TokensError> {
        let keys = Keys { place, held: ArcSwap::default(), changing: Mutex::default() };
        let held = keys.read(now)?;
        keys.held.store(Arc::new(keys.tidy(&held, now)));
        Ok(keys)
    }

    /// All that are in their place, newest first.
    fn read(&self, now: u64) -> Result<Vec<Held>, TokensError> {
        let mut held = Vec::new();
        for (since, is_empty) in self.place.begins()? {
            if is_past(&held, now) {
                self.place.discard(since);
                continue;
            }
            // The newest is never disabled: if it is empty, it is damaged.
            let is_mark = is_empty && !held.is_empty();
            let state = if is_mark { State::Mark } else { State::Kept(Arc::new(self.place.read(since)?)) };
            held.push(Held { since, state });
        }
        Ok(held)
    }

    /// The one that signs from now on, at least for this call.
    pub(super) fn signer(&self) -> Arc<SigningKey> {
        self.held.load()[0].key().expect("the newest is never disabled").clone()
    }

    /// The payload of a token, still encoded, and the key that signed it, if one of them did. The token's header names the key: it
    /// must be that key's, byte for byte.
    pub(super) fn signed_payload<'t>(&self, token: &'t str, now: u64) -> Option<(&'t str, Arc<str>)> {
        let held = self.held.load();
        let is_named = |held: &Held| held.key().is_some_and(|key| key.is_named_by(token));
        let position = held.iter().position(is_named)?;
        if is_over(&held[..position], now) {
            return None;
        }
        let key = held[position].key()?;
        Some((key.signed_payload(token)?, key.id().clone()))
    }

    /// Whether there is a key of this name that was not disabled.
    pub(super) fn holds(&self, id: &str) -> bool {
        self.held.load().iter().filter_map(Held::key).any(|key| **key.id() == *id)
    }

    /// Those that verify, newest first.
    pub(super) fn list(&self, now: u64) -> Vec<KeyState> {
        let held = self.held.load();
        let good = (0..held.len()).take_while(|position| !is_over(&held[..*position], now));
        let state = |position: usize| {
            let Held { since, .. } = held[position];
            held[position].key().map(|key| KeyState {
                id: key.id().to_string(),
                since,
                until: until(&held[..position]),
            })
        };
        good.filter_map(state).collect()
    }

    /// Has a new key sign. It is on the disk before it does. Blocks on the disk.
    pub(super) fn rotate(&self, clock: &Clock) -> Result<(), KeyChangeError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.unix_seconds();
        let mut held = self.tidy(&self.held.load(), now);
        self.held.store(Arc::new(held.clone()));
        if self.list(now).len() >= KEYS_LIMIT {
            return Err(KeyChangeError::TooMany);
        }
        let mut next = self.next(&held, now)?;
        self.keep(&mut next).map_err(KeyChangeError::NotMade)?;
        held.insert(0, next);
        self.held.store(Arc::new(held));
        Ok(())
    }

    /// Refuses all that a key signed, and has a new one sign if it was the one that does: in memory before anything is written, so
    /// that it is refused whatever the disk takes. Blocks on the disk.
    pub(super) fn disable(&self, id: &str, clock: &Clock) -> Result<(), KeyChangeError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.unix_seconds();
        let mut held = self.held.load().to_vec();
        let place = held.iter().position(|held| held.id() == Some(id));
        let mut place = place.ok_or_else(|| KeyChangeError::Unknown(id.to_owned()))?;
        held[place].state = State::Refused(id.into());
        if place == 0 {
            held.insert(0, self.next(&held, now)?);
            place = 1;
        }
        self.held.store(Arc::new(held.clone()));
        let disabled = self.write_disabled(&mut held, place);
        self.held.store(Arc::new(self.tidy(&held, now)));
        disabled
    }

    /// Empties a key's place, after the newest is in its own: the newest that is there signs after a restart.
    fn write_disabled(&self, held: &mut [Held], place: usize) -> Result<(), KeyChangeError> {
        self.keep(&mut held[0]).map_err(|cause| self.place.not_kept(cause))?;
        self.place.empty(held[place].since)?;
        held[place].state = State::Mark;
        Ok(())
    }

    /// A new key to sign after others, which is nowhere yet. If the newest began in the future, by a wrong clock, it begins after it.
    fn next(&self, held: &[Held], now: u64) -> Result<Held, KeyChangeError> {
        let since = Some(held[0].since.map_or(now, |newest| now.max(newest.saturating_add(1))));
        let key = self.place.random(since).map_err(|error| KeyChangeError::NotMade(error.to_string()))?;
        Ok(Held { since, state: State::Unkept(Arc::new(SigningKey::new(&key)), Arc::new(key)) })
    }

    /// Puts a key into its place, if it is not there.
    fn keep(&self, held: &mut Held) -> Result<(), String> {
        if let State::Unkept(signing, key) = &held.state {
            self.place.keep(held.since, key)?;
            held.state = State::Kept(signing.clone());
        }
        Ok(())
    }

    /// Those that are of use, once the places of the others are gone. A disabled key is of use while it says when one ends.
    fn tidy(&self, held: &[Held], now: u64) -> Vec<Held> {
        let present = (0..held.len()).take_while(|position| !is_past(&held[..*position], now)).count();
        let older_is_key = |position: usize| held[..present].get(position + 1).is_some_and(|older| !older.is_mark());
        let is_of_use = |position: usize| position < present && (!held[position].is_mark() || older_is_key(position));
        let (of_use, gone): (Vec<usize>, Vec<usize>) = (0..held.len()).partition(|position| is_of_use(*position));
        gone.into_iter().for_each(|position| self.place.discard(held[position].since));
        of_use.into_iter().map(|position| held[position].clone()).collect()
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

/// Whether it has for so long that its file may go.
fn is_past(newer: &[Held], now: u64) -> bool {
    until(newer).is_some_and(|until| until.saturating_add(ASIDE_SECONDS) <= now)
}
