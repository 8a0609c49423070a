#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]
//! Front: the shop's pages.
//!
//! The articles are written by the server, so reading them needs no script. All other pages are one shell, which `pages/assets` fills
//! with what the API answers. This file has the routes. `shell` writes HTML, `articles` asks orders, `session` keeps the refresh token
//! in a cookie that no script can read.
//!
//! # Invariants
//!
//! - Text from the database becomes text, never HTML: `shell::Html` escapes it here, and the scripts only make text nodes.
//! - A script never sees a refresh token. Access tokens are in the memory of a page, and nowhere else.
//! - A request that uses the cookie comes from a page of this shop.

mod articles;
mod session;
mod shell;
#[cfg(test)]
mod tests;

use kit::{Failure, Probe, Request, Response};

kit::service! {
    name: "front-service",
    health: "/front/health",
    pages: kit::pages!("pages").with_headers(&shell::HEADERS),
    probes: [Probe::get("/cart")],
    documentation: include_str!("../openapi.json"),
    routes: [
        get("/", Public, articles::list),
        get("/cart", Public, page),
        get("/login", Public, page),
        get("/register", Public, page),
        get("/my-orders", Public, page),
        get("/profile", Public, page),
        get("/admin/users", Public, page),
        get("/admin/stock", Public, page),
        get("/admin/orders", Public, page),
        /// Sign in on the shop's pages.
        ///
        /// Only for pages of the shop itself. Puts the refresh token into a cookie.
        post("/session", Public, session::open, ["host", "origin", "sec-fetch-site", "x-front", "x-client-address"])
            .body::<session::Credentials>()
            .gives::<session::AccessToken<'_>>("The access token of the session.")
            .error(400, "MISSING_CREDENTIALS", "username or password is missing.")
            .error(401, "INVALID_CREDENTIALS", "The username or the password is wrong.")
            .error(403, "FORBIDDEN", session::FOREIGN)
            .error(429, "TOO_MANY_ATTEMPTS", "Too many login attempts with this username or from this network.")
            .error(503, "SERVICE_BUSY", "The host cannot check a password or issue a token now.")
            .error(503, "PEER_UNAVAILABLE", "A service that this request needs is not available."),
        /// Renew the session of the cookie.
        put("/session", Public, session::renew, ["cookie", "host", "origin", "sec-fetch-site", "x-front"])
            .gives::<session::AccessToken<'_>>("A new access token.")
            .error(401, "MISSING_TOKEN", "There is no cookie.")
            .error(401, "INVALID_TOKEN", "The session has ended, or another request renewed it at the same time.")
            .error(403, "FORBIDDEN", session::FOREIGN)
            .error(503, "SERVICE_BUSY", "The host cannot issue a token now.")
            .error(503, "PEER_UNAVAILABLE", "A service that this request needs is not available."),
        /// Sign out: end the session of the cookie, and delete the cookie.
        delete("/session", Public, session::close, ["cookie", "host", "origin", "sec-fetch-site", "x-front"])
            .says("The session has ended, or there was none.")
            .error(403, "FORBIDDEN", session::FOREIGN)
            .error(503, "SERVICE_BUSY", "The session cannot be ended now.")
            .error(503, "PEER_UNAVAILABLE", "A service that this request needs is not available."),
    ],
}

/// A page whose content the script writes. It is the same for everybody, so the host caches it.
fn page(request: &Request) -> Result<Response, Failure> {
    let title = match request.path() {
        "/cart" => "Cart",
        "/login" => "Sign in",
        "/register" => "Register",
        "/my-orders" => "My orders",
        "/profile" => "Profile",
        "/admin/users" => "Users",
        "/admin/stock" => "Stock",
        _ => "Orders",
    };
    shell::page(title, &shell::script_needed(title))
}
