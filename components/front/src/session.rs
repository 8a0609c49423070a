//! The session of a browser: its refresh token is in a cookie, which only this module reads.
//!
//! The cookie is `HttpOnly`, so a script that gets into a page cannot take it away. It is `SameSite=Strict` and for this path alone, so
//! another site can neither read it nor send it. Beyond that, [`check_page`] refuses requests of other origins (OWASP, Cross-Site
//! Request Forgery Prevention). Auth issues all tokens; this service only hands them on.

use kit::{Cookie, Failure, JsonValue, Method, Request, Response, peer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The service that keeps logins and sessions.
const AUTH: &str = "auth";

/// The cookie with the refresh token.
const COOKIE: &str = "session";

/// The only path to which browsers send it.
const PATH: &str = "/session";

/// Why a request is refused that another site may have started.
pub(crate) const FOREIGN: &str = "Only the pages of this shop may use the session cookie.";

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Credentials {
    username: String,
    password: String,
}

/// What auth answers.
#[derive(Deserialize)]
struct TokenPair {
    access_token: String,
    refresh_token: String,
    expires_in: u32,
    refresh_expires_at: i64,
}

/// What the page gets.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AccessToken<'a> {
    /// A JWT, for Authorization: Bearer.
    access_token: &'a str,
    /// Its lifetime in seconds.
    expires_in: u32,
}

/// Logs in.
pub(crate) fn open(request: &Request) -> Result<Response, Failure> {
    check_page(request)?;
    let body = request.json().map_err(|invalid| invalid.with_code("MISSING_CREDENTIALS"));
    let Credentials { username, password } = body?;
    let wanted = json!({ "username": username, "password": password, "client_address": request.client_address() });
    answer(peer::call(AUTH, Method::Post, "/internal/sessions", Some(&wanted))?)
}

/// Exchanges the refresh token for a new pair.
///
/// A refusal leaves the cookie alone: another tab may have replaced it while this request ran.
pub(crate) fn renew(request: &Request) -> Result<Response, Failure> {
    check_page(request)?;
    let token = token(request).ok_or_else(|| Failure::unauthorized("MISSING_TOKEN", "You are not signed in."))?;
    answer(peer::call(AUTH, Method::Put, "/internal/sessions", Some(&json!({ "refresh_token": token })))?)
}

/// Ends the session and deletes the cookie.
pub(crate) fn close(request: &Request) -> Result<Response, Failure> {
    check_page(request)?;
    if let Some(token) = token(request) {
        let body = json!({ "refresh_token": token });
        let (status, body) = peer::call(AUTH, Method::Delete, "/internal/sessions", Some(&body))?;
        if status != 200 {
            return Ok(passed_on(status, &body));
        }
    }
    Ok(Response::message("You are signed out.").with_cookie(&Cookie::removed(COOKIE).at(PATH).strict()))
}

/// Refuses a request that does not come from a page of this shop.
///
/// A form cannot send `x-front`, and a script of another origin needs a preflight for it, which the host does not answer with the
/// permission to send cookies. Browsers say from where a request comes in `Sec-Fetch-Site`, older ones in `Origin`.
fn check_page(request: &Request) -> Result<(), Failure> {
    let is_own = match (request.header("sec-fetch-site"), request.header("origin")) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => origin.split_once("://").map(|(_, authority)| authority) == request.header("host"),
        // No browser.
        (None, None) => true,
    };
    if is_own && request.header("x-front") == Some("1") {
        return Ok(());
    }
    Err(Failure::forbidden(FOREIGN))
}

fn token(request: &Request) -> Option<String> {
    request.cookie(COOKIE).and_then(kit::decode).map(std::borrow::Cow::into_owned).filter(|token| !token.is_empty())
}

/// The access token for the page, and the refresh token for the cookie. An error of auth is passed on.
fn answer((status, mut body): (u16, JsonValue)) -> Result<Response, Failure> {
    if status != 200 {
        return Ok(passed_on(status, &body));
    }
    let pair: TokenPair =
        serde_json::from_value(body["data"].take()).map_err(|_| Failure::internal("auth sent no tokens"))?;
    let seconds = u32::try_from(pair.refresh_expires_at - kit::now()).unwrap_or(0);
    let cookie = Cookie::new(COOKIE, &pair.refresh_token).at(PATH).strict().kept_for(seconds);
    let data = AccessToken { access_token: &pair.access_token, expires_in: pair.expires_in };
    Ok(Response::ok(&data).with_cookie(&cookie).with_header("cache-control", "no-store"))
}

fn passed_on(status: u16, body: &JsonValue) -> Response {
    Response::raw("application/json", body.to_string()).with_status(status)
}
