//! Sessions and their refresh tokens.
//!
//! A session has two token rows: the newest refresh token and its parent. Sessions from versions without families have a row
//! for each refresh in the last 30 days. So sessions are deleted in batches.

use kit::params;
use kit::storage::{Result, Transaction, begin, execute, in_batches, query};
use serde::Deserialize;

use crate::model::rotation::Presented;

/// Maximum number of sessions of one login that a query reads. More than a login keeps open.
pub(crate) const MOST_SESSIONS: usize = 2_000;

/// How many tokens of one expired session a login or a refresh deletes.
const TIDIED_TOKENS: u32 = 100;

/// A refresh token to store. Only digests, never the token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewToken<'a> {
    pub(crate) session: &'a str,
    pub(crate) digest: &'a str,
    /// Digest of the family, which all tokens of the session share.
    pub(crate) family_digest: &'a str,
    pub(crate) generation: i64,
    pub(crate) issued_at: i64,
    pub(crate) expires_at: i64,
}

/// A stored refresh token with its session and owner.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) session: String,
    pub(crate) username: String,
    pub(crate) role: String,
    pub(crate) token: Presented,
}

/// A session as it is stored.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) created_at: i64,
    /// When auth issued its newest refresh token.
    pub(crate) refreshed_at: i64,
    pub(crate) expires_at: i64,
}

/// Stores a session with its first refresh token.
pub(crate) fn open(tx: &Transaction, login_id: i64, first: NewToken<'_>) -> Result<()> {
    tx.execute(
        "INSERT INTO sessions (id, login_id, created_at, generation, expires_at, family) VALUES ($1, $2, $3, $4, $5, $6)",
        params![first.session, login_id, first.issued_at, first.generation, first.expires_at, first.family_digest],
    )?;
    insert_token(tx, first)
}

/// The refresh token with this digest. None if its login is not active.
pub(crate) fn find_token(digest: &str) -> Result<Option<Found>> {
    let rows = query(
        "SELECT s.id, l.username, l.role, t.generation, s.generation, t.used_at, t.expires_at
         FROM refresh_tokens t
         JOIN sessions s ON s.id = t.session_id
         JOIN logins l ON l.id = s.login_id
         WHERE t.digest = $1 AND l.state = 'active'",
        params![digest],
    )?;
    let found = rows.one()?.map(|(session, username, role, generation, newest_generation, used_at, expires_at)| {
        let token = Presented { generation, newest_generation, used_at, expires_at };
        Found { session, username, role, token }
    });
    Ok(found)
}

/// The username of the session with this family. None if the session has expired or its login is not active.
pub(crate) fn owner_of_family(session: &str, family_digest: &str, now: i64) -> Result<Option<String>> {
    let rows = query(
        "SELECT l.username FROM sessions s JOIN logins l ON l.id = s.login_id
         WHERE s.id = $1 AND s.family = $2 AND s.expires_at > $3 AND l.state = 'active'",
        params![session, family_digest, now],
    )?;
    rows.one()
}

/// Exchanges a token for its successor. False if another request did that first, or if the session is gone.
///
/// Deletes the parent of the exchanged token. If that comes back, its family shows that it is old.
pub(crate) fn rotate(tx: &Transaction, digest: &str, successor: NewToken<'_>) -> Result<bool> {
    let used = tx.execute(
        "UPDATE refresh_tokens SET used_at = $2 WHERE digest = $1 AND used_at IS NULL",
        params![digest, successor.issued_at],
    )?;
    if used != 1 {
        return Ok(false);
    }
    tx.execute(
        "UPDATE sessions SET generation = $2, expires_at = $3, family = $4 WHERE id = $1",
        params![successor.session, successor.generation, successor.expires_at, successor.family_digest],
    )?;
    insert_token(tx, successor)?;
    tx.execute(
        "DELETE FROM refresh_tokens WHERE session_id = $1 AND generation = $2 AND of_family = 1",
        params![successor.session, successor.generation - 2],
    )?;
    Ok(true)
}

/// The session ids of a login, at most [`MOST_SESSIONS`].
pub(crate) fn of_login(login_id: i64) -> Result<Vec<String>> {
    query("SELECT id FROM sessions WHERE login_id = $1 LIMIT $2", params![login_id, MOST_SESSIONS as i64])?.all()
}

/// The login id of a session.
pub(crate) fn login_of(session: &str) -> Result<Option<i64>> {
    query("SELECT login_id FROM sessions WHERE id = $1", params![session])?.one()
}

/// The sessions of the login that owns `session`, newest first, without those that expired by `later_than`.
pub(crate) fn beside(session: &str, later_than: i64, limit: u32) -> Result<Vec<Stored>> {
    query(
        "SELECT s.id, s.created_at, t.issued_at AS refreshed_at, s.expires_at
         FROM sessions own
         JOIN sessions s ON s.login_id = own.login_id
         JOIN refresh_tokens t ON t.session_id = s.id AND t.generation = s.generation
         WHERE own.id = $1 AND s.expires_at > $2
         ORDER BY s.created_at DESC, s.id DESC
         LIMIT $3",
        params![session, later_than, limit],
    )?
    .all()
}

/// Whether two sessions exist and belong to the same login.
pub(crate) fn are_of_one_login(session: &str, other: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM sessions a JOIN sessions b ON b.login_id = a.login_id WHERE a.id = $1 AND b.id = $2";
    Ok(!query(sql, params![session, other])?.is_empty())
}

/// Up to ten sessions of a login beyond the newest `keep`. Each new session ends those that exceed the maximum.
pub(crate) fn surplus(tx: &Transaction, login_id: i64, keep: u32) -> Result<Vec<String>> {
    let sql = "SELECT id FROM sessions WHERE login_id = $1 ORDER BY created_at DESC, id DESC LIMIT 10 OFFSET $2";
    tx.query(sql, params![login_id, keep])?.all()
}

/// Deletes sessions with their refresh tokens, in batches.
///
/// A committed batch stays deleted if a later one fails. False if one request cannot delete all rows.
pub(crate) fn delete(sessions: &[String]) -> Result<bool> {
    let mut left = sessions;
    in_batches(|rows| {
        let tx = begin()?;
        let (mut after, mut rows) = (left, rows);
        while let [session, rest @ ..] = after
            && rows > 0
        {
            let Some(deleted) = delete_some(&tx, session, rows)? else { break };
            (after, rows) = (rest, rows.saturating_sub(deleted));
        }
        tx.commit()?;
        left = after;
        Ok(left.is_empty())
    })
}

/// Marks a session as expired, so that [`tidy`] deletes its rows.
pub(crate) fn expire(session: &str) -> Result<()> {
    execute("UPDATE sessions SET expires_at = 0 WHERE id = $1", params![session])?;
    Ok(())
}

/// Deletes some expired tokens and sessions: more than one request creates, so the tables stay small.
pub(crate) fn tidy(tx: &Transaction, now: i64) -> Result<()> {
    tx.execute(
        "DELETE FROM refresh_tokens
         WHERE digest IN (SELECT digest FROM refresh_tokens WHERE expires_at <= $1 LIMIT 20)",
        params![now],
    )?;
    let sql = "SELECT id FROM sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT 5";
    for session in tx.query(sql, params![now])?.all::<String>()? {
        delete_some(tx, &session, TIDIED_TOKENS)?;
    }
    Ok(())
}

/// Deletes up to `tokens` refresh tokens of a session, and the session itself after its last token.
///
/// Returns the number of deleted rows, or None if the session still has tokens.
fn delete_some(tx: &Transaction, session: &str, tokens: u32) -> Result<Option<u32>> {
    let deleted = tx.execute(
        "DELETE FROM refresh_tokens
         WHERE digest IN (SELECT digest FROM refresh_tokens WHERE session_id = $1 LIMIT $2)",
        params![session, tokens],
    )?;
    if deleted >= u64::from(tokens) {
        return Ok(None);
    }
    tx.execute("DELETE FROM sessions WHERE id = $1", params![session])?;
    Ok(Some(u32::try_from(deleted).unwrap_or(tokens) + 1))
}

fn insert_token(tx: &Transaction, token: NewToken<'_>) -> Result<()> {
    tx.execute(
        "INSERT INTO refresh_tokens (digest, session_id, generation, issued_at, expires_at, of_family)
         VALUES ($1, $2, $3, $4, $5, 1)",
        params![token.digest, token.session, token.generation, token.issued_at, token.expires_at],
    )?;
    Ok(())
}
