//! The operator's own login, for the host and its command line.

#[cfg(not(test))]
use kit::peer;
use kit::{Failure, Method, storage};
use serde::Serialize;

use crate::host::{self, Event};
use crate::model::password::{self, Password};
use crate::model::registration::OPERATOR;
use crate::register::USER;
use crate::rows::logins;
use crate::session;
#[cfg(test)]
use crate::stand_in::peer;

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

/// Gives the operator a password of their own, and ends the sessions that the old one began. Makes the operator's login and
/// profile again if they were deleted.
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
    restore_profile()?;
    operator()
}

/// Has user make the operator's profile if there is none.
fn restore_profile() -> Result<(), Failure> {
    match peer::call(USER, Method::Put, "/internal/operator", None)? {
        (200 | 201, _) => Ok(()),
        (409, _) => Err(Failure::conflict(
            "USERNAME_TAKEN",
            "The operator has the new password but no profile, because another profile has a name that looks alike. Start \
             without a new password, log in and delete that profile.",
        )),
        (status, _) => {
            eprintln!("{USER} answered {status} when asked for the operator's profile");
            Err(Failure::unavailable("SERVICE_BUSY", "The operator's profile could not be made just now.", 1))
        }
    }
}

/// Ends a login and all of its sessions, or finds that there is none. May be called again after it broke off.
///
/// # Errors
/// 409 `LAST_ADMIN` if no other administrator could log in afterwards. 503 when it broke off: the login lets nobody in any more,
/// but its name is not free yet.
pub(crate) fn end_login(username: &str) -> Result<(), Failure> {
    let tx = storage::begin()?;
    // Looked at with the writer held, so of two administrators who delete each other one stays.
    if logins::is_last_admin(&tx, username)? {
        return Err(Failure::conflict("LAST_ADMIN", "This is the last administrator who can log in."));
    }
    let ending = logins::begin_ending(&tx, username)?;
    tx.commit()?;
    let Some(login_id) = ending else { return Ok(()) };
    session::end_all(login_id)?;
    Ok(logins::delete_ended(login_id)?)
}
