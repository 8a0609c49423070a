//! Access tokens: issues, verifies and revokes them. No other module does.
//!
//! A token is a JWT by RFC 9068 (`at+jwt`), signed with HMAC-SHA-256. This module knows no wasm, HTTP or users.
//!
//! # Invariants
//!
//! - **One issuer, one verifier.** The host accepts only tokens that it signed itself, so [`Tokens::verify`] has no
//!   options. The protected header must be, byte for byte, the one that [`Tokens::issue`] writes with one of the host's
//!   keys. The host never reads algorithm or type from a token.
//! - **The keys stay in the host.** The first start creates the first key. Keys lie in files of mode 0600. If several
//!   hosts share them, they lie in a database that no service reaches. No `Debug` output and no error contains a key. The
//!   host publishes no JWKS (RFC 7517), because a key that verifies an HMAC can also sign.
//! - **A rotation refuses no good token.** [`Tokens::rotate_keys`] makes a new key sign. The previous key verifies until
//!   its last token has expired. [`Tokens::disable_key`] refuses a key's tokens at once. `keys` describes the files.
//! - **Hosts that share keys agree.** [`Tokens::open_shared`] keeps the keys and the ended sessions in one database.
//!   [`Tokens::reload`] reads the changes of other hosts, so after at most one round all hosts accept the same tokens.
//! - **An ended session stays ended.** [`Tokens::revoke`] returns after it has written to disk. `revocations` describes
//!   how long the host remembers the session, and the effect of a wrong clock.
//! - Every issued token is at most as long as [`Tokens::verify`] reads.

use std::fmt;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use storage::Storage;

use crate::clock::Clock;

mod claims;
mod error;
mod issued;
mod key;
mod keys;
mod revocations;
mod shared;

#[cfg(test)]
mod tests;

pub use claims::{ACCESS_LIFETIME_SECONDS, CLAIM_LIMIT_BYTES, Claims, SUBJECT_LIMIT_BYTES, TOKEN_LIMIT_BYTES};
use claims::{Payload, check_claim};
pub use error::{IssueError, KeyChangeError, RevokeError, TokensError};
pub use issued::ActiveSession;
use issued::Issued;
pub use keys::KeyState;
use keys::Keys;
use revocations::Revocations;

/// How long [`Tokens::reload_forever`] waits between two rounds.
pub const RELOAD_INTERVAL: Duration = Duration::from_millis(250);

/// Signs, verifies and revokes access tokens. Share it behind an `Arc`.
///
/// A host has one. It uses a data folder alone, or a database together with other hosts.
#[derive(Debug)]
pub struct Tokens {
    keys: Arc<Keys>,
    revocations: Revocations,
    issued: Issued,
    clock: Clock,
}

/// A signed access token. Its `Debug` output hides the token.
pub struct AccessToken {
    /// The JWT in its compact form, at most [`TOKEN_LIMIT_BYTES`] long.
    pub token: String,
    /// Seconds from now until the token expires.
    pub expires_in_seconds: u32,
}

/// The session of a verified token. Tells later whether that session has ended.
#[derive(Clone, Debug)]
pub struct Session {
    tokens: Arc<Tokens>,
    id: Arc<str>,
    key: Arc<str>,
}

impl Tokens {
    /// Opens the keys and the ended sessions in a folder.
    /// Creates whatever is missing, also the folder.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    ///
    /// If other users may read a key file, or if it is not 32 bytes long. The host repairs neither.
    pub fn open(folder: &Path, clock: Clock) -> Result<Tokens, TokensError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|source| TokensError::Io { path: folder.to_owned(), source })?;
        let keys = Arc::new(Keys::open(folder, clock.unix_seconds())?);
        let revocations = Revocations::open(folder, clock.unix_seconds())?;
        Ok(Tokens { keys, revocations, issued: Issued::default(), clock })
    }

    /// Opens the keys and the ended sessions in a database that several hosts share.
    ///
    /// Creates the tables and the first key if they are missing. Hosts that do this at the same time get the same key. No
    /// service may reach the database. Run [`Tokens::reload_forever`] as long as the store is in use. Call this within a
    /// Tokio runtime.
    ///
    /// # Errors
    ///
    /// If the database does not answer, or if its tables contain something else.
    pub async fn open_shared(storage: Arc<dyn Storage>, clock: Clock) -> Result<Tokens, TokensError> {
        shared::migrate(&*storage).await?;
        let now = clock.unix_seconds();
        let revocations = Revocations::open_shared(storage.clone(), now).await?;
        let keys = Arc::new(on_blocking_thread(move || Keys::open_shared(storage, now)).await?);
        Ok(Tokens { keys, revocations, issued: Issued::default(), clock })
    }

    /// Reloads keys and ended sessions that other hosts changed.
    ///
    /// Also removes expired keys, and once an hour expired sessions, from the database. Does nothing if the store is in a
    /// folder. Call this within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// If the database does not answer. The host continues with the keys and sessions that it knows.
    pub async fn reload(&self) -> Result<(), TokensError> {
        if !self.keys.are_shared() {
            return Ok(());
        }
        let (keys, now) = (self.keys.clone(), self.clock.unix_seconds());
        let sessions = self.revocations.reload(now).await;
        let keys = on_blocking_thread(move || keys.reload(now)).await;
        sessions.and(keys)
    }

    /// Calls [`Tokens::reload`] again and again, [`RELOAD_INTERVAL`] apart.
    /// Returns at once if the store is in a folder.
    ///
    /// Logs the first round that fails, and the first one that succeeds again.
    pub async fn reload_forever(self: Arc<Self>) {
        let mut works = true;
        while self.keys.are_shared() {
            let round = self.reload().await;
            match &round {
                Err(error) if works => {
                    tracing::warn!(
                        %error,
                        "tokens: cannot reload keys and ended sessions of other hosts; until a retry succeeds, the host uses those it has"
                    );
                }
                Ok(()) if !works => tracing::info!("tokens: reloaded keys and ended sessions of other hosts again"),
                _ => {}
            }
            works = round.is_ok();
            tokio::time::sleep(RELOAD_INTERVAL).await;
        }
    }

    /// The keys that verify, newest first.
    ///
    /// The first key signs. If several hosts share the keys, the first key whose `since` has passed signs. A name reveals
    /// nothing about its key.
    pub fn keys(&self) -> Vec<KeyState> {
        self.keys.list(self.clock.unix_seconds())
    }

    /// Creates a new key, which signs from now on, also after a restart.
    ///
    /// If several hosts share the keys, the new key signs five seconds later. By then all hosts have loaded it. The
    /// previous key verifies until its last token has expired, and at most a minute longer. Writes on a blocking thread;
    /// call this within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// If the host could not create the key. Nothing changed.
    pub async fn rotate_keys(&self) -> Result<(), KeyChangeError> {
        self.change_keys(Keys::rotate).await
    }

    /// Refuses every token that a key signed, at once and after a restart.
    /// If that key was signing, a new key replaces it.
    ///
    /// Other hosts that share the key refuse it after at most one round of [`Tokens::reload`]. A replacement signs at once,
    /// so other hosts refuse its tokens until that round. Works on a blocking thread; call this within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// If the host could not make the change permanent. The variant tells whether the key is refused, and for how long.
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

    /// Issues a token for a subject (the username) with a role, in a session.
    ///
    /// # Errors
    ///
    /// [`IssueError::SessionEnded`] as long as the host remembers that the session was revoked. [`IssueError::Invalid`] if
    /// a claim is empty, longer than its limit, or contains a control character.
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
        // Choose the key after reading the time. A key that a rotation replaces meanwhile verifies longer than this token lasts.
        let token = self.keys.signer(now).sign(&payload).map_err(|error| IssueError::Unavailable(error.to_string()))?;
        self.issued.add(subject, role, session, now);
        Ok(AccessToken { token, expires_in_seconds: ACCESS_LIFETIME_SECONDS })
    }

    /// The sessions that have a valid access token of this host, or those of one user. Newest first, at most `most`.
    ///
    /// The host forgets them at its end, and remembers the newest 10,000 tokens.
    pub fn active_sessions(&self, user: Option<&str>, most: usize) -> Vec<ActiveSession> {
        let is_wanted = |session: &ActiveSession| {
            user.is_none_or(|user| *session.user == *user) && !self.revocations.contains(&session.id)
        };
        self.issued.list(self.clock.unix_seconds(), most, is_wanted)
    }

    /// The claims of a token, if it is valid now.
    /// Returns `None` for every kind of invalid token.
    ///
    /// Allows no leeway: the token is refused from the second `exp` on. Takes a few microseconds and never waits for the
    /// disk.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        if token.len() > TOKEN_LIMIT_BYTES {
            return None;
        }
        let now = self.clock.unix_seconds();
        let (encoded, key) = self.keys.signed_payload(token, now)?;
        // Base64 turns three bytes into four characters. The buffer is on the stack, because every request comes through here.
        let mut buffer = [0; TOKEN_LIMIT_BYTES / 4 * 3];
        let length = URL_SAFE_NO_PAD.decode_slice(encoded, &mut buffer).ok()?;
        let payload = Payload::read(&buffer[..length])?;
        let good = payload.is_good_at(now) && !self.revocations.contains(&payload.sid);
        good.then(|| payload.into_claims(key))
    }

    /// Ends a session and refuses all of its tokens.
    ///
    /// The host refuses them at once. When this returns, it also refuses them after a restart. Other hosts that share the
    /// session refuse them after at most one round of [`Tokens::reload`]. Revoking a session twice is no error. Writes on a
    /// blocking thread; call this within a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`RevokeError::Unavailable`] if the host could not save the end of the session. [`RevokeError::Invalid`] if
    /// [`Tokens::issue`] would refuse the id.
    pub async fn revoke(&self, session: &str) -> Result<(), RevokeError> {
        check_claim("session", session, CLAIM_LIMIT_BYTES).map_err(RevokeError::Invalid)?;
        self.revocations.add(session, self.clock.unix_seconds()).await.map_err(RevokeError::Unavailable)
    }
}

/// Runs work that may block on the shared database.
async fn on_blocking_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TokensError> + Send + 'static,
) -> Result<T, TokensError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(shared::unusable("work on the keys")(error)))
}

impl Session {
    /// The session of a token that was just verified.
    pub fn of(claims: &Claims, tokens: &Arc<Tokens>) -> Session {
        Session { tokens: tokens.clone(), id: claims.session.as_str().into(), key: claims.key.clone() }
    }

    /// The session's id.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Whether the session was revoked, or the key of its token disabled.
    /// From then on the token is refused.
    pub fn has_ended(&self) -> bool {
        self.tokens.revocations.contains(&self.id) || !self.tokens.keys.contains(&self.key)
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

/// A `jti` of 128 random bits, so that no two tokens share one.
fn token_id() -> Result<String, IssueError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| IssueError::Unavailable(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}
