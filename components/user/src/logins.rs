//! What user asks of auth: a login for a profile, and the end of one.

#[cfg(not(test))]
use kit::peer;
use kit::{Failure, JsonValue, Method};
use serde_json::json;
use username::Username;

use crate::model::Fields;
#[cfg(test)]
use crate::stand_in::peer;

/// The service that keeps logins.
const AUTH: &str = "auth";

/// Has auth make a login, which has the profile made here in turn, and gives that profile.
///
/// # Errors
/// 400 `CREATION_FAILED` with auth's reason, 503 when it could not be done now.
pub(crate) fn make(name: &Username, password: &str, profile: &Fields<'_>) -> Result<JsonValue, Failure> {
    let wanted = json!({ "username": name.as_str(), "password": password, "profile": profile });
    let (status, mut answer) = peer::call(AUTH, Method::Post, "/internal/logins", Some(&wanted))?;
    match status {
        201 => Ok(answer["data"].take()),
        400 => {
            let why = answer["error"]["message"].as_str().unwrap_or("The login was refused.");
            Err(Failure::bad_request("CREATION_FAILED", why.to_owned()))
        }
        status => Err(unavailable(status)),
    }
}

/// Has auth end the login of a name and all of its sessions. It is no error if there is none.
///
/// # Errors
/// 409 `LAST_ADMIN` with auth's reason, 503 when it could not be done now.
pub(crate) fn end(username: &str) -> Result<(), Failure> {
    let path = format!("/internal/logins/{}", kit::encode(username));
    match peer::call(AUTH, Method::Delete, &path, None)? {
        (200, _) => Ok(()),
        (409, answer) => {
            let why = answer["error"]["message"].as_str().unwrap_or("The login cannot be deleted.");
            Err(Failure::conflict("LAST_ADMIN", why.to_owned()))
        }
        (status, _) => Err(unavailable(status)),
    }
}

fn unavailable(status: u16) -> Failure {
    eprintln!("{AUTH} answered {status}");
    Failure::unavailable("SERVICE_BUSY", "Logins cannot be changed just now.", 1)
}
