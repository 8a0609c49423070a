//! The signing keys of an installation.
//!
//! The newest key signs. Each older key verifies until its last token has expired.
//!
//! # Files
//!
//! Each key is a file of mode 0600 in the data folder. `signing.key` is the first key. `signing-1795449600.key` signs since
//! that Unix second. There is no other state, so a rotation only creates a file. Disabling a key empties its file. The empty
//! file remains as a tombstone: its second still tells when the previous key ends, and it is removed with that key.
//!
//! A crash leaves the folder as it was before or after the change, and no good token is refused. There is one exception. If
//! the signing key is disabled, its replacement signs before its file exists, and a crash loses those tokens.
//!
//! # Several hosts
//!
//! Hosts that share keys save them as rows of one database, with the same seconds, and read them in rounds
//! ([`Keys::reload`]). A new key signs a few seconds after its creation. By then every host has loaded it, unless the
//! clocks differ by more than those seconds minus one round. If the signing key is disabled, the next key signs early, or a
//! new key does. Other hosts refuse its tokens for at most one round. A host that cannot read the database continues with
//! the keys that it knows. A disabled key is refused, but the database may keep its bytes in files and backups for longer.
//!
//! # A wrong clock
//!
//! An expired key verifies nothing, but its file or row stays for another day, as long as the end of a session is
//! remembered. If the clock is wrong by less than a day, each key verifies again after the clock is corrected. If hosts
//! share the keys and one host's clock is ahead, its new key and all later keys wait for their seconds.
//!
//! Signing and verifying take no lock, because the list of keys is behind one atomic pointer.

mod folder;
mod store;
mod table;

use std::cmp::Reverse;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde::Serialize;
use storage::Storage;

use super::claims::ACCESS_LIFETIME_SECONDS;
use super::error::{KeyChangeError, TokensError};
use super::key::SigningKey;
use crate::clock::Clock;
use crate::key_file::Key;
use folder::KeyFolder;
use store::KeyStore;
use table::KeyTable;

/// How long a key verifies after its successor begins to sign, in seconds.
///
/// As long as its last token is valid, and a minute. The minute is for a key that signs until its successor is on the disk.
pub(super) const OVERLAP_SECONDS: u64 = ACCESS_LIFETIME_SECONDS as u64 + 60;

/// How long after its creation a shared key begins to sign, in seconds.
/// By then every host has loaded it.
pub(super) const LEAD_SECONDS: u64 = 5;

/// How long the file or row of an expired key stays, in seconds.
pub(super) const RETENTION_SECONDS: u64 = 24 * 3600;

/// How many keys may verify at the same time.
/// The host compares each token with all of them.
pub(super) const KEYS_LIMIT: usize = 16;

/// A key in the operator's list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyState {
    /// The key's name: 16 hexadecimal digits. Tokens carry it as `kid`.
    pub id: String,
    /// The Unix second in which the key begins to sign. `None` for the first key.
    /// If hosts share keys, it may be in the future.
    pub since: Option<u64>,
    /// The Unix second in which the key stops verifying. `None` for the newest key.
    pub until: Option<u64>,
}

/// All keys that verify, and the tombstones of disabled keys.
/// Only one thread changes them at a time.
#[derive(Debug)]
pub(super) struct Keys {
    store: Box<dyn KeyStore>,
    /// Newest first, and never empty. The newest key is never disabled.
    keys: ArcSwap<Vec<DatedKey>>,
    changing: Mutex<()>,
}

/// A key, and the Unix second in which it begins to sign.
/// The first key has no second.
#[derive(Clone, Debug)]
struct DatedKey {
    since: Option<u64>,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// The store has the key.
    Saved(Arc<SigningKey>),
    /// The key may sign already, but is not stored yet.
    Unsaved(Arc<SigningKey>, Arc<Key>),
    /// The key of this name was disabled, but the store may still have it.
    /// It can be disabled again.
    Disabled(Arc<str>),
    /// The key was disabled and the store has erased it.
    Tombstone,
}

impl DatedKey {
    /// The key, unless it was disabled.
    fn key(&self) -> Option<&Arc<SigningKey>> {
        match &self.state {
            State::Saved(key) | State::Unsaved(key, _) => Some(key),
            State::Disabled(_) | State::Tombstone => None,
        }
    }

    fn id(&self) -> Option<&str> {
        match &self.state {
            State::Saved(key) | State::Unsaved(key, _) => Some(key.id()),
            State::Disabled(id) => Some(id),
            State::Tombstone => None,
        }
    }

    fn is_tombstone(&self) -> bool {
        matches!(self.state, State::Tombstone)
    }

    fn is_unsaved(&self) -> bool {
        matches!(self.state, State::Unsaved(..))
    }
}

impl Keys {
    /// Reads the keys of a folder.
    /// Creates the first key if it is missing, and removes keys that have expired for long enough.
    pub(super) fn open(folder: &Path, now: u64) -> Result<Keys, TokensError> {
        Keys::in_store(Box::new(KeyFolder::open(folder)?), now)
    }

    /// As [`Keys::open`], for the keys that hosts share.
    /// Blocks on the database: call it on a blocking thread of a Tokio runtime.
    pub(super) fn open_shared(storage: Arc<dyn Storage>, now: u64) -> Result<Keys, TokensError> {
        Keys::in_store(Box::new(KeyTable::open(storage)?), now)
    }

    fn in_store(store: Box<dyn KeyStore>, now: u64) -> Result<Keys, TokensError> {
        let all = Keys { store, keys: ArcSwap::default(), changing: Mutex::default() };
        let keys = all.read(&[], now)?;
        all.keys.store(Arc::new(all.tidy(&keys, now)));
        Ok(all)
    }

    /// All keys of the store, newest first, merged with the keys in memory.
    ///
    /// Memory has keys that could not be saved yet, and remembers which saved keys are disabled.
    fn read(&self, known: &[DatedKey], now: u64) -> Result<Vec<DatedKey>, TokensError> {
        let mut keys: Vec<DatedKey> = Vec::new();
        for (since, is_erased) in self.store.list()? {
            if is_removable(&keys, now) {
                self.store.remove(since);
                continue;
            }
            let known = known.iter().find(|known| known.since == since).map(|known| &known.state);
            let state = match known {
                // The newest key is never disabled. If it is empty, it is damaged.
                _ if is_erased && !keys.is_empty() => State::Tombstone,
                Some(known @ (State::Saved(_) | State::Disabled(_))) if !is_erased => known.clone(),
                _ => State::Saved(Arc::new(self.store.load(since)?)),
            };
            keys.push(DatedKey { since, state });
        }
        let is_new = |known: &&DatedKey| known.is_unsaved() && keys.iter().all(|key| key.since != known.since);
        let unsaved: Vec<DatedKey> = known.iter().filter(is_new).cloned().collect();
        keys.extend(unsaved);
        keys.sort_by_key(|key| Reverse(key.since));
        Ok(keys)
    }

    /// Whether other hosts change the same keys.
    pub(super) fn are_shared(&self) -> bool {
        self.store.is_shared()
    }

    /// Reloads keys that other hosts changed.
    /// Blocks on the database, but a change on this host does not wait for that.
    pub(super) fn reload(&self, now: u64) -> Result<(), TokensError> {
        let before = self.keys.load_full();
        let keys = self.read(&before, now)?;
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // If this host changed a key during the read, the result may be too old. The next round reads again.
        if Arc::ptr_eq(&before, &self.keys.load()) {
            self.keys.store(Arc::new(self.tidy(&keys, now)));
        }
        Ok(())
    }

    /// The key that signs now.
    ///
    /// The newest key signs. If hosts share the keys, the newest key whose second has come signs, or if that one was
    /// disabled, the next newer key.
    pub(super) fn signer(&self, now: u64) -> Arc<SigningKey> {
        let keys = self.keys.load();
        let has_come = |key: &DatedKey| !self.are_shared() || key.since.is_none_or(|since| since <= now);
        let newest = keys.iter().position(has_come).unwrap_or(keys.len() - 1);
        let key = keys[..=newest].iter().rev().find_map(DatedKey::key);
        key.expect("the newest key is never disabled").clone()
    }

    /// The encoded payload of a token, and the name of the key that signed it.
    /// Returns `None` if no valid key did.
    ///
    /// The token's header must be that of one key, byte for byte.
    pub(super) fn signed_payload<'t>(&self, token: &'t str, now: u64) -> Option<(&'t str, Arc<str>)> {
        let keys = self.keys.load();
        let is_named = |dated: &DatedKey| dated.key().is_some_and(|key| key.is_named_by(token));
        let position = keys.iter().position(is_named)?;
        if is_expired(&keys[..position], now) {
            return None;
        }
        let key = keys[position].key()?;
        Some((key.signed_payload(token)?, key.id().clone()))
    }

    /// Whether a key has this name and was not disabled.
    pub(super) fn contains(&self, id: &str) -> bool {
        self.keys.load().iter().filter_map(DatedKey::key).any(|key| **key.id() == *id)
    }

    /// The keys that verify, newest first.
    pub(super) fn list(&self, now: u64) -> Vec<KeyState> {
        let keys = self.keys.load();
        let valid = (0..keys.len()).take_while(|position| !is_expired(&keys[..*position], now));
        let state = |position: usize| {
            let DatedKey { since, .. } = keys[position];
            keys[position].key().map(|key| KeyState {
                id: key.id().to_string(),
                since,
                until: until(&keys[..position]),
            })
        };
        valid.filter_map(state).collect()
    }

    /// Creates and saves a key that signs from now on. Blocks on the store.
    ///
    /// If hosts share the keys, the new key signs in a few seconds.
    pub(super) fn rotate(&self, clock: &Clock) -> Result<(), KeyChangeError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.unix_seconds();
        let mut keys = self.keys.load().to_vec();
        if self.are_shared() {
            keys = self.read(&keys, now).map_err(|error| KeyChangeError::NotMade(error.to_string()))?;
        }
        keys = self.tidy(&keys, now);
        self.keys.store(Arc::new(keys.clone()));
        if self.list(now).len() >= KEYS_LIMIT {
            return Err(KeyChangeError::TooMany { limit: KEYS_LIMIT });
        }
        let lead = if self.are_shared() { LEAD_SECONDS } else { 0 };
        let mut next = self.next(&keys, now.saturating_add(lead))?;
        self.save(&mut next).map_err(KeyChangeError::NotMade)?;
        keys.insert(0, next);
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    /// Refuses a key. If that key was the newest, creates another. Blocks on the store.
    ///
    /// Changes the memory first, so the key is refused even if the store fails.
    pub(super) fn disable(&self, id: &str, clock: &Clock) -> Result<(), KeyChangeError> {
        let _alone = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.unix_seconds();
        let mut keys = self.keys.load().to_vec();
        let position = keys.iter().position(|key| key.id() == Some(id));
        let mut position = position.ok_or_else(|| KeyChangeError::Unknown(id.to_owned()))?;
        keys[position].state = State::Disabled(id.into());
        if position == 0 {
            keys.insert(0, self.next(&keys, now)?);
            position = 1;
        }
        self.keys.store(Arc::new(keys.clone()));
        let disabled = self.save_disabled(&mut keys, position);
        self.keys.store(Arc::new(self.tidy(&keys, now)));
        disabled
    }

    /// Erases a disabled key.
    /// Saves all other keys first, because after a restart the newest saved key signs.
    fn save_disabled(&self, keys: &mut [DatedKey], position: usize) -> Result<(), KeyChangeError> {
        keys.iter_mut().try_for_each(|key| self.save(key)).map_err(|cause| self.store.not_saved(cause))?;
        self.store.erase(keys[position].since)?;
        keys[position].state = State::Tombstone;
        Ok(())
    }

    /// A new, unsaved key.
    /// It begins in this second, or if the newest key begins later, one second after that.
    fn next(&self, keys: &[DatedKey], begin: u64) -> Result<DatedKey, KeyChangeError> {
        let since = Some(keys[0].since.map_or(begin, |newest| begin.max(newest.saturating_add(1))));
        let key = self.store.generate(since).map_err(|error| KeyChangeError::NotMade(error.to_string()))?;
        Ok(DatedKey { since, state: State::Unsaved(Arc::new(SigningKey::new(&key)), Arc::new(key)) })
    }

    /// Saves a key, unless the store already has it.
    fn save(&self, dated: &mut DatedKey) -> Result<(), String> {
        if let State::Unsaved(signing, key) = &dated.state {
            self.store.save(dated.since, key)?;
            dated.state = State::Saved(signing.clone());
        }
        Ok(())
    }

    /// Removes expired keys and unneeded tombstones. Returns the others.
    ///
    /// A tombstone is needed as long as it tells when an older key expires.
    fn tidy(&self, keys: &[DatedKey], now: u64) -> Vec<DatedKey> {
        let present = (0..keys.len()).take_while(|position| !is_removable(&keys[..*position], now)).count();
        let older_is_key =
            |position: usize| keys[..present].get(position + 1).is_some_and(|older| !older.is_tombstone());
        let is_needed =
            |position: usize| position < present && (!keys[position].is_tombstone() || older_is_key(position));
        let (needed, unneeded): (Vec<usize>, Vec<usize>) = (0..keys.len()).partition(|position| is_needed(*position));
        unneeded.into_iter().for_each(|position| self.store.remove(keys[position].since));
        needed.into_iter().map(|position| keys[position].clone()).collect()
    }
}

/// When a key stops verifying. Takes the newer keys, newest first.
/// The newest key itself has no end.
fn until(newer: &[DatedKey]) -> Option<u64> {
    newer.last()?.since.map(|successor_since| successor_since.saturating_add(OVERLAP_SECONDS))
}

/// Whether a key with these newer keys has stopped verifying.
/// If so, all older keys have too.
fn is_expired(newer: &[DatedKey], now: u64) -> bool {
    until(newer).is_some_and(|until| until <= now)
}

/// Whether the store can remove a key with these newer keys.
/// It can a day after the key has expired.
fn is_removable(newer: &[DatedKey], now: u64) -> bool {
    until(newer).is_some_and(|until| until.saturating_add(RETENTION_SECONDS) <= now)
}
