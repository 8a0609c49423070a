//! The operator's own login, for the host and its command line.

use kit::{Failure, storage};
use serde::Serialize;

use crate::host::{self, Event};
use crate::model::password::{self, Password};
use crate::model::registration::OPERATOR;
use crate::rows::logins;
use crate::session;

/// What the host asks before it listens where others can reach it.
#[derive(Debug, Serialize)]
pub(crate) struct Operator {
    username: &'static str,
    /// Whether the password is the one that everybody knows.
    development: bool,
}

/// The operator's login as it is.
pub(crate) fn operator() -> Result<Operator, Failure> {
    Ok(Operator { username: OPERATOR, development: logins::operator_is_seeded()? })
}

/// Gives the operator a password of their own, and ends the sessions that the old one began.
///
/// # Errors
/// 400 `PASSWORD_REFUSED` for one that the policy refuses; 409 or 503 if the profile cannot be made. It may be called again.
pub(crate) fn set_password(password: &Password<'_>) -> Result<Operator, Failure> {
    password::check(password, OPERATOR, host::minimum_length())
        .map_err(|refused| Failure::bad_request("PASSWORD_REFUSED", refused.to_string()))?;
    let hash = host::hash(password.prepared())?;
    let tx = storage::begin()?;
    let login_id = logins::set_operator_hash(&tx, &hash, host::now_ms())?;
    tx.commit()?;
    host::tell(Event::AuthnPasswordChange, OPERATOR);
    // From here on nobody begins a session with the old password, so these are the last.
    session::end_all(login_id)?;
    operator()
}

/// Ends a login and all of its sessions, or finds that there is none. May be called again after it broke off.
///
/// # Errors
/// 503 when it broke off: the login lets nobody in any more, but its name is not free yet.
pub(crate) fn end_login(username: &str) -> Result<(), Failure> {
    let Some(login_id) = logins::begin_ending(username)? else {
        return Ok(());
    };
    session::end_all(login_id)?;
    Ok(logins::delete_ended(login_id)?)
}
