#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]
//! Auth: the service that keeps logins and sessions.
//!
//! It stores password hashes, sessions and digests of refresh tokens. The host hashes passwords and signs access tokens, so
//! auth never sees a signing key, and keeps no password after its request. The service user keeps profiles: auth asks it to
//! create one with each login, and user asks auth to delete the login with its profile. The service front asks for the sessions of
//! browsers.
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

use model::bodies::{
    BrowserLogin, Credentials, Logout, NewLogin, OperatorPassword, PasswordChange, Refresh, Registration, Token,
    Verified,
};
use model::password::Password;
use model::throttle::LOGIN;
use register::Wanted;
use session::Scope;
#[cfg(not(target_family = "wasm"))]
use {model::bodies::Registered, session::SessionView, session::TokenPair};

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
        /// Log in.
        post("/auth/login", Public, log_in, ["x-client-address"])
            .body::<Credentials>()
            .gives::<TokenPair>("The tokens of the session.")
            .header("RateLimit-Policy", "How many login attempts an account and a network have, and in how many seconds.")
            .header("RateLimit", "How many attempts are left.")
            .error(400, MISSING_CREDENTIALS, "username or password is missing, or the body is not a JSON object.")
            .error(401, "INVALID_CREDENTIALS", "The username or the password is wrong.")
            .error(429, "TOO_MANY_ATTEMPTS", "Too many login attempts with this username or from this network.")
            .error(503, "SERVICE_BUSY", "The host cannot check a password or issue a token now."),
        /// Exchange a refresh token for a new token pair.
        ///
        /// Each refresh token works once. Using it again later ends the session, because it may have been stolen.
        post("/auth/refresh", Public, refresh_tokens)
            .body::<Refresh>()
            .gives::<TokenPair>("The new tokens.")
            .error(400, MISSING_TOKEN, "refresh_token is missing, or the body is not a JSON object.")
            .error(401, "INVALID_TOKEN", "The token is invalid or has expired.")
            .error(503, "SERVICE_BUSY", "The host cannot issue a token now."),
        /// Verify an access token.
        post("/auth/verify", Public, verify_token)
            .body::<Token>()
            .gives::<Verified>("The token is valid.")
            .error(400, MISSING_TOKEN, "token is missing, or the body is not a JSON object.")
            .error(401, "INVALID_TOKEN", "The token is invalid or has expired."),
        /// Create an account.
        post("/auth/register", Public, register, ["idempotency-key", "x-client-address"])
            .body::<Registration>()
            .creates::<Registered>("The new account.")
            .error(400, MISSING_CREDENTIALS, "username or password is missing, or the body is not a JSON object.")
            .error(400, CREATION_FAILED, "The username is taken, or the username, password or email address is refused.")
            .error(409, "IDEMPOTENCY_KEY_IN_USE", "The first request with this key is still running.")
            .error(429, "TOO_MANY_ATTEMPTS", "Too many requests with this key had another password.")
            .error(503, "SERVICE_BUSY", "The host cannot check a password or issue a token now.")
            .error(503, "PEER_UNAVAILABLE", "A service that this request needs is not available."),
        /// Log out.
        ///
        /// Ends the session of the refresh token if it belongs to the caller. Without a refresh token, ends the caller's current
        /// session.
        post("/auth/logout", User, log_out)
            .optional_body::<Logout>()
            .says("The session has ended, or there was no such session.")
            .error(503, "SERVICE_BUSY", "The session cannot be ended now."),
        /// Change your password.
        ///
        /// All your other sessions end.
        put("/auth/password", User, change_password, ["x-client-address"])
            .body::<PasswordChange>()
            .says("The password was changed.")
            .error(400, MISSING_CREDENTIALS, "current or new is missing, or the body is not a JSON object.")
            .error(400, CREATION_FAILED, "The new password is refused.")
            .error(401, "INVALID_CREDENTIALS", "The current password is wrong.")
            .error(429, "TOO_MANY_ATTEMPTS", "Too many login attempts with this username or from this network.")
            .error(503, "SERVICE_BUSY", "The host cannot check a password now, or the password was changed but some other sessions \
                are still open. The message says which."),
        /// List your sessions.
        get("/auth/sessions", User, list_sessions).lists::<SessionView>("Your sessions, newest first."),
        /// End several of your sessions.
        delete("/auth/sessions", User, end_sessions)
            .choice("scope", &["local", "others", "global"], "local: the session of the request. others: all other sessions. \
                global, the default: all sessions.")
            .says("The sessions have ended.")
            .error(400, "INVALID_SCOPE", "scope is not local, others or global.")
            .error(503, "SERVICE_BUSY", "Some sessions could not be ended now."),
        /// End one of your sessions.
        delete("/auth/sessions/{id}", User, end_session)
            .path("id", "The session's id.")
            .says("The session has ended.")
            .error(404, "SESSION_NOT_FOUND", "You have no such session.")
            .error(503, "SERVICE_BUSY", "The session cannot be ended now."),
        post("/internal/logins", Internal, make_login),
        delete("/internal/logins/{username}", Internal, end_login),
        post("/internal/sessions", Internal, open_session),
        put("/internal/sessions", Internal, refresh_tokens),
        delete("/internal/sessions", Internal, close_session),
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

fn refresh_tokens(request: &Request) -> Result<Response, Failure> {
    let Refresh { refresh_token } = read(request, MISSING_TOKEN)?;
    Ok(Response::ok(&session::refresh(&refresh_token)?))
}

fn verify_token(request: &Request) -> Result<Response, Failure> {
    let Token { token } = read(request, MISSING_TOKEN)?;
    let claims = host::claims(&token).ok_or_else(session::invalid_token)?;
    Ok(Response::ok(&Verified { username: claims.subject, expires_at: claims.expires_at }))
}

fn log_out(request: &Request) -> Result<Response, Failure> {
    // Without a body or without a refresh token, the caller's own session ends.
    let Logout { refresh_token } = request.json_ignoring_unknown().unwrap_or_default();
    session::log_out(request.user()?, refresh_token.as_deref().filter(|token| !token.is_empty()))?;
    Ok(Response::message("You are logged out."))
}

fn change_password(request: &Request) -> Result<Response, Failure> {
    let PasswordChange { current, new } = read(request, MISSING_CREDENTIALS)?;
    password::change(request, &Password::new(&current), &Password::new(&new))?;
    Ok(Response::message("Your password was changed. Your other sessions have ended."))
}

fn list_sessions(request: &Request) -> Result<Response, Failure> {
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
    let body = request.json_ignoring_unknown().map_err(|invalid| {
        let code = if invalid.path() == "email" { CREATION_FAILED } else { MISSING_CREDENTIALS };
        invalid.with_code(code)
    });
    let Registration { username, password, email } = body?;
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

/// Logs in for front, which keeps the refresh token in a cookie.
fn open_session(request: &Request) -> Result<Response, Failure> {
    let BrowserLogin { username, password, client_address } = read(request, MISSING_CREDENTIALS)?;
    Ok(Response::ok(&login::log_in(&username, &Password::new(&password), client_address.as_deref())?))
}

/// Ends the session of a refresh token. Whoever has the token may end it.
fn close_session(request: &Request) -> Result<Response, Failure> {
    let Refresh { refresh_token } = read(request, MISSING_TOKEN)?;
    session::close(&refresh_token)?;
    Ok(Response::message("The session has ended, or there was no such session."))
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
