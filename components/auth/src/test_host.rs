//! Test doubles of the host's interfaces, and a connection to the real service user.
//!
//! The clock stands still until a test moves it forward or back. The hash of a password is the password. User runs on its own
//! thread with its own database.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use crate::host::Event;

type Step = Box<dyn FnOnce()>;

thread_local! {
    static NOW_MS: Cell<u64> = const { Cell::new(1_700_000_000_000) };
    static DRAWN: Cell<u64> = const { Cell::new(0) };
    static HASHER_IS_BUSY: Cell<bool> = const { Cell::new(false) };
    static MINIMUM_LENGTH: Cell<u32> = const { Cell::new(8) };
    static PASSWORD_CHECKS: Cell<u32> = const { Cell::new(0) };
    static MEANWHILE: RefCell<Option<Step>> = const { RefCell::new(None) };
    static AUDIT_EVENTS: RefCell<Vec<(Event, String)>> = const { RefCell::new(Vec::new()) };
    static REVOKED: RefCell<HashSet<String>> = RefCell::default();
    static TOKENS_ARE_UNAVAILABLE: Cell<bool> = const { Cell::new(false) };
}

/// Moves the clock forward.
pub(crate) fn wait_ms(ms: u64) {
    NOW_MS.set(NOW_MS.get() + ms);
}

/// Sets the clock back.
pub(crate) fn set_back_ms(ms: u64) {
    NOW_MS.set(NOW_MS.get() - ms);
}

/// Whether the host's password queue is full from now on.
pub(crate) fn hasher_is_busy(busy: bool) {
    HASHER_IS_BUSY.set(busy);
}

/// Whether the host refuses to issue and revoke tokens from now on.
pub(crate) fn tokens_are_unavailable(unavailable: bool) {
    TOKENS_ARE_UNAVAILABLE.set(unavailable);
}

/// Sets the operator's minimum length of a new password.
pub(crate) fn set_minimum_length(minimum_length: u32) {
    MINIMUM_LENGTH.set(minimum_length);
}

/// Number of passwords that the host checked so far.
pub(crate) fn password_checks() -> u32 {
    PASSWORD_CHECKS.get()
}

/// Runs a step during the next password hash, password check or token issue, as a concurrent request would.
pub(crate) fn meanwhile(step: impl FnOnce() + 'static) {
    MEANWHILE.set(Some(Box::new(step)));
}

fn run_meanwhile() {
    if let Some(step) = MEANWHILE.take() {
        step();
    }
}

pub(crate) mod wall_clock {
    use super::NOW_MS;

    pub(crate) struct Datetime {
        pub(crate) seconds: u64,
        pub(crate) nanoseconds: u32,
    }

    pub(crate) fn now() -> Datetime {
        let ms = NOW_MS.get();
        let nanoseconds = u32::try_from(ms % 1000 * 1_000_000).unwrap();
        Datetime { seconds: ms / 1000, nanoseconds }
    }
}

/// The audit events since the last call.
pub(crate) fn audit_events() -> Vec<(Event, String)> {
    AUDIT_EVENTS.take()
}

pub(crate) mod audit {
    use super::AUDIT_EVENTS;
    use crate::host::Event;

    pub(crate) fn tell(event: Event, subject: &str) {
        AUDIT_EVENTS.with_borrow_mut(|events| events.push((event, subject.to_owned())));
    }
}

pub(crate) mod random {
    use super::DRAWN;

    pub(crate) fn get_random_bytes(length: u64) -> Vec<u8> {
        DRAWN.set(DRAWN.get() + 1);
        DRAWN.get().to_be_bytes().into_iter().cycle().take(usize::try_from(length).unwrap()).collect()
    }
}

pub(crate) mod passwords {
    use super::{HASHER_IS_BUSY, MINIMUM_LENGTH, PASSWORD_CHECKS, run_meanwhile};
    use crate::host::{PasswordError, Verdict};

    pub(crate) fn minimum_length() -> u32 {
        MINIMUM_LENGTH.get()
    }

    pub(crate) fn hash(password: &str) -> Result<String, PasswordError> {
        if HASHER_IS_BUSY.get() {
            return Err(PasswordError::Busy(3));
        }
        run_meanwhile();
        Ok(format!("new {password}"))
    }

    /// Matches its own hashes, the seeded one, and hashes that start with `old`, which it reports as outdated.
    pub(crate) fn verify(password: &str, hash: Option<&str>) -> Result<Verdict, PasswordError> {
        if HASHER_IS_BUSY.get() {
            return Err(PasswordError::Busy(3));
        }
        if password.len() > 4096 {
            return Err(PasswordError::TooLong);
        }
        PASSWORD_CHECKS.set(PASSWORD_CHECKS.get() + 1);
        run_meanwhile();
        let hash = hash.unwrap_or_default();
        let is_seeded = hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$") && password == "admin";
        let outdated = hash == format!("old {password}");
        Ok(Verdict { matches: is_seeded || outdated || hash == format!("new {password}"), outdated })
    }
}

pub(crate) mod tokens {
    use super::{REVOKED, TOKENS_ARE_UNAVAILABLE, random, run_meanwhile};
    use crate::host::{AccessToken, TokenError};
    use crate::model::base64url;

    pub(crate) fn issue(subject: &str, role: &str, session: &str) -> Result<AccessToken, TokenError> {
        if TOKENS_ARE_UNAVAILABLE.get() {
            return Err(TokenError::Unavailable);
        }
        if REVOKED.with_borrow(|revoked| revoked.contains(session)) {
            return Err(TokenError::SessionEnded);
        }
        run_meanwhile();
        let unique = base64url(&random::get_random_bytes(8));
        let token = format!("{subject} {role} {session} {unique}");
        Ok(AccessToken { token, expires_in_seconds: 3600 })
    }

    pub(crate) fn revoke(session: &str) -> Result<(), TokenError> {
        if TOKENS_ARE_UNAVAILABLE.get() {
            return Err(TokenError::Unavailable);
        }
        REVOKED.with_borrow_mut(|revoked| revoked.insert(session.to_owned()));
        Ok(())
    }
}

pub(crate) mod token_verifier {
    use super::REVOKED;
    use crate::host::Claims;

    pub(crate) fn verify(token: &str) -> Option<Claims> {
        let [subject, role, session, _] = token.split(' ').collect::<Vec<_>>()[..] else {
            return None;
        };
        let revoked = REVOKED.with_borrow(|revoked| revoked.contains(session));
        (!revoked).then(|| Claims {
            subject: subject.to_owned(),
            role: role.to_owned(),
            session: session.to_owned(),
            expires_at: 1_700_003_600,
        })
    }
}

/// How user reacts to the next call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum User {
    /// It handles the call.
    Answers,
    /// It cannot be reached.
    IsAway,
    /// It handles the call, but the response is lost.
    LosesItsResponse,
    /// It does nothing and responds with this status.
    Fails(u16),
}

pub(crate) mod peer {
    use super::User;
    use kit::native::{self, PeerCall};
    use kit::{JsonValue, Method};
    use std::cell::{Cell, RefCell};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;

    type Request = (Method, String, JsonValue, Sender<(u16, JsonValue)>);

    thread_local! {
        static USER: RefCell<Option<Sender<Request>>> = const { RefCell::new(None) };
        static NEXT: Cell<User> = const { Cell::new(User::Answers) };
    }

    /// Sets how user reacts to the next call.
    pub(crate) fn next(user: User) {
        NEXT.set(user);
    }

    /// Answers a call of auth, or not.
    pub(crate) fn answer(call: &PeerCall) -> Option<(u16, JsonValue)> {
        assert_eq!(call.service, "user");
        let answer = || call_user(call.method, &call.path, Some(&call.body));
        match NEXT.replace(User::Answers) {
            User::IsAway => None,
            User::Fails(status) => Some((status, JsonValue::Null)),
            User::LosesItsResponse => {
                answer();
                None
            }
            User::Answers => Some(answer()),
        }
    }

    /// Calls this test's service user, which lives as long as the test's thread.
    pub(crate) fn call_user(method: Method, path: &str, body: Option<&JsonValue>) -> (u16, JsonValue) {
        let (answer, answered) = channel();
        let request = (method, path.to_owned(), body.cloned().unwrap_or_default(), answer);
        USER.with_borrow_mut(|user| {
            let user = user.get_or_insert_with(|| {
                let (requests, inbox) = channel();
                thread::spawn(move || serve(&inbox));
                requests
            });
            user.send(request).unwrap();
        });
        answered.recv().unwrap()
    }

    /// Replaces this test's service user with a new one.
    pub(crate) fn forget_user() {
        USER.set(None);
    }

    /// Deletes all profiles directly, because user's route would call auth.
    pub(crate) fn lose_profiles() {
        call_user(Method::Delete, "", None);
    }

    fn serve(inbox: &Receiver<Request>) {
        let database = native::install(&user::SERVICE);
        for (method, path, body, answer) in inbox {
            if method == Method::Delete {
                database.execute("DELETE FROM profiles", []).unwrap();
                let _ = answer.send((200, JsonValue::Null));
                continue;
            }
            let call = match method {
                Method::Get => native::get(&path),
                Method::Post => native::post(&path, body),
                Method::Put => native::put(&path, body),
                other => panic!("auth does not call user with {other:?}"),
            };
            let is_internal = path.starts_with("/internal/");
            let answered = if is_internal { call.by_service("auth") } else { call.by("admin", "admin") }.send();
            let _ = answer.send((answered.status, answered.body));
        }
    }
}
