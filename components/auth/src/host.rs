//! What the host does for auth alone: passwords, tokens, randomness, the audit log, and the time to the millisecond.

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
use crate::stand_in::{audit, passwords, random, token_verifier, tokens, wall_clock};

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

/// 256 bits that nobody can guess, in base64url.
pub(crate) fn secret() -> String {
    model::base64url(&random::get_random_bytes(32))
}

/// 128 bits that no other call gives, in base64url.
pub(crate) fn unique_id() -> String {
    model::base64url(&random::get_random_bytes(16))
}

/// How many characters a new password must have, as the operator wants it.
pub(crate) fn minimum_length() -> u32 {
    passwords::minimum_length()
}

/// Hashes a password that the policy accepted.
///
/// # Errors
/// 503 while too many others wait.
pub(crate) fn hash(password: &str) -> Result<String, Failure> {
    passwords::hash(password).map_err(|error| match error {
        PasswordError::Busy(seconds) => busy(seconds),
        PasswordError::TooLong => Failure::internal("the host hashes less than the password policy accepts"),
    })
}

/// Checks a password. Without a hash it takes as long and says no.
pub(crate) fn verify(password: &str, hash: Option<&str>) -> Result<Verdict, PasswordError> {
    passwords::verify(password, hash)
}

/// An access token for a session.
pub(crate) fn issue(username: &str, role: &str, session: &str) -> Result<AccessToken, TokenError> {
    tokens::issue(username, role, session)
}

/// Ends a session: from here on each of its access tokens is refused everywhere.
///
/// # Errors
/// 503 when the host cannot record it; then nothing ended.
pub(crate) fn revoke(session: &str) -> Result<(), Failure> {
    tokens::revoke(session).map_err(token_failure)
}

/// Has the host's audit log say what happened to somebody.
pub(crate) fn tell(event: Event, subject: &str) {
    audit::tell(event, subject);
}

/// What a token stands for, if it is good now.
pub(crate) fn claims(token: &str) -> Option<Claims> {
    token_verifier::verify(token)
}

/// What a client is told when the host has no token for it.
pub(crate) fn token_failure(error: TokenError) -> Failure {
    match error {
        TokenError::Unavailable => Failure::unavailable("SERVICE_BUSY", "Tokens cannot be had just now.", 1),
        TokenError::SessionEnded => Failure::internal("a session ended before it began"),
        TokenError::Invalid(claim) => Failure::internal(format_args!("a claim was refused: {claim}")),
    }
}

/// What a client is told while too many passwords wait to be hashed.
pub(crate) fn busy(retry_after_seconds: u32) -> Failure {
    Failure::unavailable("SERVICE_BUSY", "Too many are logging in just now.", retry_after_seconds.max(1))
}
