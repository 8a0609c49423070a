//! The login throttle: limits login attempts per account and per network.
//!
//! One transaction counts each attempt before the password check. So parallel requests get no more guesses than sequential
//! ones. There are two counters:
//!
//! - **Account**, for known and unknown names. After ten attempts it is locked for a minute, after ten more for two minutes,
//!   doubling up to 15 minutes. While it is locked, attempts do not count, so an attacker cannot lock an owner out for ever.
//!   Open sessions stay open. A success resets the counter, and so does an hour without attempts.
//! - **Address**: an IPv4 address, or the /64 network of an IPv6 address. It has 100 failures in 15 minutes, for any names.
//!   A success only takes its own attempt back. Loopback is not counted, because behind a local proxy it stands for everybody.
//!
//! After the clock was set back, a stored wait could be too long. A wait of more than 15 minutes is then dropped. The count
//! stays.
//!
//! Responses state both quotas, and the wait once a quota is used up. They never state how many attempts an account has left.
//! The owner's success resets that number, so it would reveal that the account exists.

use serde::Deserialize;
use std::net::IpAddr;

use kit::Quota;

/// Quota of an account until its first wait. Each further wait is longer.
pub(crate) const LOGIN: Quota = Quota { name: "login", requests: 10, window_seconds: 60 };
/// Quota of an address.
pub(crate) const NETWORK: Quota = Quota { name: "network", requests: 100, window_seconds: 15 * 60 };

const MINUTE_MS: i64 = 60_000;
const ACCOUNT_BURST: i64 = LOGIN.requests as i64;
const ACCOUNT_FIRST_DELAY_MS: i64 = LOGIN.window_seconds as i64 * 1000;
const ACCOUNT_LONGEST_DELAY_MS: i64 = 15 * MINUTE_MS;
const ACCOUNT_MEMORY_MS: i64 = 60 * MINUTE_MS;
const ADDRESS_LIMIT: i64 = NETWORK.requests as i64;
const ADDRESS_WINDOW_MS: i64 = NETWORK.window_seconds as i64 * 1000;

/// An account or a network whose attempts are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// The key of a username, or a text that a client sent as a username.
    Account(String),
    /// An IPv4 address, or the /64 network of an IPv6 address.
    Address(String),
}

/// The attempts of one subject so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Attempts {
    pub(crate) count: i64,
    /// End of the current lock. 0 if there is none.
    pub(crate) refused_until: i64,
    /// When the counter starts again from 0.
    pub(crate) forgotten_at: i64,
}

/// The subject is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooMany {
    /// The quota that is used up.
    pub(crate) quota: Quota,
    pub(crate) retry_after_seconds: u32,
}

impl Subject {
    /// The network of a client's address. None for loopback and for texts that are no IP address.
    pub(crate) fn of_address(text: &str) -> Option<Self> {
        match text.trim().parse::<IpAddr>().ok()?.to_canonical() {
            address if address.is_loopback() => None,
            IpAddr::V4(address) => Some(Self::Address(address.to_string())),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Some(Self::Address(format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")))
            }
        }
    }

    fn quota(&self) -> Quota {
        match self {
            Self::Account(_) => LOGIN,
            Self::Address(_) => NETWORK,
        }
    }

    /// The database key of the subject. A digest, so the table does not keep texts that users typed into the name field.
    pub(crate) fn digest(&self) -> String {
        match self {
            Self::Account(name) => super::digest(&format!("account {name}")),
            Self::Address(network) => super::digest(&format!("address {network}")),
        }
    }

    /// Counts one more attempt. The caller stores the result before it checks the password.
    ///
    /// # Errors
    /// If the subject is locked. Then the caller stores nothing.
    pub(crate) fn attempt(&self, before: Option<Attempts>, now: i64) -> Result<Attempts, TooMany> {
        let before = before.map(|stored| self.bounded(stored, now)).filter(|attempts| now < attempts.forgotten_at);
        if let Some(attempts) = before.filter(|attempts| now < attempts.refused_until) {
            let seconds = (attempts.refused_until - now + 999) / 1000;
            let retry_after_seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            return Err(TooMany { quota: self.quota(), retry_after_seconds });
        }
        let count = before.map_or(0, |attempts| attempts.count) + 1;
        Ok(match self {
            Self::Account(_) => {
                let refused_until = if count % ACCOUNT_BURST == 0 { now + account_delay_ms(count) } else { 0 };
                Attempts { count, refused_until, forgotten_at: now.max(refused_until) + ACCOUNT_MEMORY_MS }
            }
            Self::Address(_) => {
                let forgotten_at = before.map_or(now + ADDRESS_WINDOW_MS, |attempts| attempts.forgotten_at);
                let refused_until = if count >= ADDRESS_LIMIT { forgotten_at } else { 0 };
                Attempts { count, refused_until, forgotten_at }
            }
        })
    }

    /// Cuts times that are further in the future than possible, because the clock was set back.
    fn bounded(&self, stored: Attempts, now: i64) -> Attempts {
        let (longest_wait, longest_memory) = match self {
            Self::Account(_) => (ACCOUNT_LONGEST_DELAY_MS, ACCOUNT_LONGEST_DELAY_MS + ACCOUNT_MEMORY_MS),
            Self::Address(_) => (ADDRESS_WINDOW_MS, ADDRESS_WINDOW_MS),
        };
        let is_possible = stored.refused_until <= now + longest_wait;
        Attempts {
            count: stored.count,
            refused_until: if is_possible { stored.refused_until } else { 0 },
            forgotten_at: stored.forgotten_at.min(now + longest_memory),
        }
    }

    /// Removes an attempt from the count: one that was not evaluated, or an address's successful one.
    pub(crate) fn give_back(&self, attempts: Attempts) -> Attempts {
        let at_limit = match self {
            Self::Account(_) => attempts.count % ACCOUNT_BURST == 0,
            Self::Address(_) => attempts.count == ADDRESS_LIMIT,
        };
        Attempts {
            count: (attempts.count - 1).max(0),
            refused_until: if at_limit { 0 } else { attempts.refused_until },
            ..attempts
        }
    }
}

/// How long an account is locked after `count` attempts. Doubles with every ten.
fn account_delay_ms(count: i64) -> i64 {
    let bursts_before = (count / ACCOUNT_BURST - 1).clamp(0, 10);
    (ACCOUNT_FIRST_DELAY_MS << bursts_before).min(ACCOUNT_LONGEST_DELAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn account() -> Subject {
        Subject::Account("bob".to_owned())
    }

    fn address() -> Subject {
        Subject::of_address("192.0.2.7").unwrap()
    }

    /// Attempts until the subject is locked, all at one time.
    fn exhaust(subject: &Subject, mut attempts: Option<Attempts>, now: i64) -> (i64, Attempts, TooMany) {
        for taken in 0..1000 {
            match subject.attempt(attempts, now) {
                Ok(counted) => attempts = Some(counted),
                Err(refusal) => return (taken, attempts.unwrap(), refusal),
            }
        }
        panic!("never refused");
    }

    #[test]
    fn an_accounts_wait_doubles_after_every_ten_attempts() {
        let mut attempts = None;
        let mut now = NOW;
        for seconds in [60, 120, 240, 480, 900, 900, 900] {
            let (taken, counted, refusal) = exhaust(&account(), attempts, now);
            assert_eq!((taken, refusal), (10, TooMany { quota: LOGIN, retry_after_seconds: seconds }));
            assert!(account().attempt(Some(counted), counted.refused_until - 1).is_err());
            (attempts, now) = (Some(counted), counted.refused_until);
        }
    }

    #[test]
    fn an_account_resets_after_an_hour_without_attempts() {
        let (_, counted, _) = exhaust(&account(), None, NOW);
        let later = counted.refused_until + 60 * MINUTE_MS;
        assert_eq!(account().attempt(Some(counted), later).unwrap().count, 1);
        assert_eq!(account().attempt(Some(counted), later - 1).unwrap().count, 11);
    }

    #[test]
    fn no_wait_exceeds_15_minutes_after_the_clock_was_set_back() {
        let hour = 60 * MINUTE_MS;
        for subject in [account(), address()] {
            for set_back in [MINUTE_MS, 15 * MINUTE_MS, hour, 24 * hour, 40 * 365 * 24 * hour] {
                let (_, counted, _) = exhaust(&subject, None, NOW);
                let wait = |after| match subject.attempt(Some(counted), NOW - set_back + after) {
                    Ok(_) => 0,
                    Err(refusal) => refusal.retry_after_seconds,
                };
                let mut tries = (0..).map(|number| number * MINUTE_MS / 2);
                let let_in_after = tries.find(|after| wait(*after) == 0).unwrap();
                assert!(wait(0) <= 900 && let_in_after <= 15 * MINUTE_MS, "{subject:?}, set back by {set_back} ms");
                // The count stays, so the subject is locked again after a few attempts.
                let (taken, ..) = exhaust(&subject, Some(counted), NOW - set_back + let_in_after);
                assert!(taken <= 10, "{subject:?}, set back by {set_back} ms: {taken} attempts");
            }
        }
    }

    #[test]
    fn the_wait_is_in_seconds_rounded_up() {
        let (_, counted, _) = exhaust(&account(), None, NOW);
        let refusal = account().attempt(Some(counted), NOW + 58_999).unwrap_err();
        assert_eq!(refusal.retry_after_seconds, 2);
    }

    #[test]
    fn taking_an_attempt_back_removes_its_lock() {
        let (_, counted, _) = exhaust(&account(), None, NOW);
        let back = account().give_back(counted);
        assert_eq!((back.count, back.refused_until), (9, 0));
        let (taken, ..) = exhaust(&account(), Some(back), NOW);
        assert_eq!(taken, 1);
    }

    #[test]
    fn taking_attempts_back_gives_no_further_guess() {
        // An attempt that is removed from the count was not evaluated. So ten attempts are evaluated before the first wait.
        let (mut attempts, mut evaluated) = (None, 0);
        for round in 0..100 {
            match account().attempt(attempts, NOW) {
                Ok(counted) if round % 3 == 0 => attempts = Some(account().give_back(counted)),
                Ok(counted) => (attempts, evaluated) = (Some(counted), evaluated + 1),
                Err(_) => {}
            }
        }
        assert_eq!(evaluated, 10);
    }

    #[test]
    fn an_address_has_100_failures_in_15_minutes() {
        let (taken, counted, refusal) = exhaust(&address(), None, NOW);
        assert_eq!((taken, refusal), (100, TooMany { quota: NETWORK, retry_after_seconds: 900 }));
        let freed = address().give_back(counted);
        assert_eq!(exhaust(&address(), Some(freed), NOW + 1).0, 1);
        assert_eq!(address().attempt(Some(counted), NOW + 15 * MINUTE_MS).unwrap().count, 1);
    }

    #[test]
    fn an_address_counts_as_its_network_and_loopback_not_at_all() {
        let of = |text| Subject::of_address(text);
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::9"));
        assert_ne!(of("2001:db8:1:2::9"), of("2001:db8:1:3::9"));
        assert_eq!(of("::ffff:192.0.2.7"), of("192.0.2.7"));
        for uncounted in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "", "unknown"] {
            assert_eq!(of(uncounted), None, "{uncounted}");
        }
    }

    #[test]
    fn an_account_and_an_address_of_one_text_have_two_counters() {
        let text = "192.0.2.7".to_owned();
        assert_ne!(Subject::Account(text.clone()).digest(), Subject::Address(text).digest());
    }
}
