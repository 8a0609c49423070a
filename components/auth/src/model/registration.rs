//! Decides who gets a username, so that a login and its profile are created together or not at all.
//!
//! A registration first claims the name. Then the host hashes the password and user creates the profile. Activating the
//! login is the last step. A registration that fails halfway leaves its claim behind. Once the claim is a minute old, the
//! next registration of the name takes it over. It keeps the registration id, so user finds a profile that already exists.
//!
//! A client can send an idempotency key. For a day, a retry with the same key gets the first response again. Auth recognises
//! the same request by a fingerprint of everything except the password. It checks the password of a retry against the
//! login's slow hash instead, and counts that as a login attempt. So nothing that is stored helps to guess the password.

use serde::Deserialize;
use username::Username;

/// Age at which a claim can be taken over. No request lives this long, so the claim's own request has ended.
const CLAIM_MS: u64 = 60_000;
/// The operator's username. Nobody else can register it, even if the operator's login was deleted.
pub(crate) const OPERATOR: &str = "admin";

/// The login or claim that has a username.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Holder {
    /// True for a claim, false for a login.
    pub(crate) pending: bool,
    /// Milliseconds since 1970-01-01 UTC.
    pub(crate) claimed_at: i64,
    pub(crate) registration: String,
}

/// A registration with an idempotency key.
#[derive(Clone, Debug)]
pub(crate) struct KeyedRequest<'a> {
    pub(crate) key: &'a str,
    /// Digest of the username and the email address. Leaves the password out.
    pub(crate) fingerprint: String,
}

/// The registration that an idempotency key belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct StoredKey {
    pub(crate) fingerprint: String,
    /// The response body. None until the login is active.
    pub(crate) response: Option<String>,
}

/// How to continue a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The name is free: claim it.
    Claim,
    /// An old claim has the name: take it over, with its registration id.
    TakeOver { registration: String },
    /// The same request succeeded before: check the password, then send this body again.
    Replay { response: String },
}

/// Why a registration is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Another login or claim has the name.
    Taken,
    /// An earlier request with the same key is still running.
    UnderWay,
    /// The key belongs to another registration.
    Reused,
}

impl Holder {
    /// Whether the request that made the claim may still be running.
    ///
    /// A claim from more than a minute in the future counts as old, because the clock was set back.
    fn is_under_way(&self, now: i64) -> bool {
        self.pending && now.abs_diff(self.claimed_at) < CLAIM_MS
    }
}

impl<'a> KeyedRequest<'a> {
    /// Neither the username nor the address contains control characters, so a line feed separates them in the fingerprint.
    pub(crate) fn new(key: &'a str, username: &Username, email: Option<&str>) -> Self {
        let request = format!("registration {}\n{}", username.as_str(), email.unwrap_or_default());
        Self { key, fingerprint: super::digest(&request) }
    }
}

/// Decides how to continue a registration. `keyed` is the request's key with the registration that the key belongs to.
///
/// # Errors
/// Why the registration is refused.
pub(crate) fn decide(
    username: &Username,
    holder: Option<Holder>,
    keyed: Option<(&KeyedRequest<'_>, StoredKey)>,
    now: i64,
) -> Result<Decision, Refused> {
    let is_under_way = holder.as_ref().is_some_and(|holder| holder.is_under_way(now));
    match keyed {
        Some((request, stored)) if stored.fingerprint != request.fingerprint => return Err(Refused::Reused),
        Some((_, StoredKey { response: Some(response), .. })) => return Ok(Decision::Replay { response }),
        Some(_) if is_under_way => return Err(Refused::UnderWay),
        _ => {}
    }
    match holder {
        _ if username.key() == OPERATOR => Err(Refused::Taken),
        None => Ok(Decision::Claim),
        Some(holder) if holder.pending && !is_under_way => Ok(Decision::TakeOver { registration: holder.registration }),
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
        assert_eq!(decide(&bob(), None, None, NOW), Ok(Decision::Claim));
    }

    #[test]
    fn a_fresh_claim_keeps_others_out() {
        assert_eq!(decide(&bob(), claimed(0), None, NOW), Err(Refused::Taken));
        assert_eq!(decide(&bob(), claimed(59_999), None, NOW), Err(Refused::Taken));
    }

    #[test]
    fn an_old_claim_is_taken_over_under_its_registration() {
        let decision = decide(&bob(), claimed(60_000), None, NOW);
        assert_eq!(decision, Ok(Decision::TakeOver { registration: "r1".to_owned() }));
    }

    #[test]
    fn a_claim_from_the_future_is_old() {
        assert_eq!(decide(&bob(), claimed(-59_999), None, NOW), Err(Refused::Taken));
        let decision = decide(&bob(), claimed(-60_000), None, NOW);
        assert_eq!(decision, Ok(Decision::TakeOver { registration: "r1".to_owned() }));
    }

    #[test]
    fn a_login_keeps_its_name_for_ever() {
        assert_eq!(decide(&bob(), login(), None, NOW), Err(Refused::Taken));
    }

    #[test]
    fn the_operators_name_is_never_free() {
        for name in ["admin", "ADMIN", "ａｄｍｉｎ", "ad\u{200b}min"] {
            assert_eq!(decide(&Username::parse(name).unwrap(), None, None, NOW), Err(Refused::Taken));
        }
    }

    #[test]
    fn a_key_recognises_its_own_registration() {
        let request = KeyedRequest::new("k", &bob(), Some("bob@example.com"));
        let stored = |response: Option<&str>| {
            let KeyedRequest { fingerprint, .. } = request.clone();
            Some((&request, StoredKey { fingerprint, response: response.map(str::to_owned) }))
        };
        let replay = Decision::Replay { response: "{}".to_owned() };
        assert_eq!(decide(&bob(), login(), stored(Some("{}")), NOW), Ok(replay));
        assert_eq!(decide(&bob(), claimed(0), stored(None), NOW), Err(Refused::UnderWay));
        let abandoned = decide(&bob(), claimed(60_000), stored(None), NOW);
        assert_eq!(abandoned, Ok(Decision::TakeOver { registration: "r1".to_owned() }));
        // Another registration took the claim over and activated the login.
        assert_eq!(decide(&bob(), login(), stored(None), NOW), Err(Refused::Taken));
        for other in [
            KeyedRequest::new("k", &bob(), None),
            KeyedRequest::new("k", &Username::parse("Bob").unwrap(), Some("bob@example.com")),
        ] {
            let stored = StoredKey { fingerprint: request.fingerprint.clone(), response: None };
            assert_eq!(decide(&bob(), None, Some((&other, stored)), NOW), Err(Refused::Reused));
        }
    }
}
