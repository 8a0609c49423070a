//! Logins: who may come in, and with which password.

use kit::params;
use kit::storage::{Reads, Result, Transaction, execute, query};
use username::Username;

use crate::model::registration::{Holder, OPERATOR};

/// A login that lets in.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) id: i64,
    pub(crate) username: String,
    pub(crate) role: String,
    pub(crate) password_hash: String,
    password_version: i64,
}

/// A name held for one registration. `claimed_at` tells it from a later one that took over.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) registration: String,
    pub(crate) claimed_at: i64,
}

/// The active login of a name.
pub(crate) fn active(from: &impl Reads, name_key: &str) -> Result<Option<Login>> {
    let rows = from.query(
        "SELECT id, username, role, password_hash, password_version FROM logins
         WHERE name_key = $1 AND state = 'active'",
        params![name_key],
    )?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Login {
        id: row.at(0)?,
        username: row.at(1)?,
        role: row.at(2)?,
        password_hash: row.at(3)?,
        password_version: row.at(4)?,
    }))
}

/// Says whether a login is still active with the password that was read, and gives that a better hash if there is one.
pub(crate) fn confirm(tx: &Transaction, login: &Login, better_hash: Option<&str>) -> Result<bool> {
    let confirmed = tx.execute(
        "UPDATE logins SET password_hash = coalesce($3, password_hash)
         WHERE id = $1 AND password_version = $2 AND state = 'active'",
        params![login.id, login.password_version, better_hash],
    )?;
    Ok(confirmed == 1)
}

/// Whoever has a name, or claims it.
pub(crate) fn holder(from: &impl Reads, name: &Username) -> Result<Option<Holder>> {
    let sql = "SELECT state, claimed_at, registration FROM logins WHERE name_key = $1";
    let rows = from.query(sql, params![name.key()])?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(Some(Holder { pending: row.at::<&str>(0)? == "pending", claimed_at: row.at(1)?, registration: row.at(2)? }))
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

/// Takes over the claim of the same registration, for the name as it is spelled now.
pub(crate) fn take_over(tx: &Transaction, name: &Username, claim: &Claim) -> Result<()> {
    tx.execute(
        "UPDATE logins SET username = $1, claimed_at = $2 WHERE registration = $3 AND state = 'pending'",
        params![name.as_str(), claim.claimed_at, claim.registration.as_str()],
    )?;
    Ok(())
}

/// Makes a claim a login. False if the claim is gone.
pub(crate) fn activate(tx: &Transaction, claim: &Claim, password_hash: &str) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE logins SET state = 'active', password_hash = $3
         WHERE registration = $1 AND claimed_at = $2 AND state = 'pending'",
        params![claim.registration.as_str(), claim.claimed_at, password_hash],
    )?;
    Ok(changed == 1)
}

/// Forgets a claim: the name is as free as before.
pub(crate) fn drop_claim(claim: &Claim) -> Result<()> {
    execute(
        "DELETE FROM logins WHERE registration = $1 AND claimed_at = $2 AND state = 'pending'",
        params![claim.registration.as_str(), claim.claimed_at],
    )?;
    Ok(())
}

/// Lets the next registration of the name take the claim over at once, with the profile that may be there already.
pub(crate) fn release_claim(claim: &Claim) -> Result<()> {
    execute(
        "UPDATE logins SET claimed_at = 0 WHERE registration = $1 AND claimed_at = $2 AND state = 'pending'",
        params![claim.registration.as_str(), claim.claimed_at],
    )?;
    Ok(())
}

/// Gives a login another password. False if it is not active any more, or its password was changed since it was read.
pub(crate) fn set_password(tx: &Transaction, login: &Login, password_hash: &str) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE logins SET password_hash = $3, password_version = password_version + 1, development = 0
         WHERE id = $1 AND password_version = $2 AND state = 'active'",
        params![login.id, login.password_version, password_hash],
    )?;
    Ok(changed == 1)
}

/// Whether the login of exactly this name is the only administrator's that lets in.
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

/// Bars a login, active or claimed, before its sessions are ended. None if there is none of exactly this name.
pub(crate) fn begin_ending(tx: &Transaction, username: &str) -> Result<Option<i64>> {
    tx.execute("UPDATE logins SET state = 'ending' WHERE username = $1", params![username])?;
    let rows = tx.query("SELECT id FROM logins WHERE username = $1 AND state = 'ending'", params![username])?;
    rows.first().map(|row| row.at(0)).transpose()
}

/// Deletes a login that was barred, with what is left of its sessions.
pub(crate) fn delete_ended(id: i64) -> Result<()> {
    execute("DELETE FROM logins WHERE id = $1 AND state = 'ending'", params![id])?;
    Ok(())
}

/// Whether the operator's password is still the seeded one.
pub(crate) fn operator_is_seeded() -> Result<bool> {
    let sql = "SELECT 1 FROM logins WHERE username = $1 AND role = 'admin' AND development = 1";
    Ok(!query(sql, params![OPERATOR])?.is_empty())
}

/// Gives the operator's login a password of their own, and makes it again if it was deleted. Gives its id.
pub(crate) fn set_operator_hash(tx: &Transaction, password_hash: &str, now: i64) -> Result<i64> {
    tx.execute(
        "INSERT INTO logins (username, name_key, password_hash, role, state, registration, claimed_at, development)
         VALUES ($1, $1, $2, 'admin', 'active', 'operator', $3, 0)
         ON CONFLICT (name_key) DO UPDATE
         SET password_hash = excluded.password_hash, password_version = logins.password_version + 1,
             role = 'admin', state = 'active', development = 0",
        params![OPERATOR, password_hash, now],
    )?;
    let rows = tx.query("SELECT id FROM logins WHERE username = $1", params![OPERATOR])?;
    rows.first().map_or(Ok(0), |row| row.at(0))
}
