//! Password hashes as text: parsing, verifying and creating them.
//!
//! Parsing never panics and allocates no more than the length of the text. It refuses every cost above a cap, because
//! an attacker who can write a database row could otherwise make the host compute for hours.

use std::cell::RefCell;
use std::num::NonZero;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Block, Params, PasswordHasher, Version};
use subtle::ConstantTimeEq;

use super::work::WorkFactor;

/// How many lanes a new hash has. One, because one thread computes it.
const LANES: u32 = 1;

/// How many lanes a stored Argon2id hash may have.
/// [`WorkFactor::MOST`] caps the rest of its cost.
const LANES_CAP: u32 = 4;

/// The highest cost of a stored scrypt hash.
/// RFC 7914, section 2, describes the parameters.
const SCRYPT_LOG_N_CAP: u32 = 17;
const SCRYPT_R_CAP: u32 = 16;
const SCRYPT_P_CAP: u32 = 4;
const SCRYPT_MEMORY_CAP_BYTES: u64 = 128 << 20;
const SCRYPT_KEY_BYTES: usize = 64;

/// The highest cost of a stored PBKDF2 hash.
const PBKDF2_ITERATIONS_CAP: u32 = 2_000_000;
const PBKDF2_KEY_BYTES: usize = 32;

/// The longest text that can be a hash, in bytes.
/// A scrypt hash of werkzeug has 162.
const HASH_LIMIT_BYTES: usize = 1024;

/// The result of verifying a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the password matches the hash.
    pub matches: bool,
    /// Whether the password matches, but the hash has an old format or a lower cost.
    /// If so, replace the hash.
    pub outdated: bool,
}

/// A hash of each kind, at the cost that databases usually have.
/// They measure the cost of a check. Nobody knows their passwords.
pub(super) fn references(work: WorkFactor) -> [String; 3] {
    let key = "0".repeat(2 * SCRYPT_KEY_BYTES);
    [
        decoy(work),
        format!("scrypt:32768:8:1$comptoirstandin0${key}"),
        format!("pbkdf2:sha256:600000$comptoirstandin0${}", &key[..2 * PBKDF2_KEY_BYTES]),
    ]
}

/// A hash to compute for an unknown name.
/// Nobody knows its password, and a match would not count.
fn decoy(work: WorkFactor) -> String {
    let WorkFactor { memory_kib, passes } = work;
    let (salt, key) = ("Y29tcHRvaXIgc3RhbmQtaW4", "A".repeat(43));
    format!("$argon2id$v=19$m={memory_kib},t={passes},p={LANES}${salt}${key}")
}

/// A parsed hash whose cost is within the caps.
pub(super) enum Stored<'a> {
    /// A missing, unreadable or too expensive hash.
    /// Verifying takes the work of a current hash and never matches.
    Absent,
    Argon2id(Box<PasswordHash>, Params),
    Scrypt {
        params: scrypt::Params,
        salt: &'a str,
        hex: &'a str,
    },
    Pbkdf2 {
        iterations: NonZero<u32>,
        salt: &'a str,
        hex: &'a str,
    },
}

impl<'a> Stored<'a> {
    /// Parses a hash.
    /// Returns [`Stored::Absent`] if it is missing, unreadable or above a cap.
    pub(super) fn read(hash: Option<&'a str>) -> Stored<'a> {
        let readable = hash.filter(|hash| hash.len() <= HASH_LIMIT_BYTES);
        readable.and_then(|hash| read_argon2id(hash).or_else(|| read_werkzeug(hash))).unwrap_or(Stored::Absent)
    }

    /// Whether verifying this hash costs as much as verifying a new one.
    pub(super) fn costs_as_new(&self, work: WorkFactor) -> bool {
        match self {
            Stored::Absent => true,
            Stored::Argon2id(_, params) => {
                (params.m_cost(), params.t_cost(), params.p_cost()) == (work.memory_kib, work.passes, LANES)
            }
            Stored::Scrypt { .. } | Stored::Pbkdf2 { .. } => false,
        }
    }

    /// Verifies a password and compares in constant time.
    /// `work` is the cost of a new hash; a cheaper hash is outdated.
    pub(super) fn check(&self, password: &[u8], work: WorkFactor) -> Verdict {
        let (matches, is_weak) = match self {
            Stored::Absent => {
                if let Some(decoy @ Stored::Argon2id(..)) = read_argon2id(&decoy(work)) {
                    std::hint::black_box(decoy.check(password, work));
                }
                (false, false)
            }
            Stored::Argon2id(hash, params) => {
                (is_argon2id_of(password, hash, params, work), is_weaker(hash, params, work))
            }
            Stored::Scrypt { params, salt, hex } => {
                let mut key = [0; SCRYPT_KEY_BYTES];
                let computed = scrypt::scrypt(password, salt.as_bytes(), params, &mut key).is_ok();
                (computed && is_hex_of(&key, hex), true)
            }
            Stored::Pbkdf2 { iterations, salt, hex } => {
                let mut key = [0; PBKDF2_KEY_BYTES];
                pbkdf2(password, salt.as_bytes(), *iterations, &mut key);
                (is_hex_of(&key, hex), true)
            }
        };
        Verdict { matches, outdated: matches && is_weak }
    }
}

/// Fills `key` by PBKDF2 with HMAC-SHA-256 (RFC 8018, section 5.2).
pub(super) fn pbkdf2(password: &[u8], salt: &[u8], iterations: NonZero<u32>, key: &mut [u8]) {
    ring::pbkdf2::derive(ring::pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password, key);
}

/// Hashes a password with Argon2id and a fresh salt of 16 bytes.
/// Returns a PHC string. The error is the cause, for the log.
pub(super) fn hash(password: &[u8], work: WorkFactor) -> Result<String, String> {
    let params = Params::new(work.memory_kib, work.passes, LANES, None).map_err(|error| error.to_string())?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password(password).map(|hash| hash.to_string()).map_err(|error| error.to_string())
}

/// Parses `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
fn read_argon2id(text: &str) -> Option<Stored<'static>> {
    let hash = PasswordHash::new(text).ok()?;
    let params = Params::try_from(&hash).ok()?;
    let WorkFactor { memory_kib, passes } = WorkFactor::MOST;
    let affordable = params.m_cost() <= memory_kib && params.t_cost() <= passes && params.p_cost() <= LANES_CAP;
    let complete = hash.algorithm.as_str() == "argon2id"
        && hash.version.is_none_or(|version| Version::try_from(version).is_ok())
        && hash.salt.as_ref().is_some_and(|salt| salt.len() >= argon2::MIN_SALT_LEN)
        && hash.hash.is_some();
    (affordable && complete).then(|| Stored::Argon2id(Box::new(hash), params))
}

/// Whether a hash is weaker than a new one.
/// It is if it has a lower cost, an older version, a shorter salt or a shorter output.
fn is_weaker(hash: &PasswordHash, params: &Params, work: WorkFactor) -> bool {
    params.m_cost() < work.memory_kib
        || params.t_cost() < work.passes
        || hash.version != Some(Version::V0x13.into())
        || hash.salt.as_ref().is_none_or(|salt| salt.len() < argon2::RECOMMENDED_SALT_LEN)
        || hash.hash.as_ref().is_none_or(|output| output.len() < Params::DEFAULT_OUTPUT_LEN)
}

thread_local! {
    /// The memory of a check, reused by the next check on the same thread.
    /// Taking and clearing fresh memory would add half of the computation's time.
    static BLOCKS: RefCell<Vec<Block>> = const { RefCell::new(Vec::new()) };
}

/// Whether a password matches an Argon2id hash. Compares in constant time.
fn is_argon2id_of(password: &[u8], hash: &PasswordHash, params: &Params, work: WorkFactor) -> bool {
    let version = hash.version.map_or(Ok(Version::default()), Version::try_from);
    let (Ok(version), Some(salt), Some(stored)) = (version, &hash.salt, &hash.hash) else { return false };
    let argon2 = Argon2::new(Algorithm::Argon2id, version, params.clone());
    let mut computed = vec![0; stored.len()];
    BLOCKS.with_borrow_mut(|blocks| {
        let needed = params.block_count();
        blocks.resize(needed.max(blocks.len()), Block::new());
        let done = argon2.hash_password_into_with_memory(password, salt, &mut computed, &mut blocks[..needed]).is_ok();
        // Give memory beyond the usual cost back to the system. A block has one KiB.
        blocks.truncate(work.memory_kib as usize);
        blocks.shrink_to_fit();
        done && bool::from(computed.ct_eq(stored.as_bytes()))
    })
}

/// Parses the two formats of werkzeug 3.
///
/// They are `scrypt:N:r:p$salt$hex` and `pbkdf2:sha256:iterations$salt$hex`.
///
/// The salt is used as text. Both algorithms use HMAC, which does not distinguish a key from the same key with zero bytes
/// appended (RFC 2104, section 2). So here, as in werkzeug, a password with appended NULs matches too, until the hash is
/// replaced.
fn read_werkzeug(text: &str) -> Option<Stored<'_>> {
    let (method, rest) = text.split_once('$')?;
    let (salt, hex) = rest.split_once('$')?;
    if salt.is_empty() {
        return None;
    }
    let mut method = method.split(':');
    let stored = match method.next()? {
        "scrypt" => {
            let (n, r, p) = (number(method.next()?)?, number(method.next()?)?, number(method.next()?)?);
            Stored::Scrypt { params: scrypt_params(n, r, p)?, salt, hex }
        }
        "pbkdf2" if method.next()? == "sha256" => {
            let iterations = NonZero::new(number(method.next()?)?)?;
            (iterations.get() <= PBKDF2_ITERATIONS_CAP).then_some(Stored::Pbkdf2 { iterations, salt, hex })?
        }
        _ => return None,
    };
    method.next().is_none().then_some(stored)
}

fn scrypt_params(n: u32, r: u32, p: u32) -> Option<scrypt::Params> {
    let log_n = n.checked_ilog2()?;
    let memory_bytes = 128 * u64::from(n) * u64::from(r);
    let affordable = n.is_power_of_two()
        && (1..=SCRYPT_LOG_N_CAP).contains(&log_n)
        && r <= SCRYPT_R_CAP
        && p <= SCRYPT_P_CAP
        && memory_bytes <= SCRYPT_MEMORY_CAP_BYTES;
    affordable.then(|| scrypt::Params::new(u8::try_from(log_n).ok()?, r, p).ok())?
}

/// Parses a number that has only digits: no sign, no leading zero.
fn number(text: &str) -> Option<u32> {
    (text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0')).then(|| text.parse().ok())?
}

/// Whether a text is these bytes in lower-case hexadecimal.
/// Compares in constant time.
fn is_hex_of(bytes: &[u8], hex: &str) -> bool {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let computed: Vec<u8> =
        bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| DIGITS[usize::from(digit)]).collect();
    computed.ct_eq(hex.as_bytes()).into()
}
