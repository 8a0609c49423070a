//! Access tokens: issued, verified and taken back here, and nowhere else.
//!
//! A token is a JWT by RFC 9068 (`at+jwt`), signed with HMAC-SHA-256. Knows nothing of wasm, HTTP or users.
//!
//! What holds:
//!
//! - **One issuer, one verifier.** This host signs every token that it accepts, so [`Tokens::verify`] has no choices to
//!   make: the protected header must be, byte for byte, the one that [`Tokens::issue`] writes with one of the few keys.
//!   Algorithm and type are never read from a token.
//! - **The keys stay here.** The first is made at the first start, they lie in files with mode 0600, or where several hosts
//!   share them in a database that no service reaches, and appear in no `Debug` output and no error. None is published as a JWKS (RFC 7517): what verifies an HMAC also signs, so that would
//!   give it away, and nobody else verifies.
//! - **A rotation refuses no good token.** [`Tokens::rotate_keys`] has a new key sign, and the one before verifies until
//!   the last token that it signed has expired; [`Tokens::disable_key`] refuses what a key signed at once. See `keys` for
//!   what is on the disk when.
//! - **Hosts that share them agree.** [`Tokens::open_shared`] has the keys and the ended sessions in one database, and
//!   [`Tokens::follow`] takes up what other hosts wrote there: within a round each accepts and refuses what the others do.
//! - **An ended session stays ended.** [`Tokens::revoke`] has written to disk when it returns; see
//!   `Revocations` for how long it is remembered and what a wrong clock can do to it.
//! - Every token that [`Tokens::issue`] gives is within the length that [`Tokens::verify`] reads.

use std::borrow::Cow;
use std::fmt;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use storage::Storage;

use crate::clock::Clock;
use crate::key_file::KeyFileError;

mod key;
mod keys;
mod revocations;
mod shared;

#[cfg(test)]
mod forgeries;
#[cfg(test)]
mod tests;

use keys::Keys;
pub use keys::{KeyChangeError, KeyState};
use revocations::Revocations;

/// How long an access token is good for, in seconds.
pub const ACCESS_LIFETIME_SECONDS: u32 = 3600;

/// The longest subject in bytes: 150 characters of at most four bytes in UTF-8.
pub const SUBJECT_LIMIT_BYTES: usize = 600;

/// The longest role, and the longest session id, in bytes.
pub const CLAIM_LIMIT_BYTES: usize = 256;

/// The longest token that is looked at, in bytes. The longest that is issued stays below it.
pub const TOKEN_LIMIT_BYTES: usize = 4096;

/// How long [`Tokens::follow_forever`] waits between two rounds.
pub const FOLLOW_EVERY: Duration = Duration::from_millis(250);

/// How far ahead of the clock a token may have been issued, in seconds.
const AHEAD_LIMIT_SECONDS: u64 = 60;

/// Issuer, audience and client in one: the host itself.
const SELF: &str = "comptoir";

/// The value of `type` in an access token.
const ACCESS: &str = "access";

/// Signs, verifies and revokes access tokens. One for a data folder, or one for each host of a database; share it
/// behind an `Arc`.
#[derive(Debug)]
pub struct Tokens {
    keys: Arc<Keys>,
    revocations: Revocations,
    clock: Clock,
}

/// A signed access token. Its `Debug` output hides the token.
pub struct AccessToken {
    /// The JWT in its compact form, at most [`TOKEN_LIMIT_BYTES`] long.
    pub token: String,
    /// Seconds from now until it is refused.
    pub expires_in_seconds: u32,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The username.
    pub subject: String,
    /// The one role it was issued with.
    pub role: String,
    /// The session that it ends with.
    pub session: String,
    /// Seconds since 1970-01-01 UTC at which it stops being good.
    pub expires_at: u64,
    /// The name of the key that signed it.
    pub key: Arc<str>,
}

/// A session, for those who ask later whether it goes on.
#[derive(Clone, Debug)]
pub struct Session {
    tokens: Arc<Tokens>,
    id: Arc<str>,
    key: Arc<str>,
}

/// Why the token store could not be opened, or not be followed. Every sentence names the path, or the shared database.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// Reading or writing failed.
    #[error("cannot use {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A signing key cannot be used.
    #[error("the signing key: {0}")]
    Key(#[from] KeyFileError),
    /// The file of ended sessions cannot be used.
    #[error("cannot use {}: {source}", path.display())]
    Sessions {
        /// The SQLite file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// The database that hosts share cannot be used.
    #[error(
        "cannot {task} in the database that the hosts share: {cause}. Check that this host reaches it, and that nobody else \
         changed it"
    )]
    Shared {
        /// What failed.
        task: &'static str,
        /// What the database said.
        cause: String,
    },
}

/// Why no token was issued.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// The session was revoked: it gets no further token.
    #[error("the session has ended")]
    SessionEnded,
    /// A claim is out of bounds. The sentence names it and can be shown.
    #[error("{0}")]
    Invalid(String),
    /// Nothing could be signed. The cause is for the log.
    #[error("cannot issue a token: {0}")]
    Unavailable(String),
}

/// Why a session may not have ended for good.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum RevokeError {
    /// The session id is out of bounds, so no token carries it. The sentence can be shown.
    #[error("{0}")]
    Invalid(String),
    /// It could not be written. The session is refused until a restart, but perhaps not after, and perhaps by this one
    /// alone of several hosts. The cause is for the log.
    #[error("cannot record the end of a session: {0}")]
    Unavailable(String),
}

impl Tokens {
    /// Opens the keys and the ended sessions in a folder, making both (and the folder) when they are not there.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    ///
    /// Refuses a key file that others may read and one that is not 32 bytes long; nothing is repaired.
    pub fn open(folder: &Path, clock: Clock) -> Result<Tokens, TokensError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| TokensError::Io { path: folder.to_owned(), source })?;
        let keys = Arc::new(Keys::open(folder, clock.unix_seconds())?);
        let revocations = Revocations::open(folder, clock.unix_seconds())?;
        Ok(Tokens { keys, revocations, clock })
    }

    /// Opens the keys and the ended sessions in a database that this host shares with others, making both when they are
    /// not there. Hosts that open at once have the same first key.
    ///
    /// No service may reach that database. [`Tokens::follow_forever`] must run as long as this is in use. Must be called
    /// within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When the database does not answer, or holds something else.
    pub async fn open_shared(storage: Arc<dyn Storage>, clock: Clock) -> Result<Tokens, TokensError> {
        shared::migrate(&*storage).await?;
        let now = clock.unix_seconds();
        let revocations = Revocations::open_shared(storage.clone(), now).await?;
        let keys = Arc::new(off_the_reactor(move || Keys::open_shared(storage, now)).await?);
        Ok(Tokens { keys, revocations, clock })
    }

    /// Takes up what other hosts changed, in one round: new keys, disabled ones and ended sessions. Now and then removes
    /// what is too old. Nothing where there are no other hosts.
    ///
    /// Must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When the database does not answer. What was known stays in force.
    pub async fn follow(&self) -> Result<(), TokensError> {
        if !self.keys.are_shared() {
            return Ok(());
        }
        let (keys, now) = (self.keys.clone(), self.clock.unix_seconds());
        let sessions = self.revocations.follow(now).await;
        let keys = off_the_reactor(move || keys.follow(now)).await;
        sessions.and(keys)
    }

    /// Follows the other hosts, with [`FOLLOW_EVERY`] between two rounds; returns at once where there are none.
    ///
    /// When rounds begin to fail, and when they work again, the log says so once.
    pub async fn follow_forever(self: Arc<Self>) {
        let mut works = true;
        while self.keys.are_shared() {
            let round = self.follow().await;
            match &round {
                Err(error) if works => {
                    tracing::warn!(%error, "keys and ended sessions of other hosts are not heard of: what was known stays in force");
                }
                Ok(()) if !works => tracing::info!("keys and ended sessions of other hosts are heard of again"),
                _ => {}
            }
            works = round.is_ok();
            tokio::time::sleep(FOLLOW_EVERY).await;
        }
    }

    /// The keys that verify, newest first. The first one signs, or where several hosts share them the first whose second
    /// has come. Their names reveal nothing.
    pub fn keys(&self) -> Vec<KeyState> {
        self.keys.list(self.clock.unix_seconds())
    }

    /// Has a new key sign from now on, also after a restart; where several hosts share it, five seconds from now, so that
    /// all have heard of it.
    ///
    /// The one before verifies until its last token has expired, and at most a minute more. The write happens off the
    /// reactor; must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// Why there is no new key. Nothing changed then.
    pub async fn rotate_keys(&self) -> Result<(), KeyChangeError> {
        self.change_keys(Keys::rotate).await
    }

    /// Refuses every token that a key signed, at once and after a restart. If it is the one that signs, a new one does.
    ///
    /// Other hosts that share the key refuse it within a round of [`Tokens::follow`]. If a new one signs, it does at once:
    /// they refuse its tokens for as long, until they have heard of it.
    ///
    /// Works off the reactor; must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// Whether the key is refused all the same, and for how long.
    pub async fn disable_key(&self, id: &str) -> Result<(), KeyChangeError> {
        let id = id.to_owned();
        self.change_keys(move |keys, clock| keys.disable(&id, clock)).await
    }

    async fn change_keys(
        &self,
        change: impl FnOnce(&Keys, &Clock) -> Result<(), KeyChangeError> + Send + 'static,
    ) -> Result<(), KeyChangeError> {
        let (keys, clock) = (self.keys.clone(), self.clock.clone());
        let changed = tokio::task::spawn_blocking(move || change(&keys, &clock)).await;
        changed.unwrap_or_else(|error| Err(KeyChangeError::NotMade(error.to_string())))
    }

    /// Issues a token for a subject (the username) with a role, tied to a session.
    ///
    /// # Errors
    ///
    /// [`IssueError::SessionEnded`] for as long as the session's revocation is remembered. [`IssueError::Invalid`] when
    /// a claim is empty, longer than its limit, or holds a control character.
    pub fn issue(&self, subject: &str, role: &str, session: &str) -> Result<AccessToken, IssueError> {
        check_claim("subject", subject, SUBJECT_LIMIT_BYTES)
            .and_then(|()| check_claim("role", role, CLAIM_LIMIT_BYTES))
            .and_then(|()| check_claim("session", session, CLAIM_LIMIT_BYTES))
            .map_err(IssueError::Invalid)?;
        if self.revocations.contains(session) {
            return Err(IssueError::SessionEnded);
        }
        let token_id = token_id()?;
        let now = self.clock.unix_seconds();
        let payload = Payload::new(subject, role, session, now, &token_id);
        let payload = serde_json::to_vec(&payload).map_err(|error| IssueError::Unavailable(error.to_string()))?;
        // After the time of issue was read: a key that was replaced since then still verifies for as long as this lasts.
        let token = self.keys.signer(now).sign(&payload).map_err(|error| IssueError::Unavailable(error.to_string()))?;
        Ok(AccessToken { token, expires_in_seconds: ACCESS_LIFETIME_SECONDS })
    }

    /// What a token stands for, if it is good now; `None` whatever is wrong with it.
    ///
    /// There is no leeway: it is good until the second before `exp`. Costs a few microseconds and never waits on the
    /// disk.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        if token.len() > TOKEN_LIMIT_BYTES {
            return None;
        }
        let now = self.clock.unix_seconds();
        let (encoded, key) = self.keys.signed_payload(token, now)?;
        // Three bytes for four characters; on the stack, because this is on the way of every request.
        let mut buffer = [0; TOKEN_LIMIT_BYTES / 4 * 3];
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut buffer).ok()?;
        let payload = Payload::read(&buffer[..length])?;
        let good = payload.is_good_at(now) && !self.revocations.contains(&payload.sid);
        good.then(|| payload.into_claims(key))
    }

    /// Ends a session: from now on every token of it is refused, and when this returns, after a restart too. Other hosts
    /// that share it refuse them within a round of [`Tokens::follow`].
    ///
    /// Revoking twice is no error. The write happens off the reactor; must be called within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`RevokeError::Unavailable`] when the end could not be written to disk, [`RevokeError::Invalid`] for an id that
    /// [`Tokens::issue`] would refuse.
    pub async fn revoke(&self, session: &str) -> Result<(), RevokeError> {
        check_claim("session", session, CLAIM_LIMIT_BYTES).map_err(RevokeError::Invalid)?;
        self.revocations.add(session, self.clock.unix_seconds()).await.map_err(RevokeError::Unavailable)
    }
}

/// Work that may block on the shared database.
async fn off_the_reactor<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TokensError> + Send + 'static,
) -> Result<T, TokensError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(shared::unusable("work on the keys")(error)))
}

impl Session {
    /// That of a token which was good a moment ago.
    pub fn of(claims: &Claims, tokens: &Arc<Tokens>) -> Session {
        Session { tokens: tokens.clone(), id: claims.session.as_str().into(), key: claims.key.clone() }
    }

    /// What tells it from others.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Whether it was revoked, or the key of its token disabled. True from the moment on that the token is refused.
    pub fn has_ended(&self) -> bool {
        self.tokens.revocations.contains(&self.id) || !self.tokens.keys.holds(&self.key)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AccessToken")
            .field("expires_in_seconds", &self.expires_in_seconds)
            .finish_non_exhaustive()
    }
}

/// The claims on the wire (RFC 9068 section 2.2, and `sid`, `roles`, `type`).
///
/// A claim that stands twice is refused by the derived reader. Claims it does not know are passed over, so that a host
/// can be rolled back without logging everyone out.
#[derive(Serialize, Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    iss: Cow<'a, str>,
    #[serde(borrow)]
    aud: Cow<'a, str>,
    #[serde(borrow)]
    sub: Cow<'a, str>,
    #[serde(borrow)]
    client_id: Cow<'a, str>,
    iat: u64,
    exp: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    #[serde(borrow)]
    jti: Cow<'a, str>,
    #[serde(borrow)]
    sid: Cow<'a, str>,
    roles: [Cow<'a, str>; 1],
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

impl<'a> Payload<'a> {
    fn new(subject: &'a str, role: &'a str, session: &'a str, now: u64, token_id: &'a str) -> Payload<'a> {
        Payload {
            iss: SELF.into(),
            aud: SELF.into(),
            sub: subject.into(),
            client_id: SELF.into(),
            iat: now,
            exp: now + u64::from(ACCESS_LIFETIME_SECONDS),
            nbf: None,
            jti: token_id.into(),
            sid: session.into(),
            roles: [role.into()],
            kind: ACCESS.into(),
        }
    }

    /// Reads a JSON object (RFC 7519 section 7.2). The derived reader alone would also take a list of the values in
    /// order.
    fn read(json: &'a [u8]) -> Option<Payload<'a>> {
        json.starts_with(b"{").then(|| serde_json::from_slice(json).ok())?
    }

    /// Whether the token was issued for this host and is in force.
    ///
    /// One from the future was issued while the clock was ahead, and would outlive its hour: it is refused.
    fn is_good_at(&self, now: u64) -> bool {
        self.iss == SELF
            && self.aud == SELF
            && self.client_id == SELF
            && self.kind == ACCESS
            && !self.jti.is_empty()
            && now < self.exp
            && self.iat <= now.saturating_add(AHEAD_LIMIT_SECONDS)
            && self.nbf.is_none_or(|not_before| not_before <= now)
    }

    fn into_claims(self, key: Arc<str>) -> Claims {
        let [role] = self.roles;
        Claims {
            subject: self.sub.into_owned(),
            role: role.into_owned(),
            session: self.sid.into_owned(),
            expires_at: self.exp,
            key,
        }
    }
}

/// Bounds a claim. Without control characters JSON makes it at most twice as long, which keeps a token within its
/// limit.
fn check_claim(name: &str, value: &str, limit_bytes: usize) -> Result<(), String> {
    if value.is_empty() {
        Err(format!("the {name} is empty"))
    } else if value.len() > limit_bytes {
        Err(format!("the {name} is longer than {limit_bytes} bytes"))
    } else if value.chars().any(char::is_control) {
        Err(format!("the {name} holds a control character"))
    } else {
        Ok(())
    }
}

/// 128 random bits, so that no two tokens share a `jti`.
fn token_id() -> Result<String, IssueError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| IssueError::Unavailable(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
