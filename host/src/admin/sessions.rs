//! The console's sessions: how an operator's browser proves who it is after it has shown the admin token once.
//!
//! A session has two halves. The cookie is `HttpOnly`, so no script reads it. The key belongs to the page, which sends it in a
//! header. Both are random and independent of the admin token. Neither is enough alone:
//!
//! - A browser sends cookies to every port of a host name, so a program on another port of this machine may see the cookie.
//! - A page of another origin can make the browser send the cookie, but it does not know the key, and only a script of the console's own
//!   origin can set the header.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use hyper::header::{COOKIE, HeaderMap, HeaderName, HeaderValue};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The header with the page's half of a session.
pub(super) const CONSOLE_KEY: HeaderName = HeaderName::from_static("x-comptoir-console");

/// The name of the cookie.
const COOKIE_NAME: &str = "comptoir-console";

/// How long a session lasts.
pub(super) const SESSION_TIME: Duration = Duration::from_secs(12 * 60 * 60);

/// The most sessions. A further sign-in ends the oldest one. Only a holder of the admin token can sign in.
const SESSIONS: usize = 64;

/// The most cookies of this name that one request is checked for. Another program on this machine can add some.
const COOKIES: usize = 8;

/// The open sessions. The host keeps them in memory, so a restart ends all of them.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<SessionId, Session>>);

/// The hash of a cookie. Who reads the host's memory learns no cookie from it, and the time of a lookup tells nothing about one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct SessionId([u8; 32]);

struct Session {
    key: [u8; 32],
    ends: Instant,
}

/// Both halves of a new session.
pub(super) struct NewSession {
    /// `Set-Cookie`.
    pub(super) cookie: HeaderValue,
    /// The page's half.
    pub(super) key: String,
}

impl Sessions {
    /// Opens a session.
    ///
    /// # Errors
    /// The system has no randomness.
    pub(super) fn open(&self, now: Instant) -> Result<NewSession, getrandom::Error> {
        let (cookie, key) = (random()?, random()?);
        let mut open = self.locked();
        open.retain(|_, session| session.ends > now);
        if open.len() >= SESSIONS
            && let Some(oldest) = open.iter().min_by_key(|(_, session)| session.ends).map(|(id, _)| *id)
        {
            open.remove(&oldest);
        }
        open.insert(
            SessionId(hash(cookie.as_bytes())),
            Session { key: hash(key.as_bytes()), ends: now + SESSION_TIME },
        );
        drop(open);
        Ok(NewSession { cookie: set_cookie(&cookie, SESSION_TIME), key })
    }

    /// The open session whose two halves these headers hold.
    pub(super) fn find(&self, headers: &HeaderMap, now: Instant) -> Option<SessionId> {
        let key = hash(headers.get(CONSOLE_KEY)?.as_bytes());
        let open = self.locked();
        let mut ids = cookies(headers).take(COOKIES).map(|cookie| SessionId(hash(cookie.as_bytes())));
        ids.find(|id| open.get(id).is_some_and(|session| session.ends > now && session.key.ct_eq(&key).into()))
    }

    /// Whether a session is still open.
    pub(super) fn is_open(&self, id: SessionId, now: Instant) -> bool {
        self.locked().get(&id).is_some_and(|session| session.ends > now)
    }

    /// Ends a session. Returns the `Set-Cookie` that removes its cookie.
    pub(super) fn end(&self, id: SessionId) -> HeaderValue {
        self.locked().remove(&id);
        set_cookie("", Duration::ZERO)
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<SessionId, Session>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// 256 random bits as text.
fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

fn hash(text: &[u8]) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// `SameSite=Strict`: no other site can make the browser send it. Without `Secure`, because the admin listener has no TLS.
fn set_cookie(value: &str, lifetime: Duration) -> HeaderValue {
    let seconds = lifetime.as_secs();
    let text = format!("{COOKIE_NAME}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict");
    HeaderValue::from_str(&text).expect("base64 is allowed in a header")
}

/// The values of the session cookies in a request.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(session: &NewSession) -> HeaderMap {
        let cookie = session.cookie.to_str().unwrap().split(';').next().unwrap();
        let cookie = format!("theme=dark; {COOKIE_NAME}=of-another-program; {cookie}");
        let mut headers = HeaderMap::new();
        headers.insert(COOKIE, cookie.parse().unwrap());
        headers.insert(CONSOLE_KEY, session.key.parse().unwrap());
        headers
    }

    #[test]
    fn a_session_needs_both_halves() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let (mine, other) = (sessions.open(now).unwrap(), sessions.open(now).unwrap());
        assert!(sessions.find(&headers(&mine), now).is_some());
        for half in [COOKIE, CONSOLE_KEY] {
            let mut headers = headers(&mine);
            headers.remove(half);
            assert_eq!(sessions.find(&headers, now), None);
        }
        let mut mixed = headers(&mine);
        mixed.insert(CONSOLE_KEY, other.key.parse().unwrap());
        assert_eq!(sessions.find(&mixed, now), None);
    }

    #[test]
    fn a_session_ends_at_sign_out_and_after_its_time() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let session = sessions.open(now).unwrap();
        let id = sessions.find(&headers(&session), now + SESSION_TIME - Duration::from_secs(1)).unwrap();
        assert_eq!(sessions.find(&headers(&session), now + SESSION_TIME), None);
        assert!(sessions.is_open(id, now) && !sessions.is_open(id, now + SESSION_TIME));
        assert!(sessions.end(id).to_str().unwrap().contains("Max-Age=0"));
        assert_eq!(sessions.find(&headers(&session), now), None);
    }

    #[test]
    fn one_session_too_many_ends_the_oldest() {
        let (sessions, now) = (Sessions::default(), Instant::now());
        let at = |number: usize| now + Duration::from_secs(number as u64);
        let all: Vec<NewSession> = (0..=SESSIONS).map(|number| sessions.open(at(number)).unwrap()).collect();
        assert_eq!(sessions.find(&headers(&all[0]), now), None);
        assert!(all[1..].iter().all(|session| sessions.find(&headers(session), now).is_some()));
        let later = at(SESSIONS) + SESSION_TIME;
        sessions.open(later).unwrap();
        assert_eq!(sessions.locked().len(), 1, "sessions that are over are dropped");
    }
}
