//! Sessions: a login opens one, refresh tokens extend it, and an end is final.
//!
//! To end a session, auth first has the host revoke its tokens and then deletes its rows. If the second step fails, the
//! session still gives no access.

use kit::clock::DateTime;
use kit::storage::{self, Transaction};
use kit::{Caller, Failure};
use schemars::JsonSchema;
use serde::Serialize;

use crate::host::{self, AccessToken, Event, TokenError};
use crate::model::refresh_token::Origin;
use crate::model::rotation::Judgement;
use crate::model::{self, rotation};
use crate::rows::logins::Login;
use crate::rows::sessions::{self, Found, MOST_SESSIONS, NewToken};

/// Maximum number of sessions of a login. One more ends the oldest. So a list of sessions is one page.
const SESSIONS_LIMIT: u32 = 1000;

/// An access token with a refresh token, as the client gets them.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TokenPair {
    /// A JWT, for Authorization: Bearer.
    #[schemars(length(min = 1))]
    access_token: String,
    #[schemars(length(min = 1))]
    refresh_token: String,
    /// Always `Bearer`.
    #[schemars(extend("const" = "Bearer"))]
    token_type: &'static str,
    /// Lifetime of the access token in seconds.
    #[schemars(range(min = 1))]
    expires_in: u32,
    /// Seconds since 1970-01-01 UTC.
    refresh_expires_at: i64,
}

/// A session that is not stored yet.
#[derive(Debug)]
pub(crate) struct NewSession {
    login_id: i64,
    id: String,
    digest: String,
    family_digest: String,
    now: i64,
}

/// A session as its owner sees it. Times are `YYYY-MM-DD HH:MM:SS` in UTC.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Session")]
pub(crate) struct SessionView {
    /// The claim `sid` of its access tokens. It is no secret: it gives no access.
    #[schemars(length(min = 1))]
    id: String,
    /// When its owner logged in.
    #[schemars(with = "DateTime")]
    date_creation: String,
    /// When the client got its newest tokens.
    #[schemars(with = "DateTime")]
    date_last_use: String,
    /// When the session expires if the client does not refresh it.
    #[schemars(with = "DateTime")]
    date_expiry: String,
    /// Whether the current request belongs to this session.
    current: bool,
}

/// Which of the caller's sessions to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// The session of the request.
    Local,
    /// All except the session of the request.
    Others,
    /// All sessions.
    Global,
}

/// Creates a session and its tokens. The caller stores it with [`NewSession::open`] before it sends the tokens.
pub(crate) fn begin(login: &Login, now: i64) -> Result<(NewSession, TokenPair), Failure> {
    let (id, family) = (host::unique_id(), host::unique_id());
    let access = host::issue(&login.username, &login.role, &id).map_err(host::token_failure)?;
    let (pair, digest) = pair(access, Origin { session: &id, family: &family }, now);
    Ok((NewSession { login_id: login.id, id, digest, family_digest: model::digest(&family), now }, pair))
}

impl NewSession {
    /// Stores the session. Returns surplus sessions of the login, which the caller ends after the commit.
    pub(crate) fn open(&self, tx: &Transaction) -> storage::Result<Vec<String>> {
        let NewSession { id, digest, family_digest, now, .. } = self;
        sessions::open(tx, self.login_id, new_token(id, digest, family_digest, 1, *now))?;
        sessions::tidy(tx, self.now)?;
        sessions::surplus(tx, self.login_id, SESSIONS_LIMIT)
    }
}

/// Exchanges a refresh token for a new pair. Works once for each token.
///
/// # Errors
/// 401 `INVALID_TOKEN`, with the same text for every cause.
pub(crate) fn refresh(refresh_token: &str) -> Result<TokenPair, Failure> {
    let now = host::now_ms();
    let digest = model::digest(refresh_token);
    let Some(found) = sessions::find_token(&digest)? else {
        // A token that is not stored but has a session's family is older than the stored tokens.
        return Err(match find_by_family(refresh_token, now)? {
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

/// The session and the username of an old token that is no longer stored.
fn find_by_family(refresh_token: &str, now: i64) -> Result<Option<(String, String)>, Failure> {
    let Some(Origin { session, family }) = Origin::of(refresh_token) else { return Ok(None) };
    let owner = sessions::owner_of_family(session, &model::digest(family), now)?;
    Ok(owner.map(|username| (session.to_owned(), username)))
}

/// Ends a session because two parties hold its tokens. Returns the response.
fn end_stolen(session: &str, username: &str) -> Result<Failure, Failure> {
    host::audit(Event::AuthnTokenReuse, username);
    kit::log::warn!("a used refresh token was presented again: ending the session of {username:?}");
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
    // A token from an older version has no family. Its successor gets one.
    let family = Origin::of(refresh_token).map_or_else(host::unique_id, |origin| origin.family.to_owned());
    let (pair, successor) = pair(access, Origin { session: &found.session, family: &family }, now);
    let tx = storage::begin()?;
    let generation = found.token.generation + 1;
    let family_digest = model::digest(&family);
    if !sessions::rotate(&tx, digest, new_token(&found.session, &successor, &family_digest, generation, now))? {
        // Another request with the same token was faster: a race, not theft.
        return Err(invalid_token());
    }
    sessions::tidy(&tx, now)?;
    tx.commit()?;
    Ok(pair)
}

/// Ends the session of a refresh token if it belongs to the caller. Without a refresh token, ends the request's session.
pub(crate) fn log_out(caller: &Caller, refresh_token: Option<&str>) -> Result<(), Failure> {
    let Some(refresh_token) = refresh_token else {
        return end(own(caller)?);
    };
    match owner(refresh_token)? {
        Some((session, username)) if username == caller.username => end(&session),
        _ => Ok(()),
    }
}

/// Ends the session of a refresh token, if there is one.
pub(crate) fn close(refresh_token: &str) -> Result<(), Failure> {
    owner(refresh_token)?.map_or(Ok(()), |(session, _)| end(&session))
}

/// The session and the username of a refresh token, also of an old one.
fn owner(refresh_token: &str) -> Result<Option<(String, String)>, Failure> {
    Ok(match sessions::find_token(&model::digest(refresh_token))? {
        Some(found) => Some((found.session, found.username)),
        None => find_by_family(refresh_token, host::now_ms())?,
    })
}

/// The caller's open sessions, newest first.
pub(crate) fn list(caller: &Caller) -> Result<Vec<SessionView>, Failure> {
    let own = own(caller)?;
    let date = |ms: i64| kit::clock::date_time(ms.div_euclid(1000));
    let open = sessions::beside(own, host::now_ms(), SESSIONS_LIMIT)?.into_iter().map(|session| SessionView {
        current: session.id == own,
        date_creation: date(session.created_at),
        date_last_use: date(session.refreshed_at),
        date_expiry: date(session.expires_at),
        id: session.id,
    });
    Ok(open.collect())
}

/// Ends one of the caller's sessions.
///
/// # Errors
/// 404 `SESSION_NOT_FOUND` for an unknown session and for another user's.
pub(crate) fn end_one(caller: &Caller, id: &str) -> Result<(), Failure> {
    if !sessions::are_of_one_login(own(caller)?, id)? {
        return Err(Failure::not_found("SESSION_NOT_FOUND", "You have no such session."));
    }
    end(id)
}

/// Ends several of the caller's sessions. The request's own session ends last, so the caller can retry after a failure.
///
/// # Errors
/// 503 if some sessions could not be ended.
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

/// The session of the request's token.
///
/// It identifies the caller's login more reliably than the username, which may belong to a new login by now.
fn own(caller: &Caller) -> Result<&str, Failure> {
    caller.session.as_deref().ok_or_else(|| Failure::internal("the host gave no x-session-id"))
}

/// Ends a session. When this returns, all of its tokens are refused.
///
/// # Errors
/// 503 if the host cannot record it.
pub(crate) fn end(session: &str) -> Result<(), Failure> {
    host::revoke(session)?;
    delete(session)
}

/// Deletes the rows of an ended session. If there are too many for one request, later requests delete the rest.
fn delete(session: &str) -> Result<(), Failure> {
    if !sessions::delete(&[session.to_owned()])? {
        sessions::expire(session)?;
    }
    Ok(())
}

/// Ends sessions and deletes all of their rows. `are_all` is false if the login has further sessions.
///
/// # Errors
/// 503 if some sessions could not be ended, or if one request cannot delete all rows. The next request continues.
fn end_sessions(sessions: &[String], are_all: bool) -> Result<(), Failure> {
    sessions.iter().try_for_each(|session| host::revoke(session))?;
    if sessions::delete(sessions)? && are_all {
        return Ok(());
    }
    Err(Failure::unavailable("SERVICE_BUSY", "Not all sessions are deleted yet. Send the request again.", 1))
}

/// Ends the surplus sessions of a login. A failure is only logged: the next login tries again.
pub(crate) fn end_surplus(sessions: &[String]) {
    for session in sessions {
        if let Err(failure) = end(session) {
            kit::log::warn!("cannot end a surplus session: {}", failure.message);
        }
    }
}

/// Ends every session of a login. The caller must first make sure that no new session can begin.
///
/// # Errors
/// 503 if some sessions could not be ended.
pub(crate) fn end_all(login_id: i64) -> Result<(), Failure> {
    let sessions = sessions::of_login(login_id)?;
    end_sessions(&sessions, sessions.len() < MOST_SESSIONS)
}

/// 401 for every invalid token. The text is the host's, so the client cannot tell the causes apart.
pub(crate) fn invalid_token() -> Failure {
    Failure::unauthorized("INVALID_TOKEN", "The token is invalid or has expired")
}

/// The token pair, and the digest of its refresh token.
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
