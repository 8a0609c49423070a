//! Sessions and their refresh tokens.
//!
//! A session has the rows of its newest refresh token and of the one before. Those of before families have one for each refresh,
//! until it expires: so what deletes a session does it in batches.

use kit::params;
use kit::storage::{Reads, Result, Rows, Transaction, begin, execute, in_batches, query};

use crate::model::rotation::Presented;

/// Sessions of one login that are read at once. No login has as many.
pub(crate) const MOST_SESSIONS: usize = 2_000;

/// Tokens that a login or a refresh deletes of one session that expired.
const TIDIED_TOKENS: u32 = 100;

/// A refresh token to be stored, by its digests alone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewToken<'a> {
    pub(crate) session: &'a str,
    pub(crate) digest: &'a str,
    /// Of what all tokens of the session have in common.
    pub(crate) family_digest: &'a str,
    pub(crate) generation: i64,
    pub(crate) issued_at: i64,
    pub(crate) expires_at: i64,
}

/// A refresh token that was presented, and whose it is.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) session: String,
    pub(crate) username: String,
    pub(crate) role: String,
    pub(crate) token: Presented,
}

/// A session as it is stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) id: String,
    pub(crate) created_at: i64,
    /// When its newest refresh token was issued.
    pub(crate) refreshed_at: i64,
    pub(crate) expires_at: i64,
}

/// Opens a session with its first refresh token.
pub(crate) fn open(tx: &Transaction, login_id: i64, first: NewToken<'_>) -> Result<()> {
    tx.execute(
        "INSERT INTO sessions (id, login_id, created_at, generation, expires_at, family) VALUES ($1, $2, $3, $4, $5, $6)",
        params![first.session, login_id, first.issued_at, first.generation, first.expires_at, first.family_digest],
    )?;
    insert_token(tx, first)
}

/// The refresh token of a digest, if its login is active.
pub(crate) fn find_token(digest: &str) -> Result<Option<Found>> {
    let rows = query(
        "SELECT s.id, l.username, l.role, t.generation, s.generation, t.used_at, t.expires_at
         FROM refresh_tokens t
         JOIN sessions s ON s.id = t.session_id
         JOIN logins l ON l.id = s.login_id
         WHERE t.digest = $1 AND l.state = 'active'",
        params![digest],
    )?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Found {
        session: row.at(0)?,
        username: row.at(1)?,
        role: row.at(2)?,
        token: Presented {
            generation: row.at(3)?,
            newest_generation: row.at(4)?,
            used_at: row.at(5)?,
            expires_at: row.at(6)?,
        },
    }))
}

/// Whose the session is that has tokens of this family, if it has not expired and its login is active.
pub(crate) fn owner_of_family(session: &str, family_digest: &str, now: i64) -> Result<Option<String>> {
    let rows = query(
        "SELECT l.username FROM sessions s JOIN logins l ON l.id = s.login_id
         WHERE s.id = $1 AND s.family = $2 AND s.expires_at > $3 AND l.state = 'active'",
        params![session, family_digest, now],
    )?;
    rows.first().map(|row| row.at(0)).transpose()
}

/// Exchanges a token for its successor, and forgets the one before: its family tells that it is older. False if somebody else
/// exchanged it, or the session is gone.
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

/// The sessions of a login, [`MOST_SESSIONS`] at the most.
pub(crate) fn of_login(login_id: i64) -> Result<Vec<String>> {
    ids(&query("SELECT id FROM sessions WHERE login_id = $1 LIMIT $2", params![login_id, MOST_SESSIONS as i64])?)
}

/// The login that has this session.
pub(crate) fn login_of(session: &str) -> Result<Option<i64>> {
    query("SELECT login_id FROM sessions WHERE id = $1", params![session])?.first().map(|row| row.at(0)).transpose()
}

/// The newest sessions of the login that has this one, newest first, of those that expire later than an instant.
pub(crate) fn beside(session: &str, later_than: i64, limit: u32) -> Result<Vec<Stored>> {
    let rows = query(
        "SELECT s.id, s.created_at, t.issued_at, s.expires_at
         FROM sessions own
         JOIN sessions s ON s.login_id = own.login_id
         JOIN refresh_tokens t ON t.session_id = s.id AND t.generation = s.generation
         WHERE own.id = $1 AND s.expires_at > $2
         ORDER BY s.created_at DESC, s.id DESC
         LIMIT $3",
        params![session, later_than, limit],
    )?;
    let read = rows.iter().map(|row| {
        Ok(Stored { id: row.at(0)?, created_at: row.at(1)?, refreshed_at: row.at(2)?, expires_at: row.at(3)? })
    });
    read.collect()
}

/// Whether two sessions are there and the same login's.
pub(crate) fn are_of_one_login(session: &str, other: &str) -> Result<bool> {
    let sql = "SELECT 1 FROM sessions a JOIN sessions b ON b.login_id = a.login_id WHERE a.id = $1 AND b.id = $2";
    Ok(!query(sql, params![session, other])?.is_empty())
}

/// The sessions of a login beyond the newest so many. A few at a time: each login ends those that it makes too many.
pub(crate) fn surplus(tx: &Transaction, login_id: i64, keep: u32) -> Result<Vec<String>> {
    let sql = "SELECT id FROM sessions WHERE login_id = $1 ORDER BY created_at DESC, id DESC LIMIT 10 OFFSET $2";
    ids(&tx.query(sql, params![login_id, keep])?)
}

/// Deletes sessions with their refresh tokens, in batches: each is kept, also when a later one fails. False if there is more to
/// delete than one request should.
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

/// Leaves a session to [`tidy`]: it is as if it had expired.
pub(crate) fn expire(session: &str) -> Result<()> {
    execute("UPDATE sessions SET expires_at = 0 WHERE id = $1", params![session])?;
    Ok(())
}

/// Deletes some of the tokens and sessions that expired: more than are made at once, so it keeps up.
pub(crate) fn tidy(tx: &Transaction, now: i64) -> Result<()> {
    tx.execute(
        "DELETE FROM refresh_tokens
         WHERE digest IN (SELECT digest FROM refresh_tokens WHERE expires_at <= $1 LIMIT 20)",
        params![now],
    )?;
    let sql = "SELECT id FROM sessions WHERE expires_at <= $1 ORDER BY expires_at LIMIT 5";
    for session in ids(&tx.query(sql, params![now])?)? {
        delete_some(tx, &session, TIDIED_TOKENS)?;
    }
    Ok(())
}

/// Deletes so many tokens of a session at the most, and the session with the last of them. Gives how many rows went, or none if the
/// session is still there.
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

fn ids(rows: &Rows) -> Result<Vec<String>> {
    rows.iter().map(|row| row.at(0)).collect()
}
