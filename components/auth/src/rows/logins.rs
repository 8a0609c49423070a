//! Logins: usernames, password hashes and roles.

use kit::params;
use kit::storage::{Reads, Result, Transaction, execute, query};
use serde::Deserialize;
use username::Username;

use crate::model::registration::{Holder, OPERATOR};

/// An active login.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Login {
    pub(crate) id: i64,
    pub(crate) username: String,
    pub(crate) role: String,
    pub(crate) password_hash: String,
    password_version: i64,
}

/// A username claimed by a registration. `claimed_at` changes when another request takes the claim over.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) registration: String,
    pub(crate) claimed_at: i64,
}

/// The active login with a username key.
pub(crate) fn active(from: &impl Reads, name_key: &str) -> Result<Option<Login>> {
    let rows = from.query(
        "SELECT id, username, role, password_hash, password_version FROM logins
         WHERE name_key = $1 AND state = 'active'",
        params![name_key],
    )?;
    rows.one()
}

/// Whether a login is still active with the same password. Also stores a better hash of that password, if given.
pub(crate) fn confirm(tx: &Transaction, login: &Login, better_hash: Option<&str>) -> Result<bool> {
    let confirmed = tx.execute(
        "UPDATE logins SET password_hash = coalesce($3, password_hash)
         WHERE id = $1 AND password_version = $2 AND state = 'active'",
        params![login.id, login.password_version, better_hash],
    )?;
    Ok(confirmed == 1)
}

/// The login or claim with this name.
pub(crate) fn holder(from: &impl Reads, name: &Username) -> Result<Option<Holder>> {
    let sql = "SELECT CASE state WHEN 'pending' THEN 1 ELSE 0 END AS pending, claimed_at, registration
               FROM logins WHERE name_key = $1";
    from.query(sql, params![name.key()])?.one()
}

/// Claims a free name.
pub(crate) fn claim(tx: &Transaction, name: &Username, claim: &Claim) -> Result<()> {
    tx.execute(
        "INSERT INTO logins (username, name_key, role, state, registration, claimed_at, development)
         VALUES ($1, $2, 'user', 'pending', $3, $4, 0)",
        params![name.as_str(), name.key(), claim.registration.as_str(), claim.claimed_at],
    )?;
    Ok(())
}

/// Takes over a registration's claim, with the new spelling of the name.
pub(crate) fn take_over(tx: &Transaction, name: &Username, claim: &Claim) -> Result<()> {
    tx.execute(
        "UPDATE logins SET username = $1, claimed_at = $2 WHERE registration = $3 AND state = 'pending'",
        params![name.as_str(), claim.claimed_at, claim.registration.as_str()],
    )?;
    Ok(())
}

/// Turns a claim into an active login. False if the claim is gone.
pub(crate) fn activate(tx: &Transaction, claim: &Claim, password_hash: &str) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE logins SET state = 'active', password_hash = $3
         WHERE registration = $1 AND claimed_at = $2 AND state = 'pending'",
        params![claim.registration.as_str(), claim.claimed_at, password_hash],
    )?;
    Ok(changed == 1)
}

/// Deletes a claim, which frees the name.
pub(crate) fn drop_claim(claim: &Claim) -> Result<()> {
    execute(
        "DELETE FROM logins WHERE registration = $1 AND claimed_at = $2 AND state = 'pending'",
        params![claim.registration.as_str(), claim.claimed_at],
    )?;
    Ok(())
}

/// Makes a claim old, so the next registration of the name takes it over. Its profile may exist already.
pub(crate) fn release_claim(claim: &Claim) -> Result<()> {
    execute(
        "UPDATE logins SET claimed_at = 0 WHERE registration = $1 AND claimed_at = $2 AND state = 'pending'",
        params![claim.registration.as_str(), claim.claimed_at],
    )?;
    Ok(())
}

/// Changes a login's password. False if the login is no longer active or its password has changed since it was read.
pub(crate) fn set_password(tx: &Transaction, login: &Login, password_hash: &str) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE logins SET password_hash = $3, password_version = password_version + 1, development = 0
         WHERE id = $1 AND password_version = $2 AND state = 'active'",
        params![login.id, login.password_version, password_hash],
    )?;
    Ok(changed == 1)
}

/// Whether the login with exactly this name is the only active administrator.
pub(crate) fn is_last_admin(tx: &Transaction, username: &str) -> Result<bool> {
    let rows = tx.query(
        "SELECT 1 FROM logins
         WHERE username = $1 AND role = 'admin' AND state = 'active' AND NOT EXISTS (
             SELECT 1 FROM logins other WHERE other.role = 'admin' AND other.state = 'active' AND other.username <> $1
         )",
        params![username],
    )?;
    Ok(!rows.is_empty())
}

/// Deactivates a login or a claim before its sessions end. Returns its id, or None if no login has exactly this name.
pub(crate) fn begin_ending(tx: &Transaction, username: &str) -> Result<Option<i64>> {
    tx.execute("UPDATE logins SET state = 'ending' WHERE username = $1", params![username])?;
    tx.query("SELECT id FROM logins WHERE username = $1 AND state = 'ending'", params![username])?.one()
}

/// Deletes a deactivated login, with the remaining rows of its sessions.
pub(crate) fn delete_ended(id: i64) -> Result<()> {
    execute("DELETE FROM logins WHERE id = $1 AND state = 'ending'", params![id])?;
    Ok(())
}

/// Whether the operator still has the seeded password.
pub(crate) fn operator_is_seeded() -> Result<bool> {
    let sql = "SELECT 1 FROM logins WHERE username = $1 AND role = 'admin' AND development = 1";
    Ok(!query(sql, params![OPERATOR])?.is_empty())
}

/// Sets the operator's password hash. Creates the login again if it was deleted. Returns its id.
pub(crate) fn set_operator_hash(tx: &Transaction, password_hash: &str, now: i64) -> Result<i64> {
    tx.execute(
        "INSERT INTO logins (username, name_key, password_hash, role, state, registration, claimed_at, development)
         VALUES ($1, $1, $2, 'admin', 'active', 'operator', $3, 0)
         ON CONFLICT (name_key) DO UPDATE
         SET password_hash = excluded.password_hash, password_version = logins.password_version + 1,
             role = 'admin', state = 'active', development = 0",
        params![OPERATOR, password_hash, now],
    )?;
    Ok(tx.query("SELECT id FROM logins WHERE username = $1", params![OPERATOR])?.one()?.unwrap_or(0))
}
