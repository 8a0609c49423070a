//! A signing key: its name, and the two things it does.
//!
//! What stays of its bytes is in `jsonwebtoken`'s key types, which clear themselves on drop and hide themselves in `Debug`.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use sha2::{Digest, Sha256};

use crate::key_file::{Key, KeyFileError};

/// The only algorithm (RFC 7518 section 3.2).
const ALGORITHM: Algorithm = Algorithm::HS256;

/// Sets the name of a key apart from every other hash of it.
const ID_LABEL: &[u8] = b"comptoir signing key id\0";

/// A key of this installation, ready to sign and verify.
pub(super) struct SigningKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
    id: Arc<str>,
    /// The encoded protected header and the dot after it: how every token of this key begins.
    prefix: String,
}

impl SigningKey {
    /// Reads the key in a file.
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

    /// The token in its compact form (RFC 7515 section 7.1).
    pub(super) fn sign(&self, payload: &[u8]) -> Result<String, jsonwebtoken::errors::Error> {
        let mut token = self.prefix.clone();
        URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = crypto::sign(token.as_bytes(), &self.encoding, ALGORITHM)?;
        token.push('.');
        token.push_str(&signature);
        Ok(token)
    }

    /// Whether a token has the header of this key's tokens, byte for byte.
    pub(super) fn is_named_by(&self, token: &str) -> bool {
        token.starts_with(&*self.prefix)
    }

    /// The payload of a token, still encoded, if this key signed exactly these bytes under exactly our header.
    ///
    /// The header is compared before anything is decoded. Whatever follows the second dot must be one canonical
    /// signature: padding, other alphabets, stray bits and further segments are not.
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
