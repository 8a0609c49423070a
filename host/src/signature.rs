//! Signatures of components: Ed25519 (RFC 8032) over a statement about the file.
//!
//! A signature is one line of text: the statement, a space, and the 64 bytes of the signature in base64. The statement is a JSON
//! object, and exactly its bytes in the line are signed:
//!
//! ```json
//! {"type":"comptoir-component","service":"orders","sha256":"…","version":1795449600,"expires":1803225600,"key":"…"}
//! ```
//!
//! - `sha256` is the digest of the whole file, in hexadecimal.
//! - `version` grows with each signature for a service, so that the host can refuse an older component.
//! - `expires` is in seconds since 1970-01-01 UTC.
//! - `key` is the public key in base64. The secret key is a file of 32 random bytes.
//! - `type` distinguishes this statement from others that the same key signed for other purposes.
//!
//! This module does not know which revision is active. `deploy` compares versions.

use std::ffi::OsString;
use std::fmt::{self, Debug, Display, Formatter};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

use crate::key_file::{KEY_BYTES, Key, KeyFileError};

/// The longest line of a signature in bytes. A usual one has about 330.
const LINE_BYTES: usize = 1024;

/// The last second of 9999-12-31, the latest date that can be formatted.
const LAST_SECOND: u64 = 253_402_300_799;

/// The public key of a signer: 32 bytes, in base64 as text.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; KEY_BYTES]);

/// The text is not a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signer must be an Ed25519 public key of 32 bytes in base64: `comptoir sign --new-key KEY` prints one")]
pub struct NoPublicKey;

/// A secret key that signs components. It cannot be printed.
pub struct SigningKey(Ed25519KeyPair);

/// The signed statement about a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    #[serde(rename = "type")]
    kind: Kind,
    /// The service that the component is for.
    pub service: String,
    /// SHA-256 of the whole file, in hexadecimal.
    pub sha256: String,
    /// The version. A later signature for the service has a higher one.
    pub version: u64,
    /// Seconds since 1970-01-01 UTC.
    /// After that the host does not activate the component, but an active one stays active.
    pub expires: u64,
    /// The public key of the signer.
    pub key: PublicKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    ComptoirComponent,
}

/// A parsed signature.
/// Do not trust its statement before [`Self::check`] has succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    statement: Statement,
    line: String,
}

/// The signature is refused. The message completes a sentence about the component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The text is damaged or not a signature.
    #[error("its signature is not the one line that `comptoir sign` writes")]
    Unreadable,
    /// The key is not in the manifest.
    #[error("it is signed with the key {0}, which is not in `signers`")]
    UnknownKey(PublicKey),
    /// Another key signed it, or it was changed afterwards.
    #[error("its signature was made with another key than {0}, or was changed afterwards")]
    Forged(PublicKey),
    /// The signature belongs to another file.
    #[error("its signature is for a file with another sha256, {0}")]
    OtherFile(String),
    /// The signature belongs to another service.
    #[error("its signature is for the service `{0}`")]
    OtherService(String),
    /// The signature has expired.
    #[error("its signature expired at {0}")]
    Expired(Date),
}

/// Seconds since 1970-01-01 UTC. Displays as a date and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date(u64);

impl SigningKey {
    /// Creates a key in a new file that only its owner may use.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`] if the file exists already.
    pub fn create(file: &Path) -> Result<Self, KeyFileError> {
        if file.exists() {
            return Err(KeyFileError::Exists { path: file.to_owned() });
        }
        Key::open(file).map(|key| Self::new(&key))
    }

    /// Reads a key from a file.
    ///
    /// # Errors
    /// If the file is missing, damaged, or other users may use it.
    pub fn read(file: &Path) -> Result<Self, KeyFileError> {
        Key::read(file).map(|key| Self::new(&key))
    }

    fn new(key: &Key) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(key.bytes()).expect("a seed is any 32 bytes"))
    }

    /// The public key that belongs to this secret key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes"))
    }

    /// Signs the statement that a file with this SHA-256 is for a service.
    /// `expires` is in seconds since 1970-01-01 UTC.
    pub fn sign(&self, service: &str, sha256: &str, version: u64, expires: u64) -> Signature {
        let (service, sha256) = (service.to_owned(), sha256.to_owned());
        let statement =
            Statement { kind: Kind::ComptoirComponent, service, sha256, version, expires, key: self.public() };
        let text = serde_json::to_string(&statement).expect("texts and numbers are JSON");
        let line = format!("{text} {}", BASE64.encode(self.0.sign(text.as_bytes())));
        Signature { statement, line }
    }
}

impl Signature {
    /// Parses the line of a signature. Ignores space around it.
    ///
    /// # Errors
    /// [`SignatureError::Unreadable`].
    pub fn read(line: &str) -> Result<Self, SignatureError> {
        let line = line.trim();
        let statement = split(line).and_then(|(text, _)| serde_json::from_str(text).ok());
        let statement = statement.ok_or(SignatureError::Unreadable)?;
        Ok(Self { statement, line: line.to_owned() })
    }

    /// The signed statement.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The line of the signature.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Checks that one of these keys signed this file for this service.
    /// Does not check the expiry.
    ///
    /// # Errors
    /// The first check that fails.
    pub fn check(&self, signers: &[PublicKey], service: &str, sha256: &str) -> Result<(), SignatureError> {
        let Statement { key, service: meant, sha256: signed, .. } = &self.statement;
        if !signers.contains(key) {
            return Err(SignatureError::UnknownKey(*key));
        }
        let (text, bytes) = split(&self.line).ok_or(SignatureError::Unreadable)?;
        let verified = UnparsedPublicKey::new(&ED25519, key.0).verify(text.as_bytes(), &bytes);
        verified.map_err(|_| SignatureError::Forged(*key))?;
        if meant != service {
            return Err(SignatureError::OtherService(meant.clone()));
        }
        if signed != sha256 {
            return Err(SignatureError::OtherFile(signed.clone()));
        }
        Ok(())
    }

    /// Checks that the signature has not expired.
    /// `now` is in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// [`SignatureError::Expired`].
    pub fn check_time(&self, now: u64) -> Result<(), SignatureError> {
        let expires = self.statement.expires;
        if now < expires { Ok(()) } else { Err(SignatureError::Expired(Date(expires))) }
    }
}

/// The path of a component's signature: the component's path with `.sig` appended.
pub fn beside(component: &Path) -> PathBuf {
    let mut path = OsString::from(component);
    path.push(".sig");
    path.into()
}

/// Splits a line into the statement and the bytes of the signature.
fn split(line: &str) -> Option<(&str, Vec<u8>)> {
    let (text, bytes) = line.rsplit_once(' ').filter(|_| line.len() <= LINE_BYTES && line.is_ascii())?;
    Some((text, BASE64.decode(bytes).ok()?))
}

impl FromStr for PublicKey {
    type Err = NoPublicKey;

    fn from_str(text: &str) -> Result<Self, NoPublicKey> {
        let bytes = BASE64.decode(text).map_err(|_| NoPublicKey)?;
        bytes.try_into().map(Self).map_err(|_| NoPublicKey)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = NoPublicKey;

    fn try_from(text: String) -> Result<Self, NoPublicKey> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

impl Display for PublicKey {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(&BASE64.encode(self.0))
    }
}

impl Debug for PublicKey {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, formatter)
    }
}

impl Display for Date {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let moment = UNIX_EPOCH + Duration::from_secs(self.0.min(LAST_SECOND));
        Display::fmt(&humantime::format_rfc3339_seconds(moment), formatter)
    }
}

#[cfg(test)]
mod tests;
