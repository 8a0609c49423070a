#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]
//! Auth: the service that keeps logins and sessions.
//!
//! It stores password hashes, sessions and digests of refresh tokens. The host hashes passwords and signs access tokens, so
//! auth never sees a signing key, and keeps no password after its request. The service user keeps profiles: auth asks it to
//! create one with each login, and user asks auth to delete the login with its profile.
//!
//! This file handles HTTP. `login`, `session`, `register`, `password` and `operator` do the work of the routes. `model`
//! decides, `rows` runs SQL, and `host` calls the host.

mod login;
mod operator;
mod password;
mod register;
mod session;

mod model;

mod host;
mod rows;

#[cfg(test)]
mod test_host;
#[cfg(test)]
mod tests;

use kit::{Failure, IdempotencyKey, JsonValue, Request, Response};
use serde::de::DeserializeOwned;
use serde_json::json;

use model::bodies::{Credentials, NewLogin, OperatorPassword, PasswordChange, Refresh, Registration, Token};
use model::password::Password;
use model::throttle::LOGIN;
use register::Wanted;
use session::Scope;

kit::service! {
    name: "auth-service",
    health: "/auth/health",
    migrations: [
        include_str!("../migrations/1.sql"),
        include_str!("../migrations/2.sql"),
        include_str!("../migrations/3.sql"),
    ],
    schema: 3..=3,
    documentation: include_str!("../openapi.json"),
    routes: [
        post("/auth/login", Public, log_in, ["x-client-address"]),
        post("/auth/refresh", Public, refresh),
        post("/auth/verify", Public, verify),
        post("/auth/register", Public, register, ["idempotency-key", "x-client-address"]),
        post("/auth/logout", User, log_out),
        put("/auth/password", User, change_password, ["x-client-address"]),
        get("/auth/sessions", User, sessions),
        delete("/auth/sessions", User, end_sessions),
        delete("/auth/sessions/{id}", User, end_session),
        post("/internal/logins", Internal, make_login),
        delete("/internal/logins/{username}", Internal, end_login),
        get("/internal/operator", Internal, operator),
        put("/internal/operator", Internal, set_operator_password),
    ],
}

const MISSING_CREDENTIALS: &str = "MISSING_CREDENTIALS";
const MISSING_TOKEN: &str = "MISSING_TOKEN";
const MISSING_PASSWORD: &str = "MISSING_PASSWORD";
const CREATION_FAILED: &str = "CREATION_FAILED";

fn log_in(request: &Request) -> Result<Response, Failure> {
    let Credentials { username, password } = read(request, MISSING_CREDENTIALS)?;
    let pair = login::log_in(&username, &Password::new(&password), request.client_address())?;
    // The success reset the account's counter, so all attempts are left.
    let (policy, unused) = (login::policy(), LOGIN.unused());
    Ok(Response::ok(&pair).with_header("ratelimit-policy", policy).with_header("ratelimit", unused))
}

fn refresh(request: &Request) -> Result<Response, Failure> {
    let Refresh { refresh_token } = read(request, MISSING_TOKEN)?;
    Ok(Response::ok(&session::refresh(&refresh_token)?))
}

fn verify(request: &Request) -> Result<Response, Failure> {
    let Token { token } = read(request, MISSING_TOKEN)?;
    let claims = host::claims(&token).ok_or_else(session::invalid_token)?;
    Ok(Response::ok(&json!({ "username": claims.subject, "expires_at": claims.expires_at })))
}

fn log_out(request: &Request) -> Result<Response, Failure> {
    // Without a body or without a refresh token, the caller's own session ends.
    let body: Option<Refresh> = request.json_ignoring_unknown().ok();
    session::log_out(request.user()?, body.as_ref().map(|body| &*body.refresh_token))?;
    Ok(Response::message("You are logged out."))
}

fn change_password(request: &Request) -> Result<Response, Failure> {
    let PasswordChange { current, new } = read(request, MISSING_CREDENTIALS)?;
    password::change(request, &Password::new(&current), &Password::new(&new))?;
    Ok(Response::message("Your password was changed. Your other sessions have ended."))
}

fn sessions(request: &Request) -> Result<Response, Failure> {
    Ok(Response::list(&session::list(request.user()?)?))
}

fn end_session(request: &Request) -> Result<Response, Failure> {
    // No session has an id that cannot be decoded.
    let id = request.param("id").unwrap_or_default();
    session::end_one(request.user()?, &id)?;
    Ok(Response::message("The session has ended."))
}

fn end_sessions(request: &Request) -> Result<Response, Failure> {
    let scope = match request.query("scope").as_deref() {
        None | Some("global") => Scope::Global,
        Some("others") => Scope::Others,
        Some("local") => Scope::Local,
        Some(_) => return Err(Failure::bad_request("INVALID_SCOPE", "scope must be local, others or global.")),
    };
    session::end_several(request.user()?, scope)?;
    Ok(Response::message("The sessions have ended."))
}

fn register(request: &Request) -> Result<Response, Failure> {
    let key = IdempotencyKey::of(request)?;
    let Registration { username, password, email } = request.json_ignoring_unknown().map_err(|invalid| {
        let code = if invalid.path() == "email" { CREATION_FAILED } else { MISSING_CREDENTIALS };
        invalid.with_code(code)
    })?;
    let profile = email.map(|email| ("email".to_owned(), JsonValue::from(&*email))).into_iter().collect();
    let (address, password) = (request.client_address(), Password::new(&password));
    let wanted = Wanted { username: &username, password, profile, key: key.as_ref(), address };
    register::register(wanted, |profile| {
        let created = json!({ "user_id": profile["id"], "username": profile["username"] });
        Response::created(&created).with_message("Your account was created.")
    })
}

fn make_login(request: &Request) -> Result<Response, Failure> {
    let NewLogin { username, password, profile } = read(request, CREATION_FAILED)?;
    let wanted = Wanted { username: &username, password: Password::new(&password), profile, key: None, address: None };
    register::register(wanted, Response::created)
}

fn end_login(request: &Request) -> Result<Response, Failure> {
    // No login has a name that cannot be decoded.
    if let Some(username) = request.param("username") {
        operator::end_login(&username)?;
    }
    Ok(Response::message("The login was deleted."))
}

fn operator(_: &Request) -> Result<Response, Failure> {
    Ok(Response::ok(&operator::operator()?))
}

fn set_operator_password(request: &Request) -> Result<Response, Failure> {
    let OperatorPassword { password } = read(request, MISSING_PASSWORD)?;
    Ok(Response::ok(&operator::set_password(&Password::new(&password))?))
}

fn read<T: DeserializeOwned>(request: &Request, code: &'static str) -> Result<T, Failure> {
    request.json_ignoring_unknown().map_err(|invalid| invalid.with_code(code))
}
