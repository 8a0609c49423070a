//! The admin token, the operator's credential.

use std::fmt::{self, Debug, Formatter};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use storage::permissions;
use subtle::ConstantTimeEq as _;

/// The operator's credential. `Debug` does not show it.
pub struct AdminToken(String);

impl AdminToken {
    /// Reads the token from a file. If there is no file, makes one with 256 random bits and mode 0600.
    ///
    /// # Errors
    /// If other users may read the file, if it holds no token, or if it cannot be read or written.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        match fs::metadata(file) {
            Ok(metadata) => read(file, &metadata).map(Self),
            Err(_) => make(file).map(Self),
        }
    }

    /// Proves that this host knows the token: see [`proof`].
    pub fn proof(&self, nonce: &str, address: SocketAddr) -> String {
        proof(&self.0, nonce, address)
    }

    /// Whether a credential is the token. The time does not depend on where they differ.
    pub fn matches(&self, credential: &[u8]) -> bool {
        credential.ct_eq(self.0.as_bytes()).into()
    }
}

/// Begins what a proof authenticates, so that it is never valid for another purpose.
const PROOF: &[u8] = b"comptoir admin listener\0";

/// Proves that a host knows the admin token, without showing it: HMAC-SHA-256 (RFC 2104) over the client's nonce and the address of the
/// host's admin listener, in hexadecimal.
///
/// The address makes the proof useless to a program on another port that passes it on.
pub fn proof(token: &str, nonce: &str, address: SocketAddr) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(token.as_bytes()).expect("HMAC takes a key of any length");
    // The nonce contains no zero byte, so the parts are unambiguous.
    let mac = mac.chain_update(PROOF).chain_update(nonce).chain_update([0]).chain_update(address.to_string());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Debug for AdminToken {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str("AdminToken")
    }
}

fn read(file: &Path, metadata: &Metadata) -> anyhow::Result<String> {
    let shown = file.display();
    if let Some(mode) = permissions::exposed(metadata) {
        bail!("{shown} has mode {mode:03o}: only its owner may read the admin token, so set the mode to 600");
    }
    let token = fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?.trim().to_owned();
    if token.len() < 32 {
        bail!("{shown} contains no admin token: delete the file, and the next start makes a new one");
    }
    Ok(token)
}

fn make(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let mut secret = [0_u8; 32];
    getrandom::fill(&mut secret)
        .map_err(|error| anyhow::anyhow!("the system has no randomness for the admin token: {error}"))?;
    let token = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(secret);
    write(file, &token).with_context(|| format!("cannot write {shown}"))?;
    Ok(token)
}

/// Writes the file completely or not at all, even if the power fails.
fn write(file: &Path, token: &str) -> io::Result<()> {
    let partial = file.with_extension("token.new");
    let mut made = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    made.write_all(format!("{token}\n").as_bytes())?;
    made.sync_all()?;
    fs::rename(&partial, file)?;
    File::open(file.parent().unwrap_or(Path::new(".")))?.sync_all()
}
