//! Who gets a name, so that a login and its profile are made both or neither.
//!
//! A registration claims the name first, then has the password hashed and the profile made by user, and becomes active
//! last. One that broke off leaves its claim behind. When the claim is old, the next registration of the name takes it
//! over under the same registration id, so user finds the profile again if it was made already.

use username::Username;

/// Longer than a request may live, so whoever made a claim this old is gone.
const CLAIM_MS: i64 = 60_000;
/// The operator's name. It stays theirs even if they delete themselves.
pub(crate) const OPERATOR: &str = "admin";
/// In Unicode characters (RFC 5321's path, without its brackets).
const EMAIL_LIMIT_CHARS: usize = 254;

/// What is known of a name that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Claimed, with no login made yet.
    pub(crate) pending: bool,
    pub(crate) claimed_at: i64,
    pub(crate) registration: String,
}

/// How a name can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is free.
    Claim,
    /// Somebody claimed it and never came back.
    TakeOver { registration: String },
    /// It is somebody's.
    Taken,
}

/// Says whether a name can be had now.
pub(crate) fn answer(username: &Username, holder: Option<Holder>, now: i64) -> Answer {
    match holder {
        _ if username.key() == OPERATOR => Answer::Taken,
        None => Answer::Claim,
        Some(Holder { pending: true, claimed_at, registration }) if now - claimed_at >= CLAIM_MS => {
            Answer::TakeOver { registration }
        }
        Some(_) => Answer::Taken,
    }
}

/// Whether a text may be an email address. Only a mail that arrives proves more.
pub(crate) fn is_email(text: &str) -> bool {
    text.contains('@') && text.chars().count() <= EMAIL_LIMIT_CHARS && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn bob() -> Username {
        Username::parse("bob").unwrap()
    }

    fn claimed(ago_ms: i64) -> Option<Holder> {
        Some(Holder { pending: true, claimed_at: NOW - ago_ms, registration: "r1".to_owned() })
    }

    #[test]
    fn a_free_name_can_be_claimed() {
        assert_eq!(answer(&bob(), None, NOW), Answer::Claim);
    }

    #[test]
    fn a_fresh_claim_keeps_others_out() {
        assert_eq!(answer(&bob(), claimed(0), NOW), Answer::Taken);
        assert_eq!(answer(&bob(), claimed(59_999), NOW), Answer::Taken);
    }

    #[test]
    fn an_old_claim_is_taken_over_under_its_registration() {
        let answer = answer(&bob(), claimed(60_000), NOW);
        assert_eq!(answer, Answer::TakeOver { registration: "r1".to_owned() });
    }

    #[test]
    fn a_login_keeps_its_name_for_ever() {
        let holder = Holder { pending: false, claimed_at: 0, registration: "r1".to_owned() };
        assert_eq!(answer(&bob(), Some(holder), NOW), Answer::Taken);
    }

    #[test]
    fn the_operators_name_is_never_free() {
        for name in ["admin", "ADMIN", "ａｄｍｉｎ", "ad\u{200b}min"] {
            assert_eq!(answer(&Username::parse(name).unwrap(), None, NOW), Answer::Taken);
        }
    }

    #[test]
    fn an_email_address_has_an_at_sign_and_a_bound() {
        assert!(is_email("bob@example.com"));
        assert!(is_email(&format!("{}@example.com", "x".repeat(242))));
        assert!(!is_email(&format!("{}@example.com", "x".repeat(243))));
        for refused in ["", "bob", "bob@\nexample.com"] {
            assert!(!is_email(refused), "{refused:?}");
        }
    }
}
