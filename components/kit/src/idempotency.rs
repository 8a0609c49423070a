//! The key by which a client says that a request is the same one again (IETF draft-ietf-httpapi-idempotency-key-header).

use crate::{Failure, Request};

/// What names a request for as long as its answer is remembered: 1 to 255 characters of visible ASCII.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

/// The longest key.
const LIMIT: usize = 255;

impl IdempotencyKey {
    /// For how long an answer is remembered, in seconds.
    pub const KEPT_SECONDS: i64 = 24 * 60 * 60;

    /// The key of a request, if it has one, on a route that reads the header `idempotency-key`.
    ///
    /// A string as the draft writes it, `"in quotes"`, and what is no string but has no white space, which is how most
    /// clients send it, are the same key.
    ///
    /// # Errors
    ///
    /// 400 `INVALID_IDEMPOTENCY_KEY` for anything else, and for more than one field: neither key says which request this is.
    pub fn of(request: &Request) -> Result<Option<IdempotencyKey>, Failure> {
        let invalid = |why: &'static str| Failure::bad_request("INVALID_IDEMPOTENCY_KEY", why);
        let mut fields = request.header_fields("idempotency-key");
        match (fields.next(), fields.next()) {
            (None, _) => Ok(None),
            (Some(sent), None) => {
                let key = std::str::from_utf8(sent).ok().and_then(IdempotencyKey::parse);
                key.map(Some).ok_or_else(|| {
                    invalid("Idempotency-Key is a string of 1 to 255 visible ASCII characters, as in \"7d1f-42\".")
                })
            }
            (Some(_), Some(_)) => Err(invalid("There is more than one Idempotency-Key: send one.")),
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

    /// The key as it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The failure of a request that came while the first one with its key is worked on.
    pub fn in_use() -> Failure {
        let why = "The first request with this Idempotency-Key is still worked on: try again shortly.";
        Failure::conflict("IDEMPOTENCY_KEY_IN_USE", why).retry_after(1)
    }

    /// The failure of a request that has the key of another one.
    pub fn reused() -> Failure {
        let why = "This Idempotency-Key was used for another request: take a new one.";
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
