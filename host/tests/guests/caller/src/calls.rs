//! Calls to storage, tokens, passwords, randomness, clocks and output. Each returns its result as text.

use std::fmt::Debug;
use std::io::Write as _;

use crate::Parameter;
use crate::bindings::comptoir::platform::storage::{self, Transaction, Value};
use crate::bindings::comptoir::platform::{audit, passwords, token_verifier, tokens};
use crate::bindings::wasi::clocks::{monotonic_clock, wall_clock};
use crate::bindings::wasi::io::poll::poll as poll_all;
use crate::bindings::wasi::random::{insecure, insecure_seed, random as secure};

type Begun = Vec<Option<Transaction>>;

/// Maximum characters of a result.
const RESULT_LIMIT: usize = 200;

fn show(result: &impl Debug) -> String {
    let text = format!("{result:?}");
    text.chars().take(RESULT_LIMIT).collect()
}

fn values(parameters: Vec<Parameter>) -> Vec<Value> {
    parameters.into_iter().map(Value::from).collect()
}

pub(crate) fn query(sql: &str, parameters: Vec<Parameter>) -> String {
    show(&storage::query(sql, &values(parameters)))
}

pub(crate) fn execute(sql: &str, parameters: Vec<Parameter>) -> String {
    show(&storage::execute(sql, &values(parameters)))
}

pub(crate) fn begin(begun: &mut Begun) -> String {
    match storage::begin() {
        Ok(transaction) => {
            begun.push(Some(transaction));
            "begun".to_owned()
        }
        Err(error) => show(&error),
    }
}

/// Calls a function with an open transaction.
fn with(begun: &mut Begun, index: usize, call: impl FnOnce(&Transaction) -> String) -> String {
    match begun.get(index) {
        Some(Some(transaction)) => call(transaction),
        _ => "no transaction".to_owned(),
    }
}

pub(crate) fn query_in(begun: &mut Begun, index: usize, sql: &str, parameters: Vec<Parameter>) -> String {
    with(begun, index, |transaction| show(&transaction.query(sql, &values(parameters))))
}

pub(crate) fn execute_in(begun: &mut Begun, index: usize, sql: &str, parameters: Vec<Parameter>) -> String {
    with(begun, index, |transaction| show(&transaction.execute(sql, &values(parameters))))
}

pub(crate) fn commit(begun: &mut Begun, index: usize) -> String {
    match begun.get_mut(index).and_then(Option::take) {
        Some(transaction) => show(&Transaction::commit(transaction)),
        None => "no transaction".to_owned(),
    }
}

pub(crate) fn drop_one(begun: &mut Begun, index: usize) -> String {
    show(&begun.get_mut(index).and_then(Option::take).map(drop))
}

pub(crate) fn issue(subject: &str, role: &str, session: &str) -> String {
    show(&tokens::issue(subject, role, session))
}

pub(crate) fn revoke(session: &str) -> String {
    show(&tokens::revoke(session))
}

pub(crate) fn verify_token(token: &str) -> String {
    show(&token_verifier::verify(token))
}

pub(crate) fn hash(password: &str) -> String {
    show(&passwords::hash(password))
}

pub(crate) fn verify_password(password: &str, hash: Option<&str>) -> String {
    show(&passwords::verify(password, hash))
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
    show(&insecure_seed::insecure_seed())
}

/// Reads both clocks and creates one timer of each kind.
pub(crate) fn clocks(nanoseconds: u64) -> String {
    let at = monotonic_clock::subscribe_instant(nanoseconds).ready();
    let after = monotonic_clock::subscribe_duration(nanoseconds).ready();
    let now = (wall_clock::now(), wall_clock::resolution(), monotonic_clock::now(), monotonic_clock::resolution());
    show(&(at, after, now))
}

pub(crate) fn poll(durations: &[u64]) -> String {
    let all: Vec<_> = durations.iter().map(|duration| monotonic_clock::subscribe_duration(*duration)).collect();
    show(&poll_all(&all.iter().collect::<Vec<_>>()))
}

pub(crate) fn print(bytes: &[u8]) -> String {
    show(&(std::io::stdout().write_all(bytes), std::io::stderr().write_all(bytes)))
}
