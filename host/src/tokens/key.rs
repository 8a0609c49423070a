//! A signing key: its name, signing and verifying.
//!
//! The secret bytes are held by `jsonwebtoken`'s key types. These clear themselves on drop and print nothing in `Debug`.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use sha2::{Digest, Sha256};

use crate::key_file::{Key, KeyFileError};

/// HMAC-SHA-256, the only algorithm (RFC 7518, section 3.2).
const ALGORITHM: Algorithm = Algorithm::HS256;

/// Hashed before the key to make its name.
/// So the name differs from all other hashes of the key.
const ID_LABEL: &[u8] = b"comptoir signing key id\0";

/// A key of this installation that signs and verifies tokens.
pub(super) struct SigningKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
    id: Arc<str>,
    /// The encoded protected header and the dot after it.
    /// Every token of this key begins like this.
    prefix: String,
}

impl SigningKey {
    /// Reads the key from a file.
    pub(super) fn read(path: &Path) -> Result<SigningKey, KeyFileError> {
        Ok(SigningKey::new(&Key::read(path)?))
    }

    pub(super) fn new(key: &Key) -> SigningKey {
        let bytes = key.bytes();
        let digest = Sha256::new().chain_update(ID_LABEL).chain_update(bytes).finalize();
        let mut id = String::with_capacity(16);
        for byte in &digest[..8] {
            write!(id, "{byte:02x}").expect("writing to a string does not fail");
        }
        let header = format!(r#"{{"alg":"HS256","typ":"at+jwt","kid":"{id}"}}"#);
        SigningKey {
            encoding: EncodingKey::from_secret(bytes),
            decoding: DecodingKey::from_secret(bytes),
            prefix: format!("{}.", URL_SAFE_NO_PAD.encode(header)),
            id: id.into(),
        }
    }

    pub(super) fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Signs a payload. Returns a compact token (RFC 7515, section 7.1).
    pub(super) fn sign(&self, payload: &[u8]) -> Result<String, jsonwebtoken::errors::Error> {
        let mut token = self.prefix.clone();
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = crypto::sign(token.as_bytes(), &self.encoding, ALGORITHM)?;
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }

    /// Whether a token begins with the header of this key, byte for byte.
    pub(super) fn is_named_by(&self, token: &str) -> bool {
        token.starts_with(&*self.prefix)
    }

    /// The encoded payload of a token, if this key signed that token.
    ///
    /// Compares the header before it decodes anything. The text after the second dot must be one canonical signature,
    /// without padding, stray bits or further segments, and in the URL-safe alphabet.
    pub(super) fn signed_payload<'t>(&self, token: &'t str) -> Option<&'t str> {
        let (payload, signature) = token.strip_prefix(&*self.prefix)?.split_once('.')?;
        let message = &token[..self.prefix.len() + payload.len()];
        let signed = crypto::verify(signature, message.as_bytes(), &self.decoding, ALGORITHM).is_ok_and(|valid| valid);
        signed.then_some(payload)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}
