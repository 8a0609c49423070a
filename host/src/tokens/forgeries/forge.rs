//! Makes tokens by and against the rules, with the key of an installation.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::clock::Clock;
use crate::tokens::Tokens;

/// An installation whose key has leaked: makes tokens that only the rules can refuse.
pub(in crate::tokens) struct Forge {
    pub(in crate::tokens) tokens: Tokens,
    pub(in crate::tokens) key: Vec<u8>,
    pub(in crate::tokens) now: u64,
    _folder: TempDir,
}

impl Forge {
    pub(in crate::tokens) fn new() -> Forge {
        let folder = TempDir::new().unwrap();
        let clock = Clock::default();
        let tokens = Tokens::open(folder.path(), clock.clone()).unwrap();
        let key = fs::read(folder.path().join("signing.key")).unwrap();
        Forge { tokens, key, now: clock.unix_seconds(), _folder: folder }
    }

    pub(in crate::tokens) fn header(&self) -> String {
        format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{}"}}"#, self.tokens.keys()[0].id)
    }

    pub(in crate::tokens) fn payload(&self) -> Value {
        json!({
            "iss": "comptoir", "aud": "comptoir", "sub": "ada", "client_id": "comptoir", "iat": self.now,
            "exp": self.now + 3600, "jti": "forged", "sid": "s1", "roles": ["user"], "type": "access",
        })
    }

    /// Our header with one replacement, our payload, signed with our key.
    pub(in crate::tokens) fn with_header(&self, from: &str, to: &str) -> String {
        let header = self.header();
        assert!(header.contains(from), "{from}");
        self.signed(&header.replacen(from, to, 1), self.payload().to_string())
    }

    /// A payload with one claim set, or taken away, signed with our key.
    pub(in crate::tokens) fn with_claim(&self, name: &str, value: impl Into<Option<Value>>) -> String {
        let mut payload = self.payload();
        match value.into() {
            Some(value) => payload[name] = value,
            None => assert!(payload.as_object_mut().unwrap().remove(name).is_some(), "{name}"),
        }
        self.signed(&self.header(), payload.to_string())
    }

    /// Our payload with one replacement in its text, signed with our key.
    pub(in crate::tokens) fn with_text(&self, from: &str, to: &str) -> String {
        let payload = self.payload().to_string();
        assert!(payload.contains(from), "{from}");
        self.signed(&self.header(), payload.replacen(from, to, 1))
    }

    pub(in crate::tokens) fn signed(&self, header: &str, payload: impl AsRef<[u8]>) -> String {
        signed_with(&self.key, Algorithm::HS256, header, payload)
    }

    pub(in crate::tokens) fn good(&self) -> String {
        self.signed(&self.header(), self.payload().to_string())
    }

    /// The three segments of a good token.
    pub(in crate::tokens) fn segments(&self) -> [String; 3] {
        let segments: Vec<_> = self.good().split('.').map(str::to_owned).collect();
        segments.try_into().unwrap()
    }
}

pub(in crate::tokens) fn signed_with(
    key: &[u8],
    algorithm: Algorithm,
    header: &str,
    payload: impl AsRef<[u8]>,
) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    sign_encoded(key, algorithm, &message)
}

/// Signs two segments that are encoded already, well or badly.
pub(in crate::tokens) fn sign_encoded(key: &[u8], algorithm: Algorithm, message: &str) -> String {
    let signature = crypto::sign(message.as_bytes(), &EncodingKey::from_secret(key), algorithm).unwrap();
    format!("{message}.{signature}")
}
