//! The sessions that got an access token lately, for the operator. In memory, bounded.
//!
//! A session without a valid access token can do nothing until it is refreshed, so this is every session that can act now. After
//! a start it is empty, and a session comes back with its next token, which is within an hour. Sessions of other hosts are not here.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::claims::ACCESS_LIFETIME_SECONDS;

/// The most tokens that are remembered. The oldest is forgotten first.
const TOKENS: usize = 10_000;

/// A session that has a valid access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ActiveSession {
    /// Its id, which is no credential.
    pub id: Box<str>,
    /// The username.
    pub user: Box<str>,
    /// The role of the user when the token was issued.
    pub role: Box<str>,
    /// When its newest token was issued, in seconds since 1970-01-01 UTC.
    pub issued: u64,
    /// When that token expires, in the same unit.
    pub expires: u64,
}

/// The latest tokens' sessions, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Issued(Mutex<VecDeque<ActiveSession>>);

impl Issued {
    pub(super) fn add(&self, user: &str, role: &str, session: &str, now: u64) {
        let expires = now.saturating_add(u64::from(ACCESS_LIFETIME_SECONDS));
        let added = ActiveSession { id: session.into(), user: user.into(), role: role.into(), issued: now, expires };
        let mut all = self.locked();
        while all.len() >= TOKENS || all.front().is_some_and(|oldest| oldest.expires <= now) {
            all.pop_front();
        }
        all.push_back(added);
    }

    /// The newest token of each session that is valid and passes the filter, newest first, at most `most`.
    pub(super) fn list(&self, now: u64, most: usize, is_wanted: impl Fn(&ActiveSession) -> bool) -> Vec<ActiveSession> {
        let all = self.locked();
        let mut seen: HashSet<&str> = HashSet::new();
        let newest = all.iter().rev().filter(|session| session.expires > now && seen.insert(&session.id));
        newest.filter(|session| is_wanted(session)).take(most).cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<ActiveSession>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_session_is_there_once_until_its_newest_token_expires() {
        let issued = Issued::default();
        issued.add("ada", "user", "one", 100);
        issued.add("bob", "admin", "two", 200);
        issued.add("ada", "user", "one", 300);
        let ids = |now: u64, user: &str| -> Vec<(String, u64)> {
            let found = issued.list(now, 10, |session| user.is_empty() || *session.user == *user);
            found.into_iter().map(|session| (session.id.into(), session.issued)).collect()
        };
        let one = |id: &str, at: u64| (id.to_owned(), at);
        assert_eq!(ids(301, ""), [one("one", 300), one("two", 200)]);
        assert_eq!(ids(301, "bob"), [one("two", 200)]);
        let hour = u64::from(ACCESS_LIFETIME_SECONDS);
        assert_eq!(ids(200 + hour, ""), [one("one", 300)]);
        assert_eq!(ids(300 + hour, ""), []);
    }

    #[test]
    fn the_oldest_tokens_are_forgotten() {
        let issued = Issued::default();
        (0..=TOKENS).for_each(|number| issued.add("ada", "user", &number.to_string(), 1));
        let all = issued.list(2, usize::MAX, |_| true);
        assert_eq!((all.len(), &*all[TOKENS - 1].id), (TOKENS, "1"));
    }
}
