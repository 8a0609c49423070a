//! Host interfaces that only auth imports: passwords, tokens, randomness, the audit log, and a clock in milliseconds.

#[cfg(not(test))]
use bindings::comptoir::platform::{audit, passwords, token_verifier, tokens};
#[cfg(not(test))]
use bindings::wasi::{clocks::wall_clock, random::random};
use kit::Failure;

pub(crate) use bindings::comptoir::platform::audit::Event;
pub(crate) use bindings::comptoir::platform::passwords::{Error as PasswordError, Verdict};
pub(crate) use bindings::comptoir::platform::token_verifier::Claims;
pub(crate) use bindings::comptoir::platform::tokens::{AccessToken, Error as TokenError};

use crate::model;
#[cfg(test)]
use crate::test_host::{audit, passwords, random, token_verifier, tokens, wall_clock};

mod bindings {
    #![allow(
        missing_docs,
        unsafe_code,
        unreachable_pub,
        unused_qualifications,
        clippy::all,
        clippy::cognitive_complexity,
        clippy::needless_pass_by_value,
        clippy::semicolon_if_nothing_returned,
        clippy::uninlined_format_args,
        reason = "wit-bindgen writes this module"
    )]

    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package comptoir:auth;

            world auth-alone {
                import wasi:clocks/wall-clock@0.2.12;
                import wasi:random/random@0.2.12;
                import comptoir:platform/passwords@0.1.0;
                import comptoir:platform/tokens@0.1.0;
                import comptoir:platform/token-verifier@0.1.0;
                import comptoir:platform/audit@0.1.0;
            }
        ",
        world: "comptoir:auth/auth-alone",
        generate_all,
    });
}

/// Milliseconds since 1970-01-01 UTC.
pub(crate) fn now_ms() -> i64 {
    let now = wall_clock::now();
    let ms = now.seconds.saturating_mul(1000).saturating_add(u64::from(now.nanoseconds / 1_000_000));
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// A new secret: 256 random bits in base64url.
pub(crate) fn secret() -> String {
    model::base64url(&random::get_random_bytes(32))
}

/// A new unique id: 128 random bits in base64url.
pub(crate) fn unique_id() -> String {
    model::base64url(&random::get_random_bytes(16))
}

/// Minimum length of a new password in characters. The operator sets it.
pub(crate) fn minimum_length() -> u32 {
    passwords::minimum_length()
}

/// Hashes a password that the password policy accepted.
///
/// # Errors
/// 503 if the host's password queue is full.
pub(crate) fn hash(password: &str) -> Result<String, Failure> {
    passwords::hash(password).map_err(|error| match error {
        PasswordError::Busy(seconds) => busy(seconds),
        PasswordError::TooLong => Failure::internal("the password policy accepted a password too long for the host"),
    })
}

/// Checks a password against a hash. Without a hash it takes the same time and does not match.
pub(crate) fn verify(password: &str, hash: Option<&str>) -> Result<Verdict, PasswordError> {
    passwords::verify(password, hash)
}

/// Issues an access token for a session.
pub(crate) fn issue(username: &str, role: &str, session: &str) -> Result<AccessToken, TokenError> {
    tokens::issue(username, role, session)
}

/// Ends a session: from now on the host refuses all of its access tokens.
///
/// # Errors
/// 503 if the host cannot record it. Then the session stays valid.
pub(crate) fn revoke(session: &str) -> Result<(), Failure> {
    tokens::revoke(session).map_err(token_failure)
}

/// Writes a line to the host's audit log. The subject is a username, or what a client sent as one.
pub(crate) fn audit(event: Event, subject: &str) {
    audit::tell(event, subject);
}

/// The claims of an access token. None if the gate would refuse the token.
pub(crate) fn claims(token: &str) -> Option<Claims> {
    token_verifier::verify(token)
}

/// The response if the host issues no token.
pub(crate) fn token_failure(error: TokenError) -> Failure {
    match error {
        TokenError::Unavailable => {
            Failure::unavailable("SERVICE_BUSY", "The host cannot issue or revoke tokens now. Try again.", 1)
        }
        TokenError::SessionEnded => Failure::internal("the host says that a new session has already ended"),
        TokenError::Invalid(claim) => Failure::internal(format_args!("the host refused a token claim: {claim}")),
    }
}

/// 503: the host's password queue is full.
pub(crate) fn busy(retry_after_seconds: u32) -> Failure {
    Failure::unavailable("SERVICE_BUSY", "Too many users are logging in. Try again.", retry_after_seconds.max(1))
}
