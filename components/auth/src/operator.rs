//! The operator's login, and the deletion of any login. The host, its command line and user call these.

use kit::{Failure, Method, peer, storage};
use serde::Serialize;

use crate::host::{self, Event};
use crate::model::password::{self, Password};
use crate::model::registration::OPERATOR;
use crate::register::USER;
use crate::rows::logins;
use crate::session;

/// State of the operator's login. The host reads it before it listens on a public address.
#[derive(Debug, Serialize)]
pub(crate) struct Operator {
    username: &'static str,
    /// Whether the login still has the seeded password, which everybody knows.
    development: bool,
}

/// Reads the state of the operator's login.
pub(crate) fn operator() -> Result<Operator, Failure> {
    Ok(Operator { username: OPERATOR, development: logins::operator_is_seeded()? })
}

/// Sets the operator's password and ends all of the operator's sessions.
///
/// Creates the operator's login and profile again if they were deleted. Can be repeated.
///
/// # Errors
/// 400 `PASSWORD_REFUSED` if the policy refuses the password. 409 or 503 if user cannot create the profile.
pub(crate) fn set_password(password: &Password<'_>) -> Result<Operator, Failure> {
    password::check(password, OPERATOR, host::minimum_length())
        .map_err(|refused| Failure::bad_request("PASSWORD_REFUSED", refused.to_string()))?;
    let hash = host::hash(password.prepared())?;
    let tx = storage::begin()?;
    let login_id = logins::set_operator_hash(&tx, &hash, host::now_ms())?;
    tx.commit()?;
    host::audit(Event::AuthnPasswordChange, OPERATOR);
    // After the commit, the old password opens no further session. So this ends all of them.
    session::end_all(login_id)?;
    restore_profile()?;
    operator()
}

/// Asks user to create the operator's profile if it is missing.
fn restore_profile() -> Result<(), Failure> {
    match peer::call(USER, Method::Put, "/internal/operator", None)? {
        (200 | 201, _) => Ok(()),
        (409, _) => Err(Failure::conflict(
            "USERNAME_TAKEN",
            "The operator's password was set, but the operator has no profile: another profile has a name that looks alike. \
             Start without a new password, log in and delete that profile.",
        )),
        (status, _) => {
            kit::log::warn!("cannot create the operator's profile: {USER} answered {status}");
            Err(Failure::unavailable("SERVICE_BUSY", "The operator's profile cannot be created now. Try again.", 1))
        }
    }
}

/// Deletes a login and all of its sessions. Succeeds if there is no such login.
///
/// # Errors
/// 409 `LAST_ADMIN` if no other administrator can log in. 503 if not all sessions could be deleted. Then the login gives no
/// access any more, but its name is still taken. Repeat the call to finish the deletion.
pub(crate) fn end_login(username: &str) -> Result<(), Failure> {
    let tx = storage::begin()?;
    // Check while holding the writer. So if two administrators delete each other, one stays.
    if logins::is_last_admin(&tx, username)? {
        return Err(Failure::conflict("LAST_ADMIN", "This is the last administrator who can log in."));
    }
    let ending = logins::begin_ending(&tx, username)?;
    tx.commit()?;
    let Some(login_id) = ending else { return Ok(()) };
    session::end_all(login_id)?;
    Ok(logins::delete_ended(login_id)?)
}
