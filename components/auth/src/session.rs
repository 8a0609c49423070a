//! Sessions: begun by a login, kept alive by refresh tokens, ended once and for all.
//!
//! The host is told first that a session ended, then its rows go: if the second step fails, nothing of the session works
//! all the same.

use kit::storage::{self, Transaction};
use kit::{Caller, Failure};
use serde::Serialize;

use crate::host::{self, AccessToken, Event, TokenError};
use crate::model::refresh_token::Origin;
use crate::model::rotation::Judgement;
use crate::model::{self, rotation};
use crate::rows::logins::Login;
use crate::rows::sessions::{self, Found, MOST_SESSIONS, NewToken};

/// How many sessions a login may have. A further one ends the oldest. So a list of them is one page.
const SESSIONS_LIMIT: u32 = 1000;

/// What a client gets to prove itself with.
#[derive(Debug, Serialize)]
pub(crate) struct TokenPair {
    access_token: String,
    refresh_token: String,
    token_type: &'static str,
    expires_in: u32,
    /// Seconds since 1970-01-01 UTC.
    refresh_expires_at: i64,
}

/// A session that has its tokens but is not stored yet.
#[derive(Debug)]
pub(crate) struct Session {
    login_id: i64,
    id: String,
    digest: String,
    family_digest: String,
    now: i64,
}

/// A session as its owner sees it. Moments are `YYYY-MM-DD HH:MM:SS` in UTC.
#[derive(Debug, Serialize)]
pub(crate) struct Open {
    /// What its access tokens call `sid`. It lets nobody in.
    id: String,
    /// When its owner logged in.
    date_creation: String,
    /// When it got its newest tokens.
    date_last_use: String,
    /// When it ends by itself, unless it gets new tokens before.
    date_expiry: String,
    /// Whether the request came in it.
    current: bool,
}

/// Which of a login's sessions are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The caller's own.
    Local,
    /// All but that.
    Others,
    /// All.
    Global,
}

/// Begins a session: nobody has its tokens before it is opened.
pub(crate) fn begin(login: &Login, now: i64) -> Result<(Session, TokenPair), Failure> {
    let (id, family) = (host::unique_id(), host::unique_id());
    let access = host::issue(&login.username, &login.role, &id).map_err(host::token_failure)?;
    let (pair, digest) = pair(access, Origin { session: &id, family: &family }, now);
    Ok((Session { login_id: login.id, id, digest, family_digest: model::digest(&family), now }, pair))
}

impl Session {
    /// Stores the session. Gives older ones that the login has too many of, to be ended after the commit.
    pub(crate) fn open(&self, tx: &Transaction) -> storage::Result<Vec<String>> {
        let Session { id, digest, family_digest, now, .. } = self;
        sessions::open(tx, self.login_id, new_token(id, digest, family_digest, 1, *now))?;
        sessions::tidy(tx, self.now)?;
        sessions::surplus(tx, self.login_id, SESSIONS_LIMIT)
    }
}

/// Exchanges a refresh token for a new pair, once.
///
/// # Errors
/// 401 `INVALID_TOKEN`, the same whatever was wrong.
pub(crate) fn refresh(refresh_token: &str) -> Result<TokenPair, Failure> {
    let now = host::now_ms();
    let digest = model::digest(refresh_token);
    let Some(found) = sessions::find_token(&digest)? else {
        // Not stored, but of a session's family: older than the tokens that are.
        return Err(match forgotten(refresh_token, now)? {
            Some((session, username)) => end_stolen(&session, &username)?,
            None => invalid_token(),
        });
    };
    match found.token.judge(now) {
        Judgement::Rotate => rotate(&found, refresh_token, &digest, now),
        Judgement::Refuse => Err(invalid_token()),
        Judgement::EndSession => Err(end_stolen(&found.session, &found.username)?),
    }
}

/// The session of a token that is not stored any more, and whose it is.
fn forgotten(refresh_token: &str, now: i64) -> Result<Option<(String, String)>, Failure> {
    let Some(Origin { session, family }) = Origin::of(refresh_token) else { return Ok(None) };
    let owner = sessions::owner_of_family(session, &model::digest(family), now)?;
    Ok(owner.map(|username| (session.to_owned(), username)))
}

/// Ends a session of which two parties have tokens. Gives what the one that came is told.
fn end_stolen(session: &str, username: &str) -> Result<Failure, Failure> {
    host::tell(Event::AuthnTokenReuse, username);
    eprintln!("a used refresh token came back: the session of {username:?} is ended");
    end(session)?;
    Ok(invalid_token())
}

fn rotate(found: &Found, refresh_token: &str, digest: &str, now: i64) -> Result<TokenPair, Failure> {
    let access = match host::issue(&found.username, &found.role, &found.session) {
        Ok(access) => access,
        Err(TokenError::SessionEnded) => {
            delete(&found.session)?;
            return Err(invalid_token());
        }
        Err(error) => return Err(host::token_failure(error)),
    };
    // A token of before families is the last of its kind in its session.
    let family = Origin::of(refresh_token).map_or_else(host::unique_id, |origin| origin.family.to_owned());
    let (pair, successor) = pair(access, Origin { session: &found.session, family: &family }, now);
    let tx = storage::begin()?;
    let generation = found.token.generation + 1;
    let family_digest = model::digest(&family);
    if !sessions::rotate(&tx, digest, new_token(&found.session, &successor, &family_digest, generation, now))? {
        // Another request with the same token was quicker, a moment ago: a race, not theft.
        return Err(invalid_token());
    }
    sessions::tidy(&tx, now)?;
    tx.commit()?;
    Ok(pair)
}

/// Ends the session of a refresh token, if it is the caller's; without one, the session of the caller's own token.
pub(crate) fn log_out(caller: &Caller, refresh_token: Option<&str>) -> Result<(), Failure> {
    let Some(refresh_token) = refresh_token else {
        return end(own(caller)?);
    };
    let found = match sessions::find_token(&model::digest(refresh_token))? {
        Some(found) => Some((found.session, found.username)),
        None => forgotten(refresh_token, host::now_ms())?,
    };
    match found {
        Some((session, username)) if username == caller.username => end(&session),
        _ => Ok(()),
    }
}

/// The sessions of the caller's login that have not expired, newest first.
pub(crate) fn list(caller: &Caller) -> Result<Vec<Open>, Failure> {
    let own = own(caller)?;
    let date = |ms: i64| kit::clock::date_time(ms.div_euclid(1000));
    let open = sessions::beside(own, host::now_ms(), SESSIONS_LIMIT)?.into_iter().map(|session| Open {
        current: session.id == own,
        date_creation: date(session.created_at),
        date_last_use: date(session.refreshed_at),
        date_expiry: date(session.expires_at),
        id: session.id,
    });
    Ok(open.collect())
}

/// Ends one session of the caller's login.
///
/// # Errors
/// 404 `SESSION_NOT_FOUND` for anybody else's, as for one that there is not.
pub(crate) fn end_one(caller: &Caller, id: &str) -> Result<(), Failure> {
    if !sessions::are_of_one_login(own(caller)?, id)? {
        return Err(Failure::not_found("SESSION_NOT_FOUND", "You have no such session."));
    }
    end(id)
}

/// Ends sessions of the caller's login. The caller's own comes last: one that broke off can be asked for again.
///
/// # Errors
/// 503 when not all could be ended.
pub(crate) fn end_several(caller: &Caller, scope: Scope) -> Result<(), Failure> {
    let own = own(caller)?;
    if scope != Scope::Local
        && let Some(login_id) = sessions::login_of(own)?
    {
        let mut others = sessions::of_login(login_id)?;
        let are_all = others.len() < MOST_SESSIONS;
        others.retain(|session| session != own);
        end_sessions(&others, are_all)?;
    }
    if scope == Scope::Others { Ok(()) } else { end(own) }
}

/// The session of the caller's own token. It names the login too, and more surely than the username: that may be somebody else's
/// by the time a request is worked on.
fn own(caller: &Caller) -> Result<&str, Failure> {
    caller.session.as_deref().ok_or_else(|| Failure::internal("the host gave no x-session-id"))
}

/// Ends a session: none of its tokens is good when this returns.
///
/// # Errors
/// 503 when it could not be ended.
pub(crate) fn end(session: &str) -> Result<(), Failure> {
    host::revoke(session)?;
    delete(session)
}

/// Deletes the rows of a session that has ended. What is too much for one request is left to later ones.
fn delete(session: &str) -> Result<(), Failure> {
    if !sessions::delete(&[session.to_owned()])? {
        sessions::expire(session)?;
    }
    Ok(())
}

/// Ends sessions, and deletes all of their rows. `are_all` says whether there are no others to end.
///
/// # Errors
/// 503 when not all could be ended, or there was more to delete than one request should: the next goes on from there.
fn end_sessions(sessions: &[String], are_all: bool) -> Result<(), Failure> {
    sessions.iter().try_for_each(|session| host::revoke(session))?;
    if sessions::delete(sessions)? && are_all {
        return Ok(());
    }
    Err(Failure::unavailable("SERVICE_BUSY", "Not all of the sessions are deleted yet: send this again.", 1))
}

/// Ends sessions that a login has too many of. What cannot be ended now is left to the next login.
pub(crate) fn end_surplus(sessions: &[String]) {
    for session in sessions {
        if let Err(failure) = end(session) {
            eprintln!("a session too many could not be ended: {}", failure.message);
        }
    }
}

/// Ends every session of a login. The caller has seen to it that no further one can begin.
///
/// # Errors
/// 503 when not all could be ended.
pub(crate) fn end_all(login_id: i64) -> Result<(), Failure> {
    let sessions = sessions::of_login(login_id)?;
    end_sessions(&sessions, sessions.len() < MOST_SESSIONS)
}

/// What a client is told of every token that is not good: the host's words, so that it learns nothing about others.
pub(crate) fn invalid_token() -> Failure {
    Failure::unauthorized("INVALID_TOKEN", "The token is invalid or has expired")
}

/// The pair as the client gets it, and the digest of its refresh token.
fn pair(access: AccessToken, origin: Origin<'_>, now: i64) -> (TokenPair, String) {
    let refresh_token = origin.token(&host::secret());
    let digest = model::digest(&refresh_token);
    let pair = TokenPair {
        access_token: access.token,
        refresh_token,
        token_type: "Bearer",
        expires_in: access.expires_in_seconds,
        refresh_expires_at: (now + rotation::LIFETIME_MS) / 1000,
    };
    (pair, digest)
}

fn new_token<'a>(session: &'a str, digest: &'a str, family_digest: &'a str, generation: i64, now: i64) -> NewToken<'a> {
    NewToken { session, digest, family_digest, generation, issued_at: now, expires_at: now + rotation::LIFETIME_MS }
}
