//! SHA-256 digests, which name components.

use sha2::{Digest as _, Sha256};

/// The SHA-256 of these bytes in hexadecimal: 64 lower-case digits.
pub(super) fn sha256(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal, in lower case.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
