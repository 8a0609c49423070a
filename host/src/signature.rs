//! Signatures of components: Ed25519 (RFC 8032), detached, over a statement about the file.
//!
//! A signature is one line of text: the statement, a space, and the 64 bytes in base64. The statement is a JSON object, and is signed
//! as it stands there:
//!
//! ```json
//! {"type":"comptoir-component","service":"orders","sha256":"…","version":1795449600,"expires":1803225600,"key":"…"}
//! ```
//!
//! `sha256` is that of the whole file, in hexadecimal. `version` counts up with what is signed for a service, so that what is older
//! can be told. `expires` is in seconds since 1970-01-01 UTC. `key` is the public key in base64; the secret one is a file of 32
//! random bytes. `type` keeps what a key signed elsewhere from passing for one of these.
//!
//! Knows nothing of what serves: whether a version is too old is asked elsewhere.

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

/// Bytes of a signature's line. One has about 330.
const LINE_BYTES: usize = 1024;

/// The last second that a date can be written of, 9999-12-31.
const LAST_SECOND: u64 = 253_402_300_799;

/// Who may sign: 32 bytes, written in base64.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; KEY_BYTES]);

/// A text that is no public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a signer is an Ed25519 public key of 32 bytes in base64, as `comptoir sign --new-key KEY` prints it")]
pub struct NoPublicKey;

/// What signs. Cannot be printed.
pub struct SigningKey(Ed25519KeyPair);

/// What a signature says of a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    #[serde(rename = "type")]
    kind: Kind,
    /// The service that it is meant for.
    pub service: String,
    /// SHA-256 of the whole file, in hexadecimal.
    pub sha256: String,
    /// Counts up.
    pub version: u64,
    /// Seconds since 1970-01-01 UTC. Later it is not put in charge, but goes on where it was.
    pub expires: u64,
    /// Whose signature it is.
    pub key: PublicKey,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    ComptoirComponent,
}

/// A signature that can be read. Nothing of what it says is known to be so before [`Self::check`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    statement: Statement,
    line: String,
}

/// Why a signature is not enough. Completes a sentence about the component.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// It is something else, or damaged.
    #[error("its signature is not the one line that `comptoir sign` writes")]
    Unreadable,
    /// Nobody knows the key.
    #[error("it is signed with the key {0}, which is none of `signers`")]
    UnknownKey(PublicKey),
    /// Another key made it, or it was changed since.
    #[error("its signature was not made with the key {0}, or was changed since")]
    Forged(PublicKey),
    /// It belongs to another file.
    #[error("its signature is for a file of another sha256, {0}")]
    OtherFile(String),
    /// It belongs to another service.
    #[error("its signature is for the service `{0}`")]
    OtherService(String),
    /// It was good once.
    #[error("its signature expired at {0}")]
    Expired(Date),
}

/// Seconds since 1970-01-01 UTC, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date(u64);

impl SigningKey {
    /// Makes a key in a new file, its owner's alone.
    ///
    /// # Errors
    /// `KeyFileError`, also where the file is there already.
    pub fn make(file: &Path) -> Result<Self, KeyFileError> {
        if file.exists() {
            return Err(KeyFileError::Exists { path: file.to_owned() });
        }
        Key::open(file).map(|key| Self::of(&key))
    }

    /// The key in a file.
    ///
    /// # Errors
    /// `KeyFileError`, also where there is none.
    pub fn read(file: &Path) -> Result<Self, KeyFileError> {
        Key::read(file).map(|key| Self::of(&key))
    }

    fn of(key: &Key) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(key.bytes()).expect("a seed is any 32 bytes"))
    }

    /// What others know it by.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.public_key().as_ref().try_into().expect("an Ed25519 public key has 32 bytes"))
    }

    /// Signs that a file of this SHA-256 is meant for a service. `expires` is in seconds since 1970-01-01 UTC.
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
    /// Reads the line of a signature. Space around it does not count.
    ///
    /// # Errors
    /// `Unreadable`.
    pub fn read(line: &str) -> Result<Self, SignatureError> {
        let line = line.trim();
        let statement = split(line).and_then(|(text, _)| serde_json::from_str(text).ok());
        let statement = statement.ok_or(SignatureError::Unreadable)?;
        Ok(Self { statement, line: line.to_owned() })
    }

    /// What it says.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// It, as it is written.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// Whether one of these keys signed that this file is meant for this service. Whether that is over is not asked.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self, signers: &[PublicKey], service: &str, sha256: &str) -> Result<(), SignatureError> {
        let Statement { key, service: meant, sha256: signed, .. } = &self.statement;
        if !signers.contains(key) {
            return Err(SignatureError::UnknownKey(*key));
        }
        let (text, bytes) = split(&self.line).ok_or(SignatureError::Unreadable)?;
        let fits = UnparsedPublicKey::new(&ED25519, key.0).verify(text.as_bytes(), &bytes);
        fits.map_err(|_| SignatureError::Forged(*key))?;
        if meant != service {
            return Err(SignatureError::OtherService(meant.clone()));
        }
        if signed != sha256 {
            return Err(SignatureError::OtherFile(signed.clone()));
        }
        Ok(())
    }

    /// Whether it is good at a moment, in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// `Expired`.
    pub fn check_time(&self, now: u64) -> Result<(), SignatureError> {
        let expires = self.statement.expires;
        if now < expires { Ok(()) } else { Err(SignatureError::Expired(Date(expires))) }
    }
}

/// Where the signature of a component's file lies: beside it, with `.sig` behind its name.
pub fn beside(component: &Path) -> PathBuf {
    let mut path = OsString::from(component);
    path.push(".sig");
    path.into()
}

/// The statement of a line, and the bytes behind it.
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
