//! Changing one's own password, which requires the current one.

use kit::storage;
use kit::{Failure, Request};
use username::Username;

use crate::host::{self, Event};
use crate::login;
use crate::model::password::{self, Password};
use crate::register::creation_failed;
use crate::rows::logins;
use crate::session::{self, Scope};

/// Changes the caller's password and ends the caller's other sessions.
///
/// # Errors
/// 400 `CREATION_FAILED` if the policy refuses the new password. 401 `INVALID_CREDENTIALS` if the current password is wrong;
/// this counts as a login attempt. 429 after too many attempts. 503 if the host's password queue is full.
pub(crate) fn change(request: &Request, current: &Password<'_>, new: &Password<'_>) -> Result<(), Failure> {
    let caller = request.user()?;
    password::check(new, &caller.username, host::minimum_length())
        .map_err(|refused| creation_failed(refused.to_string()))?;
    let name = Username::parse(&caller.username).map_err(|_| login::invalid_credentials())?;
    let login = login::authenticate(&name, current, request.client_address())?;
    let login = login.ok_or_else(login::invalid_credentials)?;
    let hash = host::hash(new.prepared())?;

    let tx = storage::begin()?;
    // Deleting a login ends its sessions first. So while this session is open, the login still belongs to the caller.
    request.check_session(&tx)?;
    if !logins::set_password(&tx, &login, &hash)? {
        return Err(login::invalid_credentials());
    }
    tx.commit()?;
    host::audit(Event::AuthnPasswordChange, &login.username);
    // After the commit, the old password opens no further session. So this ends all of them.
    session::end_several(caller, Scope::Others).map_err(|failure| {
        kit::log::warn!("changed a password, but could not end all other sessions: {}", failure.message);
        Failure::unavailable(
            "SERVICE_BUSY",
            "Your password was changed, but some of your other sessions are still open. End them with DELETE \
             /auth/sessions?scope=others.",
            1,
        )
    })
}
