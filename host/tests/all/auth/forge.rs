//! Makes good and bad tokens with a leaked signing key.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};
use testing::Shop;

/// An attacker who has the signing key and one good token to copy.
pub(super) struct Forge {
    pub(super) key: Vec<u8>,
    /// The protected header, as the host writes it.
    pub(super) header: String,
    pub(super) payload: Value,
    /// The three segments of the good token.
    pub(super) segments: [String; 3],
}

impl Forge {
    /// Takes the key from a shop's data folder.
    pub(super) fn of(shop: &Shop, good: &str) -> Self {
        Self::new(shop.signing_key(), good)
    }

    pub(super) fn new(key: Vec<u8>, good: &str) -> Self {
        let segments: Vec<String> = good.split('.').map(str::to_owned).collect();
        let text =
            |segment: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(segment).expect("base64url")).expect("UTF-8");
        Self {
            key,
            header: text(&segments[0]),
            payload: serde_json::from_str(&text(&segments[1])).expect("JSON"),
            segments: segments.try_into().expect("three segments"),
        }
    }

    /// Replaces text in the header, and signs with the right key.
    pub(super) fn with_header(&self, from: &str, to: &str) -> String {
        assert!(self.header.contains(from), "{from}");
        self.signed(&self.header.replacen(from, to, 1), self.payload.to_string())
    }

    /// Adds a member to the header, and signs with the right key.
    pub(super) fn with_member(&self, member: &str) -> String {
        self.with_header("{", &format!("{{{member},"))
    }

    /// Sets or removes a claim, and signs with the right key.
    pub(super) fn with_claim(&self, name: &str, value: impl Into<Option<Value>>) -> String {
        let mut payload = self.payload.clone();
        match value.into() {
            Some(value) => payload[name] = value,
            None => assert!(payload.as_object_mut().expect("an object").remove(name).is_some(), "{name}"),
        }
        self.signed(&self.header, payload.to_string())
    }

    /// Replaces text in the payload, and signs with the right key.
    pub(super) fn with_text(&self, from: &str, to: &str) -> String {
        let payload = self.payload.to_string();
        assert!(payload.contains(from), "{from}");
        self.signed(&self.header, payload.replacen(from, to, 1))
    }

    /// Shifts `iat` and `exp` by this many seconds, and signs with the right key.
    pub(super) fn later_by(&self, seconds: i64) -> String {
        let mut payload = self.payload.clone();
        for time in ["iat", "exp"] {
            payload[time] = json!(payload[time].as_i64().expect("a number") + seconds);
        }
        self.signed(&self.header, payload.to_string())
    }

    /// The good token, signed again.
    pub(super) fn good(&self) -> String {
        self.signed(&self.header, self.payload.to_string())
    }

    /// This header and payload, signed with the right key.
    pub(super) fn signed(&self, header: &str, payload: impl AsRef<[u8]>) -> String {
        signed_with(&self.key, Algorithm::HS256, header, payload)
    }
}

/// Encodes a header and a payload, and signs them with any key and algorithm.
pub(super) fn signed_with(key: &[u8], algorithm: Algorithm, header: &str, payload: impl AsRef<[u8]>) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    sign_encoded(key, algorithm, &message)
}

/// Signs two encoded segments. Their encoding may be wrong.
pub(super) fn sign_encoded(key: &[u8], algorithm: Algorithm, message: &str) -> String {
    let signature = crypto::sign(message.as_bytes(), &EncodingKey::from_secret(key), algorithm).expect("a signature");
    format!("{message}.{signature}")
}

/// A token that claims to need no signature.
pub(super) fn unsigned(header: &str, payload: &Value) -> String {
    format!("{}.{}.", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload.to_string()))
}
