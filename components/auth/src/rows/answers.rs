//! Registrations that came with an Idempotency-Key, and what they were answered.

use kit::storage::{Reads, Result, Transaction};
use kit::{IdempotencyKey, params};

use crate::model::registration::{Known, Once};

/// What a key stands for, if anything. An answer from further in the future than it would be kept counts as forgotten: the clock
/// was set back.
pub(crate) fn find(from: &impl Reads, once: &Once<'_>, now: i64) -> Result<Option<Known>> {
    let sql = "SELECT fingerprint, answer FROM answers WHERE key = $1 AND given_at > $2 AND given_at < $3";
    let rows = from.query(sql, params![once.key, now - KEPT_MS, now + KEPT_MS])?;
    rows.first().map(|row| Ok(Known { fingerprint: row.at(0)?, answer: row.at(1)? })).transpose()
}

/// Keeps a key for a registration that begins, and forgets some of the old ones: more than one adds, so it keeps up. A registration
/// that is taken over has the key of the request that took it over, so a login has one.
pub(crate) fn begin(tx: &Transaction, once: &Once<'_>, registration: &str, now: i64) -> Result<()> {
    tx.execute(
        "DELETE FROM answers WHERE key IN (SELECT key FROM answers WHERE registration = $1 LIMIT 20)",
        params![registration],
    )?;
    tx.execute(
        "DELETE FROM answers WHERE key IN (SELECT key FROM answers WHERE given_at <= $1 LIMIT 20)",
        params![now - KEPT_MS],
    )?;
    tx.execute(
        "INSERT INTO answers (key, registration, fingerprint, given_at) VALUES ($1, $2, $3, $4)
         ON CONFLICT (key) DO UPDATE
         SET registration = excluded.registration, fingerprint = excluded.fingerprint, answer = NULL,
             given_at = excluded.given_at",
        params![once.key, registration, once.fingerprint.as_str(), now],
    )?;
    Ok(())
}

/// Keeps what a registration was answered.
pub(crate) fn give(tx: &Transaction, once: &Once<'_>, registration: &str, answer: &[u8], now: i64) -> Result<()> {
    tx.execute(
        "UPDATE answers SET answer = $3, given_at = $4 WHERE key = $1 AND registration = $2",
        params![once.key, registration, &*String::from_utf8_lossy(answer), now],
    )?;
    Ok(())
}

const KEPT_MS: i64 = IdempotencyKey::KEPT_SECONDS * 1000;
