//! The signing key: its file, its name, and the two things it does.
//!
//! The bytes are read into a buffer that is cleared again; what stays is in `jsonwebtoken`'s key types, which clear
//! themselves on drop and hide themselves in `Debug`.

use std::fmt::{self, Write as _};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, crypto};
use sha2::{Digest, Sha256};

use super::TokensError;

/// The only algorithm (RFC 7518 section 3.2). A 32-byte key is what it asks for.
const ALGORITHM: Algorithm = Algorithm::HS256;
const KEY_BYTES: usize = 32;

/// Sets the name of a key apart from every other hash of it.
const ID_LABEL: &[u8] = b"comptoir signing key id\0";

/// The key of this installation, ready to sign and verify.
pub(super) struct SigningKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
    id: String,
    /// The encoded protected header and the dot after it: how every token of this host begins.
    prefix: String,
}

impl SigningKey {
    /// Reads `signing.key` in a folder, after making it if it is not there. Nothing else in the folder is read.
    pub(super) fn open(folder: &Path) -> Result<SigningKey, TokensError> {
        let path = folder.join("signing.key");
        if !path.exists() {
            make(folder, &path)?;
        }
        let mut bytes = read(&path)?;
        let key = SigningKey::new(&bytes);
        bytes.fill(0);
        std::hint::black_box(&bytes);
        Ok(key)
    }

    fn new(bytes: &[u8; KEY_BYTES]) -> SigningKey {
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
            id,
        }
    }

    pub(super) fn id(&self) -> &str {
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

/// Makes a key file. It is there with its whole content or not at all, also after a power cut.
///
/// Two hosts that start at once in one folder end up with the same key: the temporary file is the lock, and whoever
/// gets it second finds the key in place.
fn make(folder: &Path, path: &Path) -> Result<(), TokensError> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes).map_err(TokensError::Randomness)?;
    let written = write_once(folder, path, &bytes);
    bytes.fill(0);
    std::hint::black_box(&bytes);
    written.map_err(|source| TokensError::Io { path: path.to_owned(), source })
}

fn write_once(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("key.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&temporary)?;
    file.lock()?;
    if path.exists() {
        // The name is gone if it was this very file that became the key.
        return fs::remove_file(&temporary).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        });
    }
    file.set_len(0)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(folder)?.sync_all()
}

fn read(path: &Path) -> Result<[u8; KEY_BYTES], TokensError> {
    let failed = |source| TokensError::Io { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(TokensError::KeyExposed { path: path.to_owned(), mode });
    }
    if !metadata.is_file() || metadata.len() != KEY_BYTES as u64 {
        return Err(TokensError::KeyMalformed { path: path.to_owned() });
    }
    let mut bytes = [0; KEY_BYTES];
    file.read_exact(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
