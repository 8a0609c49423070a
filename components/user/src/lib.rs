#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]
//! User: what a shop knows of its people besides how they log in.
//!
//! Keeps profiles. Logins are auth's: auth has a profile made with each login, and a profile that goes takes its login
//! along. A profile may also have no login. Orders are kept by username, so a name leaves its orders before it is free.
//!
//! This file speaks HTTP. `model` decides, `rows` stores, `logins` asks auth and `buyers` asks orders.

mod buyers;
mod logins;
mod model;
mod rows;

#[cfg(test)]
mod stand_in;
#[cfg(test)]
mod tests;

use std::fmt::Display;

use kit::storage::{self, Constraint, Database, Error, Row, Rows};
use kit::{Failure, JsonObject, JsonValue, List, Page, Request, Response, clock, condition};
use username::Username;

use crate::model::{Fields, Operator};
use crate::rows::Profile;

kit::service! {
    name: "user-service",
    health: "/health",
    migrations: [include_str!("../migrations/1.sql")],
    schema: 1..=1,
    documentation: include_str!("../openapi.json"),
    routes: [
        get("/users", Admin, list),
        post("/users", Admin, create),
        get("/users/profile", User, own),
        get("/users/{id}", User, show),
        put("/users/{id}", User, change, ["if-match"]),
        delete("/users/{id}", Admin, remove, ["if-match"]),
        post("/internal/profiles", Internal, create_registered),
        put("/internal/operator", Internal, restore_operator),
    ],
}

const MISSING_USERNAME: &str = "MISSING_USERNAME";
const CREATION_FAILED: &str = "CREATION_FAILED";
const UPDATE_FAILED: &str = "UPDATE_FAILED";

fn list(request: &Request) -> Result<Response, Failure> {
    let write = |row: Row<'_>, list: &mut List| {
        let profile = Profile::read(row)?;
        list.push(&profile);
        Ok(profile.id)
    };
    Page::of(request)?.by_id(request.path(), rows::above, write, rows::count)
}

fn own(request: &Request) -> Result<Response, Failure> {
    let rows = rows::by_username(&request.user()?.username)?;
    Ok(of_one(&Profile::first(&rows)?.ok_or_else(not_found)?))
}

fn show(request: &Request) -> Result<Response, Failure> {
    let rows = rows::by_id(&Database, id(request)?)?;
    Ok(of_one(&touchable(request, &rows)?))
}

fn create(request: &Request) -> Result<Response, Failure> {
    let body = request.json_object(MISSING_USERNAME)?;
    let name = match text(&body, "username").filter(|name| !name.trim().is_empty()) {
        Some(name) => Username::of_new_account(name).map_err(|refused| creation_failed(&refused))?,
        None => return Err(Failure::bad_request(MISSING_USERNAME, "The text username is missing.")),
    };
    let fields = Fields::read(&body).map_err(|refused| creation_failed(&refused))?;
    let response = match body.get("password") {
        None | Some(JsonValue::Null) => {
            let rows = rows::insert(None, &name, &fields, &date()).map_err(|error| taken_or(error, taken))?;
            Response::created(&Profile::first(&rows)?)
        }
        Some(JsonValue::String(password)) => Response::created(&logins::make(&name, password, &fields)?),
        Some(_) => return Err(creation_failed(&"The field password must be a text.")),
    };
    Ok(response.with_message("The user was created."))
}

fn change(request: &Request) -> Result<Response, Failure> {
    let body = request.json_object(UPDATE_FAILED)?;
    let fields = Fields::read(&body).map_err(|refused| Failure::bad_request(UPDATE_FAILED, refused.to_string()))?;
    if fields.is_empty() {
        return Err(Failure::bad_request(UPDATE_FAILED, "There is no field to change."));
    }
    let id = id(request)?;
    let tx = storage::begin()?;
    request.check_session(&tx)?;
    let seen = rows::by_id(&tx, id)?;
    condition::check_if_match(request, &model::tag(&touchable(request, &seen)?))?;
    let changed = rows::update(&tx, id, &fields, &date())?;
    tx.commit()?;
    let profile = Profile::first(&changed)?.ok_or_else(not_found)?;
    Ok(of_one(&profile).with_message("The user was updated."))
}

fn remove(request: &Request) -> Result<Response, Failure> {
    let id = id(request)?;
    let rows = rows::by_id(&Database, id)?;
    let profile = Profile::first(&rows)?.ok_or_else(not_found)?;
    condition::check_if_match(request, &model::tag(&profile))?;
    // The login goes first, so that no order is placed after the others are forgotten. If that or the rest fails, the
    // profile is still there to be deleted again. While it is, nobody can register its name.
    logins::end(profile.username)?;
    buyers::forget(profile.username)?;
    if !rows::delete(id)? {
        return Err(not_found());
    }
    Ok(Response::message("The user was deleted."))
}

/// Makes the profile of a registration at auth. Asked again for the same registration, it answers the same.
fn create_registered(request: &Request) -> Result<Response, Failure> {
    let body = request.json_object(MISSING_USERNAME)?;
    let registration = text(&body, "registration").filter(|id| !id.is_empty());
    let registration = registration.ok_or_else(|| creation_failed(&"The text registration is missing."))?;
    let name = Username::of_new_account(text(&body, "username").unwrap_or_default())
        .map_err(|refused| creation_failed(&refused))?;
    let fields = Fields::read(&body).map_err(|refused| creation_failed(&refused))?;
    let rows =
        rows::insert(Some(registration), &name, &fields, &date()).map_err(|error| taken_or(error, name_conflict))?;
    Ok(Response::created(&Profile::first(&rows)?))
}

/// Makes the operator's profile again, as a new shop has it, if it was deleted.
fn restore_operator(_: &Request) -> Result<Response, Failure> {
    let Operator { registration, username, fields } = &model::OPERATOR;
    if let Some(profile) = Profile::first(&rows::by_username(username)?)? {
        return Ok(Response::ok(&profile));
    }
    let name = Username::parse(username).map_err(Failure::internal)?;
    let rows =
        rows::insert(Some(registration), &name, fields, &date()).map_err(|error| taken_or(error, name_conflict))?;
    Ok(Response::created(&Profile::first(&rows)?))
}

/// A profile, with the tag by which a client says which state of it was seen.
fn of_one(profile: &Profile<'_>) -> Response {
    Response::ok(profile).with_header("etag", model::tag(profile))
}

/// The profile in the row, if the caller may see and change it.
fn touchable<'a>(request: &Request, rows: &'a Rows) -> Result<Profile<'a>, Failure> {
    let profile = Profile::first(rows)?.ok_or_else(not_found)?;
    if model::may_touch(request.user()?, profile.username) {
        Ok(profile)
    } else {
        Err(Failure::forbidden("This is another user's profile."))
    }
}

fn id(request: &Request) -> Result<i64, Failure> {
    request.id_param("id").ok_or_else(not_found)
}

fn text<'a>(body: &'a JsonObject, key: &str) -> Option<&'a str> {
    body.get(key).and_then(JsonValue::as_str)
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
