//! Storage, tokens, passwords, randomness, clocks and output.

use std::fmt::Debug;
use std::io::Write as _;

use crate::Parameter;
use crate::bindings::comptoir::platform::storage::{self, Transaction, Value};
use crate::bindings::comptoir::platform::{audit, passwords, token_verifier, tokens};
use crate::bindings::wasi::clocks::{monotonic_clock, wall_clock};
use crate::bindings::wasi::io::poll::poll as poll_all;
use crate::bindings::wasi::random::{insecure, insecure_seed, random as secure};

type Begun = Vec<Option<Transaction>>;

/// At most so much of a value is told.
const TOLD: usize = 200;

fn tell(what: &impl Debug) -> String {
    let told = format!("{what:?}");
    told.chars().take(TOLD).collect()
}

fn values(parameters: Vec<Parameter>) -> Vec<Value> {
    parameters.into_iter().map(Value::from).collect()
}

pub(crate) fn query(sql: &str, parameters: Vec<Parameter>) -> String {
    tell(&storage::query(sql, &values(parameters)))
}

pub(crate) fn execute(sql: &str, parameters: Vec<Parameter>) -> String {
    tell(&storage::execute(sql, &values(parameters)))
}

pub(crate) fn begin(begun: &mut Begun) -> String {
    match storage::begin() {
        Ok(transaction) => {
            begun.push(Some(transaction));
            "begun".to_owned()
        }
        Err(error) => tell(&error),
    }
}

/// Does something with the transaction at a place.
fn with(begun: &mut Begun, place: usize, what: impl FnOnce(&Transaction) -> String) -> String {
    match begun.get(place) {
        Some(Some(transaction)) => what(transaction),
        _ => "no transaction".to_owned(),
    }
}

pub(crate) fn query_in(begun: &mut Begun, place: usize, sql: &str, parameters: Vec<Parameter>) -> String {
    with(begun, place, |transaction| tell(&transaction.query(sql, &values(parameters))))
}

pub(crate) fn execute_in(begun: &mut Begun, place: usize, sql: &str, parameters: Vec<Parameter>) -> String {
    with(begun, place, |transaction| tell(&transaction.execute(sql, &values(parameters))))
}

pub(crate) fn commit(begun: &mut Begun, place: usize) -> String {
    match begun.get_mut(place).and_then(Option::take) {
        Some(transaction) => tell(&Transaction::commit(transaction)),
        None => "no transaction".to_owned(),
    }
}

pub(crate) fn drop_one(begun: &mut Begun, place: usize) -> String {
    tell(&begun.get_mut(place).and_then(Option::take).map(drop))
}

pub(crate) fn issue(subject: &str, role: &str, session: &str) -> String {
    tell(&tokens::issue(subject, role, session))
}

pub(crate) fn revoke(session: &str) -> String {
    tell(&tokens::revoke(session))
}

pub(crate) fn verify_token(token: &str) -> String {
    tell(&token_verifier::verify(token))
}

pub(crate) fn hash(password: &str) -> String {
    tell(&passwords::hash(password))
}

pub(crate) fn verify_password(password: &str, hash: Option<&str>) -> String {
    tell(&passwords::verify(password, hash))
}

pub(crate) fn tell_audit(times: u8, subject: &str) -> String {
    (0..times).for_each(|_| audit::tell(audit::Event::AuthnLoginFail, subject));
    times.to_string()
}

pub(crate) fn random(bytes: u64) -> String {
    format!("{} bytes, {}", secure::get_random_bytes(bytes).len(), secure::get_random_u64())
}

pub(crate) fn insecure_random(bytes: u64) -> String {
    format!("{} bytes, {}", insecure::get_insecure_random_bytes(bytes).len(), insecure::get_insecure_random_u64())
}

pub(crate) fn seed() -> String {
    tell(&insecure_seed::insecure_seed())
}

/// Asks what time it is, and makes handles for a moment and for a span of time.
pub(crate) fn clocks(nanoseconds: u64) -> String {
    let at = monotonic_clock::subscribe_instant(nanoseconds).ready();
    let after = monotonic_clock::subscribe_duration(nanoseconds).ready();
    let now = (wall_clock::now(), wall_clock::resolution(), monotonic_clock::now(), monotonic_clock::resolution());
    tell(&(at, after, now))
}

pub(crate) fn poll(moments: &[u64]) -> String {
    let all: Vec<_> = moments.iter().map(|moment| monotonic_clock::subscribe_duration(*moment)).collect();
    tell(&poll_all(&all.iter().collect::<Vec<_>>()))
}

pub(crate) fn print(bytes: &[u8]) -> String {
    tell(&(std::io::stdout().write_all(bytes), std::io::stderr().write_all(bytes)))
}
