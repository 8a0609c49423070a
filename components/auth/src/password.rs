//! A user's own password, changed by those who know the current one.

use kit::storage;
use kit::{Failure, Request};
use username::Username;

use crate::host::{self, Event};
use crate::login;
use crate::model::password::{self, Password};
use crate::register::creation_failed;
use crate::rows::logins;
use crate::session::{self, Scope};

/// Gives the caller another password and ends the caller's other sessions.
///
/// # Errors
/// 400 `CREATION_FAILED` if the policy refuses the new password. 401 `INVALID_CREDENTIALS` for a wrong current one, which counts as
/// an attempt to log in; 429 after too many. 503 while too many passwords wait to be hashed.
pub(crate) fn change(request: &Request, current: &Password<'_>, new: &Password<'_>) -> Result<(), Failure> {
    let caller = request.user()?;
    password::check(new, &caller.username, host::minimum_length())
        .map_err(|refused| creation_failed(refused.to_string()))?;
    let name = Username::parse(&caller.username).map_err(|_| login::invalid_credentials())?;
    let login = login::authenticate(&name, current, request.client_address())?;
    let login = login.ok_or_else(login::invalid_credentials)?;
    let hash = host::hash(new.prepared())?;

    let tx = storage::begin()?;
    // A session ends before its login does. So if this one is open, the login of that name is still the caller's.
    request.check_session(&tx)?;
    if !logins::set_password(&tx, &login, &hash)? {
        return Err(login::invalid_credentials());
    }
    tx.commit()?;
    host::tell(Event::AuthnPasswordChange, &login.username);
    // From here on nobody begins a session with the old password, so these are the last.
    session::end_several(caller, Scope::Others).map_err(|failure| {
        eprintln!("a password was changed, but not all other sessions could be ended: {}", failure.message);
        Failure::unavailable(
            "SERVICE_BUSY",
            "Your password was changed, but not all of your other sessions could be ended. Try DELETE \
             /auth/sessions?scope=others.",
            1,
        )
    })
}
