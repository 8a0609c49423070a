//! The claims of an access token, and their limits.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How long an access token is valid, in seconds.
pub const ACCESS_LIFETIME_SECONDS: u32 = 3600;

/// The longest subject in bytes: 150 characters of at most four bytes in UTF-8.
pub const SUBJECT_LIMIT_BYTES: usize = 600;

/// The longest role, and the longest session id, in bytes.
pub const CLAIM_LIMIT_BYTES: usize = 256;

/// The longest token that the host verifies, in bytes.
/// Every issued token is shorter.
pub const TOKEN_LIMIT_BYTES: usize = 4096;

/// How far in the future `iat` may be, in seconds.
const AHEAD_LIMIT_SECONDS: u64 = 60;

/// The issuer, the audience and the client: the host is all three.
const SELF: &str = "comptoir";

/// The value of `type` in an access token.
const ACCESS: &str = "access";

/// The claims of a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The username.
    pub subject: String,
    /// The user's only role.
    pub role: String,
    /// The id of the session. When the session ends, the token is refused.
    pub session: String,
    /// When the token expires, in seconds since 1970-01-01 UTC.
    pub expires_at: u64,
    /// The name of the key that signed the token.
    pub key: Arc<str>,
}

/// The claims on the wire (RFC 9068, section 2.2, and `sid`, `roles`, `type`).
///
/// Serde's derived reader refuses a claim that occurs twice. It ignores unknown claims: after a rollback, the older host
/// still accepts the tokens of the newer one.
#[derive(Serialize, Deserialize)]
pub(super) struct Payload<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    aud: Cow<'a, str>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    iat: u64,
    exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    #[serde(borrow)]
    jti: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) sid: Cow<'a, str>,
    roles: [Cow<'a, str>; 1],
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

impl<'a> Payload<'a> {
    pub(super) fn new(subject: &'a str, role: &'a str, session: &'a str, now: u64, token_id: &'a str) -> Payload<'a> {
        Payload {
            iss: SELF.into(),
            aud: SELF.into(),
            sub: subject.into(),
            client_id: SELF.into(),
            iat: now,
            exp: now + u64::from(ACCESS_LIFETIME_SECONDS),
            nbf: None,
            jti: token_id.into(),
            sid: session.into(),
            roles: [role.into()],
            kind: ACCESS.into(),
        }
    }

    /// Reads a JSON object (RFC 7519, section 7.2).
    /// The derived reader alone would also accept an array.
    pub(super) fn read(json: &'a [u8]) -> Option<Payload<'a>> {
        json.starts_with(b"{").then(|| serde_json::from_slice(json).ok())?
    }

    /// Whether the token was issued for this host and is in force.
    ///
    /// A token from the future is refused: it was issued while the clock was ahead, and would outlive its hour.
    pub(super) fn is_good_at(&self, now: u64) -> bool {
        self.iss == SELF
            && self.aud == SELF
            && self.client_id == SELF
            && self.kind == ACCESS
            && !self.jti.is_empty()
            && now < self.exp
            && self.iat <= now.saturating_add(AHEAD_LIMIT_SECONDS)
            && self.nbf.is_none_or(|not_before| not_before <= now)
    }

    pub(super) fn into_claims(self, key: Arc<str>) -> Claims {
        let [role] = self.roles;
        Claims {
            subject: self.sub.into_owned(),
            role: role.into_owned(),
            session: self.sid.into_owned(),
            expires_at: self.exp,
            key,
        }
    }
}

/// Checks a claim's length and characters. The error may be shown to the caller.
///
/// JSON at most doubles the length of a text without control characters. So no issued token exceeds [`TOKEN_LIMIT_BYTES`].
pub(super) fn check_claim(name: &str, value: &str, limit_bytes: usize) -> Result<(), String> {
    if value.is_empty() {
        Err(format!("the {name} is empty"))
    } else if value.len() > limit_bytes {
        Err(format!("the {name} is longer than {limit_bytes} bytes"))
    } else if value.chars().any(char::is_control) {
        Err(format!("the {name} holds a control character"))
    } else {
        Ok(())
    }
}
