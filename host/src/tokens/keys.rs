//! The keys of an installation: the newest signs, and those before it verify until the last token that they signed has expired.
//!
//! Each is a file of its own in the data folder, mode 0600: `signing.key` is the first one, and `signing-1795449600.key` signs since
//! that Unix second. There is nothing else to know of them, so a rotation is one file that appears. A disabled key is a file that is
//! emptied: its second goes on saying when the one before ends, and it goes with that one. Whatever moment a crash takes, the
//! folder is as before or as after, and no good token is refused, but those of the moment between a new key's first signature and
//! its file, where another one was disabled.
//!
//! **Several hosts** keep them as rows of one database instead, with the same seconds, and each reads them in rounds
//! ([`Keys::follow`]). There a new key begins a few seconds after it was made, and every host signs with the newest one whose second
//! has come: nobody signs with a key that another host has not heard of, while their clocks differ by less than those seconds
//! without a round. Where the one that signs is disabled, the next one signs before its second, or a new one; other hosts refuse its
//! tokens for a round at most. A host that cannot read goes on with what it knows. What was disabled is refused, but a database may
//! keep it in its files and backups for longer.
//!
//! **A wrong clock.** A key that is over verifies nothing, but its file or row stays a day longer, as long as the end of a session is
//! remembered and for the same reason: while all that a clock was wrong by stays under a day, each key verifies again once the
//! clock is right. Among several hosts a key that was made by a clock that was ahead, and those made after it, wait for their second.
//!
//! Asking takes no lock: the keys are replaced behind one pointer.

mod folder;
mod table;

use std::cmp::Reverse;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde::Serialize;
use storage::Storage;

use super::key::SigningKey;
use super::{ACCESS_LIFETIME_SECONDS, TokensError};
use crate::clock::Clock;
use crate::key_file::{Key, KeyFileError};
use folder::Folder;
use table::Table;

/// How long a key verifies after the next one's first second, in seconds: what its last token lasts, and a minute, because it goes on
/// signing until the next one is on the disk.
pub(super) const KEPT_SECONDS: u64 = ACCESS_LIFETIME_SECONDS as u64 + 60;

/// How long after it was made a new key begins to sign where hosts share it, in seconds: until then all have heard of it.
pub(super) const LEAD_SECONDS: u64 = 5;

/// How long its file or row stays after that, in seconds.
pub(super) const ASIDE_SECONDS: u64 = 24 * 3600;

/// Keys that may verify at one moment. Each token is compared with all of them.
pub(super) const KEYS_LIMIT: usize = 16;

/// A key as its operator sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyState {
    /// Its name, the `kid` of its tokens: 16 hex digits.
    pub id: String,
    /// The Unix second since which it signs, or signed; none for the first. Among several hosts it may be still to come.
    pub since: Option<u64>,
    /// The Unix second in which it stops verifying; none for the newest.
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
    /// The key is refused, but only until a restart and by this one of the hosts that share it. The cause is the database's.
    #[error(
        "the key is refused now, but by this host alone and not after a restart, because the database that the hosts share did \
         not take it: {0}. Disable it again"
    )]
    NotShared(String),
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

    /// Whether other hosts change what is there.
    fn is_shared(&self) -> bool;
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

    fn is_unkept(&self) -> bool {
        matches!(self.state, State::Unkept(..))
    }
}

impl Keys {
    /// Reads the keys in a folder, after making the first if there is none, and removes what is of no use any more.
    pub(super) fn open(folder: &Path, now: u64) -> Result<Keys, TokensError> {
        Keys::at(Box::new(Folder::open(folder)?), now)
    }

    /// Reads the keys that hosts share, as [`Keys::open`] does. Blocks on the database, on a thread of a Tokio runtime.
    pub(super) fn open_shared(storage: Arc<dyn Storage>, now: u64) -> Result<Keys, TokensError> {
        Keys::at(Box::new(Table::open(storage)?), now)
    }

    fn at(place: Box<dyn Place>, now: u64) -> Result<Keys, TokensError> {
        let keys = Keys { place, held: ArcSwap::default(), changing: Mutex::default() };
        let held = keys.read(&[], now)?;
        keys.held.store(Arc::new(keys.tidy(&held, now)));
        Ok(keys)
    }

    /// All that are in their place, newest first, with what is known here and not there: keys that could not be kept yet, and that
    /// one is refused.
    fn read(&self, known: &[Held], now: u64) -> Result<Vec<Held>, TokensError> {
        let mut held: Vec<Held> = Vec::new();
        for (since, is_empty) in self.place.begins()? {
            if is_past(&held, now) {
                self.place.discard(since);
                continue;
            }
            let known = known.iter().find(|known| known.since == since).map(|known| &known.state);
            let state = match known {
                // The newest is never disabled: if it is empty, it is damaged.
                _ if is_empty && !held.is_empty() => State::Mark,
                Some(known @ (State::Kept(_) | State::Refused(_))) if !is_empty => known.clone(),
                _ => State::Kept(Arc::new(self.place.read(since)?)),
            };
            held.push(Held { since, state });
        }
        let is_new = |known: &&Held| known.is_unkept() && held.iter().all(|held| held.since != known.since);
        let unkept: Vec<Held> = known.iter().filter(is_new).cloned().collect();
        held.extend(unkept);
        held.sort_by_key(|held| Reverse(held.since));
        Ok(held)
    }

    /// Whether other hosts change the keys.
    pub(super) fn are_shared(&self) -> bool {
        self.place.is_shared()
    }

    /// Takes up what other hosts changed. Blocks on the database, but no change waits for that.
    pub(super) fn follow(&self, now: u64) -> Result<(), TokensError> {
        let before = self.held.load_full();
        let held = self.read(&before, now)?;
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // What was read may be older than a change that was made here meanwhile: then the next round reads again.
        if Arc::ptr_eq(&before, &self.held.load()) {
            self.held.store(Arc::new(self.tidy(&held, now)));
        }
        Ok(())
    }

    /// The one that signs from now on, at least for this call. Where hosts share the keys it is the newest whose second has come, or
    /// the next after it where that was disabled.
    pub(super) fn signer(&self, now: u64) -> Arc<SigningKey> {
        let held = self.held.load();
        let has_come = |held: &Held| !self.are_shared() || held.since.is_none_or(|since| since <= now);
        let newest = held.iter().position(has_come).unwrap_or(held.len() - 1);
        let key = held[..=newest].iter().rev().find_map(Held::key);
        key.expect("the newest is never disabled").clone()
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

    /// Has a new key sign, where hosts share it in a few seconds. It is in its place before it does. Blocks on that.
    pub(super) fn rotate(&self, clock: &Clock) -> Result<(), KeyChangeError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.unix_seconds();
        let mut held = self.held.load().to_vec();
        if self.are_shared() {
            held = self.read(&held, now).map_err(|error| KeyChangeError::NotMade(error.to_string()))?;
        }
        held = self.tidy(&held, now);
        self.held.store(Arc::new(held.clone()));
        if self.list(now).len() >= KEYS_LIMIT {
            return Err(KeyChangeError::TooMany);
        }
        let lead = if self.are_shared() { LEAD_SECONDS } else { 0 };
        let mut next = self.next(&held, now.saturating_add(lead))?;
        self.keep(&mut next).map_err(KeyChangeError::NotMade)?;
        held.insert(0, next);
        self.held.store(Arc::new(held));
        Ok(())
    }

    /// Refuses all that a key signed, and has a new one sign if it was the one that does: in memory before anything is written, so
    /// that it is refused whatever its place takes. Blocks on that.
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

    /// Empties a key's place, after all others are in their own: the newest that is there signs after a restart.
    fn write_disabled(&self, held: &mut [Held], place: usize) -> Result<(), KeyChangeError> {
        held.iter_mut().try_for_each(|held| self.keep(held)).map_err(|cause| self.place.not_kept(cause))?;
        self.place.empty(held[place].since)?;
        held[place].state = State::Mark;
        Ok(())
    }

    /// A new key to sign after others, which is nowhere yet. If the newest begins later, it begins after it.
    fn next(&self, held: &[Held], begin: u64) -> Result<Held, KeyChangeError> {
        let since = Some(held[0].since.map_or(begin, |newest| begin.max(newest.saturating_add(1))));
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
