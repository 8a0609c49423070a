//! Idempotency keys, which mark retries of one request (IETF draft-ietf-httpapi-idempotency-key-header).

use crate::{Failure, Request};

/// The key that a client gives to a request and to its retries: 1 to 255 characters of visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// Maximum length of a key in bytes.
const LIMIT: usize = 255;

impl IdempotencyKey {
    /// How long a service keeps the response for a key, in seconds.
    pub const KEPT_SECONDS: i64 = 24 * 60 * 60;

    /// The key of a request, or None if it has none. The route must declare that it reads `idempotency-key`.
    ///
    /// Accepts a quoted string, as the draft specifies, and a bare token, as most clients send it. `"k-1"` and `k-1` are the
    /// same key.
    ///
    /// # Errors
    ///
    /// 400 `INVALID_IDEMPOTENCY_KEY` for anything else, and for two such header fields, because they are ambiguous.
    pub fn of(request: &Request) -> Result<Option<IdempotencyKey>, Failure> {
        let invalid = |why: &'static str| Failure::bad_request("INVALID_IDEMPOTENCY_KEY", why);
        let mut fields = request.header_fields("idempotency-key");
        match (fields.next(), fields.next()) {
            (None, _) => Ok(None),
            (Some(sent), None) => {
                let key = std::str::from_utf8(sent).ok().and_then(IdempotencyKey::parse);
                key.map(Some).ok_or_else(|| {
                    invalid(
                        "Idempotency-Key must be a string of 1 to 255 visible ASCII characters, such as \"7d1f-42\".",
                    )
                })
            }
            (Some(_), Some(_)) => Err(invalid("The request has several Idempotency-Key headers. Send one.")),
        }
    }

    fn parse(sent: &str) -> Option<IdempotencyKey> {
        let quoted = sent.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let key = quoted.unwrap_or(sent);
        let allowed =
            |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\' || quoted.is_some() && byte == b' ';
        let fits = (1..=LIMIT).contains(&key.len()) && key.bytes().all(allowed);
        fits.then(|| IdempotencyKey(key.to_owned()))
    }

    /// The key without quotes, to be stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// 409: the first request with this key is still running.
    pub fn in_use() -> Failure {
        let why = "The first request with this Idempotency-Key is still running. Try again shortly.";
        Failure::conflict("IDEMPOTENCY_KEY_IN_USE", why).retry_after(1)
    }

    /// 422: the key belongs to another request.
    pub fn reused() -> Failure {
        let why = "This Idempotency-Key belongs to another request. Use a new key.";
        Failure::new(422, "IDEMPOTENCY_KEY_REUSED", why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_visible_ascii_with_or_without_quotes() {
        let key = |sent: &str| IdempotencyKey::parse(sent).map(|key| key.0);
        assert_eq!(key("7d1f-42").as_deref(), Some("7d1f-42"));
        assert_eq!(key("\"7d1f 42\"").as_deref(), Some("7d1f 42"));
        assert_eq!(key(&"x".repeat(255)).map(|key| key.len()), Some(255));
        for bad in ["", "\"\"", "a b", "\"a", "a\"b", "\u{e9}", "a\tb", "\"a\\\"b\"", &"x".repeat(256)] {
            assert_eq!(key(bad), None, "{bad:?}");
        }
    }
}
