//! Who gets a name, so that a login and its profile are made both or neither.
//!
//! A registration claims the name first, then has the password hashed and the profile made by user, and becomes active
//! last. One that broke off leaves its claim behind. When the claim is old, the next registration of the name takes it
//! over under the same registration id, so user finds the profile again if it was made already.
//!
//! A registration may come with a key, by which a client says that it is the same one again: then it is answered alike for
//! a day. What it asked for is known by a digest that leaves the password out. That is compared with the login's own hash,
//! which is slow to guess by, and counts as an attempt to log in.

use username::Username;

/// Longer than a request may live, so whoever made a claim this old is gone.
const CLAIM_MS: u64 = 60_000;
/// The operator's name. It stays theirs even if they delete themselves.
pub(crate) const OPERATOR: &str = "admin";

/// What is known of a name that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// Claimed, with no login made yet.
    pub(crate) pending: bool,
    pub(crate) claimed_at: i64,
    pub(crate) registration: String,
}

/// The key of a registration that is to be made once.
#[derive(Clone, Debug)]
pub(crate) struct Once<'a> {
    pub(crate) key: &'a str,
    /// Of all that was asked for but the password.
    pub(crate) fingerprint: String,
}

/// What a key stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) fingerprint: String,
    /// The body that was sent when the login was made. None before that.
    pub(crate) answer: Option<String>,
}

/// What becomes of a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The name is free.
    Claim,
    /// Somebody claimed it and never came back.
    TakeOver { registration: String },
    /// It was made before, and answered so. The password is still to be compared.
    Again { answer: String },
}

/// Why nothing becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The name is somebody's.
    Taken,
    /// It is being made by an earlier request with the same key.
    UnderWay,
    /// Its key stands for another one.
    Reused,
}

impl Holder {
    /// Whether the claim may still become a login by itself. A claim from further in the future is old too: the clock was set
    /// back.
    fn is_under_way(&self, now: i64) -> bool {
        self.pending && now.abs_diff(self.claimed_at) < CLAIM_MS
    }
}

impl<'a> Once<'a> {
    /// A key for a name, which has no control characters, and an address, which has none either.
    pub(crate) fn new(key: &'a str, username: &Username, email: Option<&str>) -> Self {
        let asked = format!("registration {}\n{}", username.as_str(), email.unwrap_or_default());
        Self { key, fingerprint: super::digest(&asked) }
    }
}

/// Says what becomes of a registration now: `known` is what its key stands for, if it has one.
///
/// # Errors
/// Why nothing does.
pub(crate) fn answer(
    username: &Username,
    holder: Option<Holder>,
    once: Option<(&Once<'_>, Known)>,
    now: i64,
) -> Result<Answer, Refused> {
    let is_under_way = holder.as_ref().is_some_and(|holder| holder.is_under_way(now));
    match once {
        Some((once, known)) if known.fingerprint != once.fingerprint => return Err(Refused::Reused),
        Some((_, Known { answer: Some(answer), .. })) => return Ok(Answer::Again { answer }),
        Some(_) if is_under_way => return Err(Refused::UnderWay),
        _ => {}
    }
    match holder {
        _ if username.key() == OPERATOR => Err(Refused::Taken),
        None => Ok(Answer::Claim),
        Some(holder) if holder.pending && !is_under_way => Ok(Answer::TakeOver { registration: holder.registration }),
        Some(_) => Err(Refused::Taken),
    }
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

    fn login() -> Option<Holder> {
        Some(Holder { pending: false, claimed_at: 0, registration: "r1".to_owned() })
    }

    #[test]
    fn a_free_name_can_be_claimed() {
        assert_eq!(answer(&bob(), None, None, NOW), Ok(Answer::Claim));
    }

    #[test]
    fn a_fresh_claim_keeps_others_out() {
        assert_eq!(answer(&bob(), claimed(0), None, NOW), Err(Refused::Taken));
        assert_eq!(answer(&bob(), claimed(59_999), None, NOW), Err(Refused::Taken));
    }

    #[test]
    fn an_old_claim_is_taken_over_under_its_registration() {
        let answer = answer(&bob(), claimed(60_000), None, NOW);
        assert_eq!(answer, Ok(Answer::TakeOver { registration: "r1".to_owned() }));
    }

    #[test]
    fn a_claim_holds_a_name_no_longer_if_the_clock_is_set_back() {
        assert_eq!(answer(&bob(), claimed(-59_999), None, NOW), Err(Refused::Taken));
        let answer = answer(&bob(), claimed(-60_000), None, NOW);
        assert_eq!(answer, Ok(Answer::TakeOver { registration: "r1".to_owned() }));
    }

    #[test]
    fn a_login_keeps_its_name_for_ever() {
        assert_eq!(answer(&bob(), login(), None, NOW), Err(Refused::Taken));
    }

    #[test]
    fn the_operators_name_is_never_free() {
        for name in ["admin", "ADMIN", "ａｄｍｉｎ", "ad\u{200b}min"] {
            assert_eq!(answer(&Username::parse(name).unwrap(), None, None, NOW), Err(Refused::Taken));
        }
    }

    #[test]
    fn a_key_tells_the_same_registration_from_another_and_from_one_under_way() {
        let once = Once::new("k", &bob(), Some("bob@example.com"));
        let known = |answer: Option<&str>| {
            let Once { fingerprint, .. } = once.clone();
            Some((&once, Known { fingerprint, answer: answer.map(str::to_owned) }))
        };
        assert_eq!(answer(&bob(), login(), known(Some("{}")), NOW), Ok(Answer::Again { answer: "{}".to_owned() }));
        assert_eq!(answer(&bob(), claimed(0), known(None), NOW), Err(Refused::UnderWay));
        let left_behind = answer(&bob(), claimed(60_000), known(None), NOW);
        assert_eq!(left_behind, Ok(Answer::TakeOver { registration: "r1".to_owned() }));
        // Another registration took the claim over and made a login of it.
        assert_eq!(answer(&bob(), login(), known(None), NOW), Err(Refused::Taken));
        for other in
            [Once::new("k", &bob(), None), Once::new("k", &Username::parse("Bob").unwrap(), Some("bob@example.com"))]
        {
            let known = Known { fingerprint: once.fingerprint.clone(), answer: None };
            assert_eq!(answer(&bob(), None, Some((&other, known)), NOW), Err(Refused::Reused));
        }
    }
}
