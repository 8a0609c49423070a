#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]
//! User: the service that keeps profiles.
//!
//! Auth keeps the logins. With each login, auth asks this service to create a profile. Deleting a profile also deletes its
//! login. A profile can exist without a login. Orders contain usernames, so deleting a user first removes the name from them.
//!
//! This file handles HTTP. `model` decides, `rows` runs SQL, `logins` calls auth and `buyers` calls orders.

mod buyers;
mod logins;
mod model;
mod rows;

#[cfg(test)]
mod tests;

use std::fmt::Display;

use kit::storage::{self, Constraint, Database, Error, Row, Rows};
use kit::{Failure, List, Page, Request, Response, clock, condition};
use serde::de::DeserializeOwned;
use username::Username;

use crate::model::{Changes, NewUser, Operator, Registered};
use crate::rows::Profile;

kit::service! {
    name: "user-service",
    health: "/health",
    migrations: [include_str!("../migrations/1.sql")],
    schema: 1..=1,
    documentation: include_str!("../openapi.json"),
    routes: [
        /// List users.
        get("/users", Admin, list_users).pages::<Profile<'_>>("The users."),
        /// Create a user.
        ///
        /// With a password, also creates the login.
        post("/users", Admin, create_user)
            .body::<NewUser>()
            .creates::<Profile<'_>>("The user.")
            .error(400, MISSING_USERNAME, "username is missing, or the body is not a JSON object.")
            .error(400, CREATION_FAILED, "The username is taken, or the username, a field or the password is refused.")
            .error(503, "PEER_UNAVAILABLE", "A service that this request needs is not available.")
            .error(503, "SERVICE_BUSY", "Logins cannot be changed now."),
        /// Get the caller's profile.
        get("/users/profile", User, show_own_profile)
            .gives::<Profile<'_>>("The user.")
            .tagged()
            .error(404, "USER_NOT_FOUND", "The caller has no profile."),
        /// Get the caller's profile by its id. Administrators can get every profile.
        get("/users/{id}", User, show_user)
            .id("id", "The user's id.")
            .gives::<Profile<'_>>("The user.")
            .tagged()
            .error(403, "FORBIDDEN", "The profile belongs to another user.")
            .error(404, "USER_NOT_FOUND", "There is no such user."),
        /// Change the caller's profile. Administrators can change every profile.
        ///
        /// Null and absent fields stay unchanged. Unknown members are ignored.
        put("/users/{id}", User, change_user, ["if-match"])
            .id("id", "The user's id.")
            .body::<Changes>()
            .changes::<Profile<'_>>("The changed user.")
            .tagged()
            .error(400, UPDATE_FAILED, "No field is given, a field is refused, or the body is not a JSON object.")
            .error(403, "FORBIDDEN", "The profile belongs to another user.")
            .error(404, "USER_NOT_FOUND", "There is no such user."),
        /// Delete a user with the login and its sessions.
        ///
        /// The user's orders stay, without the username.
        delete("/users/{id}", Admin, delete_user, ["if-match"])
            .id("id", "The user's id.")
            .says("The user was deleted.")
            .error(404, "USER_NOT_FOUND", "There is no such user.")
            .error(409, "LAST_ADMIN", "This is the last administrator who can log in.")
            .error(503, "PEER_UNAVAILABLE", "A service that this request needs is not available.")
            .error(503, "SERVICE_BUSY", "Logins or orders cannot be changed now."),
        post("/internal/profiles", Internal, create_registered),
        put("/internal/operator", Internal, restore_operator),
    ],
}

const MISSING_USERNAME: &str = "MISSING_USERNAME";
const CREATION_FAILED: &str = "CREATION_FAILED";
const UPDATE_FAILED: &str = "UPDATE_FAILED";

fn list_users(request: &Request) -> Result<Response, Failure> {
    let write = |row: Row<'_>, list: &mut List| {
        let profile: Profile<'_> = row.read()?;
        list.push(&profile);
        Ok(profile.id)
    };
    Page::of(request)?.by_id(request.path(), rows::above, write, rows::count)
}

fn show_own_profile(request: &Request) -> Result<Response, Failure> {
    let rows = rows::by_username(&request.user()?.username)?;
    Ok(of_one(&rows.one::<Profile<'_>>()?.ok_or_else(not_found)?))
}

fn show_user(request: &Request) -> Result<Response, Failure> {
    let rows = rows::by_id(&Database, id(request)?)?;
    Ok(of_one(&accessible(request, &rows)?))
}

fn create_user(request: &Request) -> Result<Response, Failure> {
    let body = request.json_ignoring_unknown().map_err(|invalid| match invalid.path() {
        "" | "username" => invalid.with_code(MISSING_USERNAME),
        _ => invalid.with_code(CREATION_FAILED),
    });
    let NewUser { username, password, email, first_name, last_name, phone, address } = body?;
    let changes = Changes { email, first_name, last_name, phone, address };
    let name = Username::of_new_account(&username).map_err(|refused| creation_failed(&refused))?;
    let response = match password {
        None => {
            let rows = rows::insert(None, &name, &changes.fields(), &date()).map_err(|error| taken_or(error, taken))?;
            Response::created(&rows.one::<Profile<'_>>()?)
        }
        Some(password) => Response::created(&logins::make(&name, &password, &changes.fields())?),
    };
    Ok(response.with_message("The user was created."))
}

fn change_user(request: &Request) -> Result<Response, Failure> {
    let changes: Changes = read(request, UPDATE_FAILED)?;
    if changes.is_empty() {
        return Err(Failure::bad_request(UPDATE_FAILED, "The body has no field to change."));
    }
    let id = id(request)?;
    let tx = storage::begin()?;
    request.check_session(&tx)?;
    let seen = rows::by_id(&tx, id)?;
    condition::check_if_match(request, &model::tag(&accessible(request, &seen)?))?;
    let changed = rows::update(&tx, id, &changes.fields(), &date())?;
    tx.commit()?;
    let profile = changed.one::<Profile<'_>>()?.ok_or_else(not_found)?;
    Ok(of_one(&profile).with_message("The user was updated."))
}

fn delete_user(request: &Request) -> Result<Response, Failure> {
    let id = id(request)?;
    let rows = rows::by_id(&Database, id)?;
    let profile = rows.one::<Profile<'_>>()?.ok_or_else(not_found)?;
    condition::check_if_match(request, &model::tag(&profile))?;
    // End the login first, so that the user places no further order. The profile goes last: if a step fails, the request can
    // be repeated, and until then nobody else can register the name.
    logins::end(profile.username)?;
    buyers::forget(profile.username)?;
    if !rows::delete(id)? {
        return Err(not_found());
    }
    Ok(Response::message("The user was deleted."))
}

/// Creates the profile of a registration at auth. A second call for the same registration returns the same profile.
fn create_registered(request: &Request) -> Result<Response, Failure> {
    let Registered { registration, username } = read(request, CREATION_FAILED)?;
    let name = Username::of_new_account(&username).map_err(|refused| creation_failed(&refused))?;
    let changes: Changes = read(request, CREATION_FAILED)?;
    let fields = &changes.fields();
    let rows =
        rows::insert(Some(&registration), &name, fields, &date()).map_err(|error| taken_or(error, name_conflict))?;
    Ok(Response::created(&rows.one::<Profile<'_>>()?))
}

/// Creates the operator's profile again if it was deleted.
fn restore_operator(_: &Request) -> Result<Response, Failure> {
    let Operator { registration, username, fields } = &model::OPERATOR;
    if let Some(profile) = rows::by_username(username)?.one::<Profile<'_>>()? {
        return Ok(Response::ok(&profile));
    }
    let name = Username::parse(username).map_err(Failure::internal)?;
    let rows =
        rows::insert(Some(registration), &name, fields, &date()).map_err(|error| taken_or(error, name_conflict))?;
    Ok(Response::created(&rows.one::<Profile<'_>>()?))
}

/// The response for one profile, with its entity tag.
fn of_one(profile: &Profile<'_>) -> Response {
    Response::ok(profile).with_header("etag", model::tag(profile))
}

/// Reads a profile. Refuses a caller who may not access it.
fn accessible<'a>(request: &Request, rows: &'a Rows) -> Result<Profile<'a>, Failure> {
    let profile = rows.one::<Profile<'_>>()?.ok_or_else(not_found)?;
    if model::may_access(request.user()?, profile.username) {
        Ok(profile)
    } else {
        Err(Failure::forbidden("This is another user's profile."))
    }
}

fn id(request: &Request) -> Result<i64, Failure> {
    request.id_param("id").ok_or_else(not_found)
}

fn read<T: DeserializeOwned>(request: &Request, code: &'static str) -> Result<T, Failure> {
    request.json_ignoring_unknown().map_err(|invalid| invalid.with_code(code))
}

fn date() -> String {
    clock::date_time(clock::now())
}

fn not_found() -> Failure {
    Failure::not_found("USER_NOT_FOUND", "There is no such user.")
}

fn name_conflict() -> Failure {
    Failure::conflict("USERNAME_TAKEN", "The username is taken.")
}

fn taken() -> Failure {
    creation_failed(&"The username is taken.")
}

fn taken_or(error: Error, taken: impl FnOnce() -> Failure) -> Failure {
    match error {
        Error::Constraint(Constraint::Unique) => taken(),
        other => other.into(),
    }
}

fn creation_failed(why: &dyn Display) -> Failure {
    Failure::bad_request(CREATION_FAILED, why.to_string())
}
