//! Login: exchanges a username and a password for a session.

use kit::storage::{self, Transaction};
use kit::{Failure, Quota};
use username::Username;

use crate::host::{self, Event, PasswordError, Verdict};
use crate::model::password::Password;
use crate::model::throttle::{LOGIN, NETWORK, Subject, TooMany};
use crate::rows::logins::Login;
use crate::rows::{attempts, logins};
use crate::session::{self, TokenPair};

/// Logs a user in.
///
/// A failure looks the same for known and unknown names, in its text and in the work that it costs.
///
/// # Errors
/// 401 `INVALID_CREDENTIALS`, 429 `TOO_MANY_ATTEMPTS`, and 503 if the host's password queue is full.
pub(crate) fn log_in(name: &str, password: &Password<'_>, address: Option<&str>) -> Result<TokenPair, Failure> {
    let now = host::now_ms();
    // A text that cannot be a username matches no login. Its attempts count under the text itself.
    let key = Username::parse(name).map_or_else(|_| name.to_owned(), |name| name.key().to_owned());
    let subjects = subjects(&key, address);
    let attempt = count_attempt(&subjects, &key, now)?;
    let Some((login, verdict)) = check_password(attempt, name, password, &subjects)? else {
        return Err(invalid_credentials());
    };
    // If the password queue is full, the outdated hash stays until the next login.
    let better_hash = if verdict.outdated { host::hash(password.prepared()).ok() } else { None };
    let (session, pair) = session::begin(&login, now)?;

    let tx = storage::begin()?;
    // Meanwhile, another request may have deleted the login or changed its password.
    if !logins::confirm(&tx, &login, better_hash.as_deref())? {
        host::audit(Event::AuthnLoginFail, name);
        return Err(invalid_credentials());
    }
    let surplus = session.open(&tx)?;
    count_success(&tx, &subjects)?;
    tx.commit()?;
    host::audit(Event::AuthnLoginSuccess, &login.username);
    session::end_surplus(&surplus);
    Ok(pair)
}

/// Checks a username and a password without opening a session. None if they do not match.
///
/// Counts as a login attempt, so other routes give an attacker no additional guesses.
///
/// # Errors
/// 429 `TOO_MANY_ATTEMPTS`, and 503 if the host's password queue is full.
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

/// The counters of an attempt: the account's, and the client network's.
fn subjects(key: &str, address: Option<&str>) -> Vec<Subject> {
    let account = Subject::Account(key.to_owned());
    [account].into_iter().chain(address.and_then(Subject::of_address)).collect()
}

/// A counted attempt.
struct Attempt {
    /// The login of the name. None for an unknown name.
    login: Option<Login>,
    /// Subjects that this attempt locks if it fails.
    last_of: Vec<Subject>,
}

/// Counts an attempt and finds the login. This comes before the password check.
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

/// The login, if the password matches. An unknown name costs the same work.
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
        host::audit(Event::AuthnLoginFail, name);
        for locked in last_of {
            // The event of a locked network names no account, because none is locked. The host adds the address.
            let name = if matches!(locked, Subject::Account(_)) { name } else { "" };
            host::audit(Event::AuthnLoginLock, name);
        }
    }
    Ok(found)
}

/// Compares each form of a password with a hash until one matches.
///
/// The number of forms depends only on the password, so the time reveals nothing about the account.
fn verify(password: &Password<'_>, hash: Option<&str>, subjects: &[Subject]) -> Result<Verdict, Failure> {
    let mut is_evaluated = false;
    for form in password.forms() {
        match host::verify(form, hash) {
            Ok(Verdict { matches: true, outdated }) => {
                return Ok(Verdict { matches: true, outdated: outdated || form != password.prepared() });
            }
            Ok(_) => is_evaluated = true,
            // The password policy accepts no password this long, so it cannot match.
            Err(PasswordError::TooLong) => {}
            Err(PasswordError::Busy(seconds)) => {
                // If the host compared one form, the attempt was a guess and stays counted.
                if !is_evaluated {
                    give_back(subjects)?;
                }
                return Err(host::busy(seconds));
            }
        }
    }
    Ok(Verdict { matches: false, outdated: false })
}

/// Removes an attempt that the host did not evaluate from the counts.
fn give_back(subjects: &[Subject]) -> Result<(), Failure> {
    let tx = storage::begin()?;
    for subject in subjects {
        give_back_one(&tx, subject)?;
    }
    Ok(tx.commit()?)
}

/// Resets the account's counter after a success, and removes the attempt from the address's count.
///
/// The address keeps its failures, because an attacker may own one account and guess at others.
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

/// The value of `RateLimit-Policy` for login attempts.
pub(crate) fn policy() -> String {
    Quota::policy(&[LOGIN, NETWORK])
}

/// 401: the username or the password is wrong.
pub(crate) fn invalid_credentials() -> Failure {
    Failure::unauthorized("INVALID_CREDENTIALS", "The username or the password is wrong.")
        .with_header("ratelimit-policy", policy())
}

fn too_many(refusal: TooMany) -> Failure {
    let TooMany { quota, retry_after_seconds } = refusal;
    Failure::new(429, "TOO_MANY_ATTEMPTS", "Too many login attempts. Try again later.")
        .retry_after(retry_after_seconds)
        .with_header("ratelimit-policy", policy())
        .with_header("ratelimit", quota.used_up(retry_after_seconds))
}
