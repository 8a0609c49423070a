//! Calls to auth: creates and deletes logins.

use kit::{Failure, JsonValue, Method, peer};
use serde_json::json;
use username::Username;

use crate::model::Fields;

/// The service that keeps logins.
const AUTH: &str = "auth";

/// Asks auth to create a login. Auth in turn asks this service to create the profile. Returns the profile.
///
/// # Errors
/// 400 `CREATION_FAILED` with auth's reason, or 503 if auth failed.
pub(crate) fn make(name: &Username, password: &str, profile: &Fields<'_>) -> Result<JsonValue, Failure> {
    let wanted = json!({ "username": name.as_str(), "password": password, "profile": profile });
    let (status, mut body) = peer::call(AUTH, Method::Post, "/internal/logins", Some(&wanted))?;
    match status {
        201 => Ok(body["data"].take()),
        400 => {
            let why = body["error"]["message"].as_str().unwrap_or("The login was refused.");
            Err(Failure::bad_request("CREATION_FAILED", why.to_owned()))
        }
        status => Err(unavailable(status)),
    }
}

/// Asks auth to delete a user's login and all of its sessions. Succeeds if there is no login.
///
/// # Errors
/// 409 `LAST_ADMIN` with auth's reason, or 503 if auth failed.
pub(crate) fn end(username: &str) -> Result<(), Failure> {
    let path = format!("/internal/logins/{}", kit::encode(username));
    match peer::call(AUTH, Method::Delete, &path, None)? {
        (200, _) => Ok(()),
        (409, body) => {
            let why = body["error"]["message"].as_str().unwrap_or("The login cannot be deleted.");
            Err(Failure::conflict("LAST_ADMIN", why.to_owned()))
        }
        (status, _) => Err(unavailable(status)),
    }
}

fn unavailable(status: u16) -> Failure {
    kit::log::warn!("cannot change a login: {AUTH} answered {status}");
    Failure::unavailable("SERVICE_BUSY", "Logins cannot be changed now. Try again.", 1)
}
