//! Idempotency keys of registrations, with the responses. They are rows of the table `answers`.

use kit::storage::{Reads, Result, Transaction};
use kit::{IdempotencyKey, params};

use crate::model::registration::{KeyedRequest, StoredKey};

/// The registration that a key belongs to.
///
/// A row from more than a day in the future counts as expired, because the clock was set back.
pub(crate) fn find(from: &impl Reads, request: &KeyedRequest<'_>, now: i64) -> Result<Option<StoredKey>> {
    let sql = "SELECT fingerprint, answer AS response FROM answers WHERE key = $1 AND given_at > $2 AND given_at < $3";
    from.query(sql, params![request.key, now - KEPT_MS, now + KEPT_MS])?.one()
}

/// Stores the key of a registration that begins, without a response.
///
/// Deletes up to 20 expired keys, so the table stays small. A registration that takes over a claim replaces the claim's key:
/// a login has at most one.
pub(crate) fn begin(tx: &Transaction, request: &KeyedRequest<'_>, registration: &str, now: i64) -> Result<()> {
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
        params![request.key, registration, request.fingerprint.as_str(), now],
    )?;
    Ok(())
}

/// Stores the response to a registration that succeeded.
pub(crate) fn complete(
    tx: &Transaction,
    request: &KeyedRequest<'_>,
    registration: &str,
    body: &[u8],
    now: i64,
) -> Result<()> {
    tx.execute(
        "UPDATE answers SET answer = $3, given_at = $4 WHERE key = $1 AND registration = $2",
        params![request.key, registration, &*String::from_utf8_lossy(body), now],
    )?;
    Ok(())
}

const KEPT_MS: i64 = IdempotencyKey::KEPT_SECONDS * 1000;
