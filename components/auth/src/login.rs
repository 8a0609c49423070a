//! The way in: a name and a password become a session.

use kit::storage::{self, Transaction};
use kit::{Failure, Quota};
use username::Username;

use crate::host::{self, Event, PasswordError, Verdict};
use crate::model::password::Password;
use crate::model::throttle::{LOGIN, NETWORK, Subject, TooMany};
use crate::rows::logins::Login;
use crate::rows::{attempts, logins};
use crate::session::{self, TokenPair};

/// Logs somebody in. The answer does not depend on whether the name exists: neither what it says nor what it costs.
///
/// # Errors
/// 401 `INVALID_CREDENTIALS`, 429 `TOO_MANY_ATTEMPTS`, and 503 while too many passwords wait to be hashed.
pub(crate) fn log_in(name: &str, password: &Password<'_>, address: Option<&str>) -> Result<TokenPair, Failure> {
    let now = host::now_ms();
    // What cannot be a username is nobody's, and is counted as it is.
    let key = Username::parse(name).map_or_else(|_| name.to_owned(), |name| name.key().to_owned());
    let subjects = subjects(&key, address);
    let attempt = count_attempt(&subjects, &key, now)?;
    let Some((login, verdict)) = check_password(attempt, name, password, &subjects)? else {
        return Err(invalid_credentials());
    };
    // If the hasher is too busy for a better hash, the old one does until the next login.
    let better_hash = if verdict.outdated { host::hash(password.prepared()).ok() } else { None };
    let (session, pair) = session::begin(&login, now)?;

    let tx = storage::begin()?;
    // The login may have ended, or changed its password, while the hash was computed.
    if !logins::confirm(&tx, &login, better_hash.as_deref())? {
        host::tell(Event::AuthnLoginFail, name);
        return Err(invalid_credentials());
    }
    let surplus = session.open(&tx)?;
    count_success(&tx, &subjects)?;
    tx.commit()?;
    host::tell(Event::AuthnLoginSuccess, &login.username);
    session::end_surplus(&surplus);
    Ok(pair)
}

/// The login of a name, if the password is right. It counts as an attempt to log in, so that nobody guesses more here than there.
///
/// # Errors
/// 429 `TOO_MANY_ATTEMPTS`, and 503 while too many passwords wait to be hashed.
pub(crate) fn authenticate(
    name: &Username,
    password: &Password<'_>,
    address: Option<&str>,
) -> Result<Option<Login>, Failure> {
    let subjects = subjects(name.key(), address);
    let attempt = count_attempt(&subjects, name.key(), host::now_ms())?;
    let Some((login, _)) = check_password(attempt, name.as_str(), password, &subjects)? else {
        return Ok(None);
    };
    let tx = storage::begin()?;
    count_success(&tx, &subjects)?;
    tx.commit()?;
    Ok(Some(login))
}

/// Whose attempt it is.
fn subjects(key: &str, address: Option<&str>) -> Vec<Subject> {
    let account = Subject::Account(key.to_owned());
    [account].into_iter().chain(address.and_then(Subject::of_address)).collect()
}

/// An attempt that was counted.
struct Attempt {
    /// Whom it is for, if there is such a login.
    login: Option<Login>,
    /// Those for whom it is the last one for a while, unless it succeeds.
    last_of: Vec<Subject>,
}

/// Counts an attempt before it is evaluated, and finds the login that it is for.
fn count_attempt(subjects: &[Subject], key: &str, now: i64) -> Result<Attempt, Failure> {
    let tx = storage::begin()?;
    let mut last_of = Vec::new();
    for subject in subjects {
        let counted = subject.attempt(attempts::find(&tx, subject)?, now).map_err(too_many)?;
        if counted.refused_until > now {
            last_of.push(subject.clone());
        }
        attempts::save(&tx, subject, counted)?;
    }
    attempts::tidy(&tx, now)?;
    let login = logins::active(&tx, key)?;
    tx.commit()?;
    Ok(Attempt { login, last_of })
}

/// The login and what was found, if the password is right. As much work if there is no login.
fn check_password(
    Attempt { login, last_of }: Attempt,
    name: &str,
    password: &Password<'_>,
    subjects: &[Subject],
) -> Result<Option<(Login, Verdict)>, Failure> {
    let hash = login.as_ref().map(|login| login.password_hash.as_str());
    let verdict = verify(password, hash, subjects)?;
    let found = login.filter(|_| verdict.matches).map(|login| (login, verdict));
    if found.is_none() {
        host::tell(Event::AuthnLoginFail, name);
        for locked in last_of {
            // Of a network the host knows the address, and the name that was tried last is not locked.
            let name = if matches!(locked, Subject::Account(_)) { name } else { "" };
            host::tell(Event::AuthnLoginLock, name);
        }
    }
    Ok(found)
}

/// Compares each form of a password with a hash until one matches. Which forms there are depends on the password alone, so the
/// work tells nothing about the account.
fn verify(password: &Password<'_>, hash: Option<&str>, subjects: &[Subject]) -> Result<Verdict, Failure> {
    let mut is_evaluated = false;
    for form in password.forms() {
        match host::verify(form, hash) {
            Ok(Verdict { matches: true, outdated }) => {
                return Ok(Verdict { matches: true, outdated: outdated || form != password.prepared() });
            }
            Ok(_) => is_evaluated = true,
            // The policy lets nobody have a password of this length.
            Err(PasswordError::TooLong) => {}
            Err(PasswordError::Busy(seconds)) => {
                // An attempt stays counted if one form was compared: it was a guess.
                if !is_evaluated {
                    give_back(subjects)?;
                }
                return Err(host::busy(seconds));
            }
        }
    }
    Ok(Verdict { matches: false, outdated: false })
}

/// Uncounts an attempt that was not evaluated.
fn give_back(subjects: &[Subject]) -> Result<(), Failure> {
    let tx = storage::begin()?;
    for subject in subjects {
        give_back_one(&tx, subject)?;
    }
    Ok(tx.commit()?)
}

/// Clears the account. An address keeps its failures: its owner may have one good login and guess at others.
fn count_success(tx: &Transaction, subjects: &[Subject]) -> storage::Result<()> {
    for subject in subjects {
        match subject {
            Subject::Account(_) => attempts::forget(tx, subject)?,
            Subject::Address(_) => give_back_one(tx, subject)?,
        }
    }
    Ok(())
}

fn give_back_one(tx: &Transaction, subject: &Subject) -> storage::Result<()> {
    match attempts::find(tx, subject)? {
        Some(counted) => attempts::save(tx, subject, subject.give_back(counted)),
        None => Ok(()),
    }
}

/// How often somebody may try, for `RateLimit-Policy`.
pub(crate) fn policy() -> String {
    Quota::policy(&[LOGIN, NETWORK])
}

/// What a client is told of a name and a password that do not belong together.
pub(crate) fn invalid_credentials() -> Failure {
    Failure::unauthorized("INVALID_CREDENTIALS", "The username or the password is wrong.")
        .with_header("ratelimit-policy", policy())
}

fn too_many(refusal: TooMany) -> Failure {
    let TooMany { quota, retry_after_seconds } = refusal;
    Failure::new(429, "TOO_MANY_ATTEMPTS", "There were too many attempts to log in. Try again later.")
        .retry_after(retry_after_seconds)
        .with_header("ratelimit-policy", policy())
        .with_header("ratelimit", quota.used_up(retry_after_seconds))
}
