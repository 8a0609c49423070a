//! Registration: creates a login here and a profile at user, both or neither.
//!
//! The last step activates the login, so a registration that fails halfway gives nobody access.
//! [`crate::model::registration`] decides which request may continue it. Only a profile without a login can remain visible.
//! The next registration of the name adopts that profile, or an administrator deletes it.

use kit::storage::{self, Constraint, Database, Reads};
use kit::{Failure, IdempotencyKey, JsonObject, JsonValue, Method, Response, peer};
use username::Username;

use crate::model::password::{self, Password};
use crate::model::registration::{self, Decision, KeyedRequest, Refused};
use crate::rows::idempotency;
use crate::rows::logins::{self, Claim};
use crate::{host, login};

/// The service that keeps profiles.
pub(crate) const USER: &str = "user";

/// A request for a new account.
pub(crate) struct Wanted<'a> {
    pub(crate) username: &'a str,
    pub(crate) password: Password<'a>,
    /// Fields of the profile besides the username.
    pub(crate) profile: JsonObject,
    /// Recognises a retry of the same request.
    pub(crate) key: Option<&'a IdempotencyKey>,
    /// The client's network address. Wrong passwords in retries count against it.
    pub(crate) address: Option<&'a str>,
}

/// Outcome of the first step.
enum Start {
    /// This request claimed the name.
    Claimed(Claimed),
    /// The same request succeeded before, with this response body.
    Replay(String),
}

/// A claimed name.
struct Claimed {
    claim: Claim,
    /// Whether an earlier attempt made the claim. Its profile may exist.
    taken_over: bool,
}

/// Creates a login and its profile. `respond` builds the response from the profile.
///
/// A retry with the same key gets the same response and creates nothing.
///
/// # Errors
/// 400 `CREATION_FAILED` for a name that is taken or refused, or a refused password. 503 if a step failed. If the
/// request has an idempotency key, also 409 while the first request with it runs, 422 if that was a different
/// request, and 429 after too many wrong passwords.
pub(crate) fn register(wanted: Wanted<'_>, respond: fn(&JsonValue) -> Response) -> Result<Response, Failure> {
    let Wanted { username, password, profile, key, address } = wanted;
    let name = Username::of_new_account(username).map_err(|refused| creation_failed(refused.to_string()))?;
    password::check(&password, name.as_str(), host::minimum_length())
        .map_err(|refused| creation_failed(refused.to_string()))?;
    let email = profile.get("email").and_then(JsonValue::as_str);
    let keyed = key.map(|key| KeyedRequest::new(key.as_str(), &name, email));
    let claimed = match claim(&name, keyed.as_ref())? {
        Start::Claimed(claimed) => claimed,
        Start::Replay(body) if login::authenticate(&name, &password, address)?.is_some() => {
            return Ok(Response::replayed(201, body.into_bytes()));
        }
        Start::Replay(_) => return Err(IdempotencyKey::reused()),
    };
    let hash = host::hash(password.prepared()).inspect_err(|_| claimed.give_up())?;
    let response = respond(&create_profile(&name, &claimed, profile)?);
    if claimed.activate(&hash, keyed.as_ref(), &response).inspect_err(|_| claimed.release())? {
        Ok(response)
    } else {
        // An administrator deleted the profile, and with it the claim, before the login was active.
        Err(taken())
    }
}

/// Claims the name. Of concurrent registrations one succeeds, and the host hashes only that one's password.
fn claim(name: &Username, keyed: Option<&KeyedRequest<'_>>) -> Result<Start, Failure> {
    let now = host::now_ms();
    // The first look needs no writer. It finds most refusals and replays.
    if let Decision::Replay { response } = look(&Database, name, keyed, now)? {
        return Ok(Start::Replay(response));
    }
    let tx = storage::begin()?;
    let (registration, taken_over) = match look(&tx, name, keyed, now)? {
        Decision::Replay { response } => return Ok(Start::Replay(response)),
        Decision::Claim => (host::unique_id(), false),
        Decision::TakeOver { registration } => (registration, true),
    };
    let claim = Claim { registration, claimed_at: now };
    let kept = if taken_over { logins::take_over(&tx, name, &claim) } else { logins::claim(&tx, name, &claim) };
    kept.map_err(taken_if_unique)?;
    if let Some(keyed) = keyed {
        idempotency::begin(&tx, keyed, &claim.registration, now)?;
    }
    tx.commit()?;
    Ok(Start::Claimed(Claimed { claim, taken_over }))
}

/// Decides from the stored rows how to continue.
fn look(from: &impl Reads, name: &Username, keyed: Option<&KeyedRequest<'_>>, now: i64) -> Result<Decision, Failure> {
    // Read the holder before its key: one transaction writes both, so a claim that is visible here has a visible key.
    let holder = logins::holder(from, name)?;
    let stored = match keyed {
        Some(keyed) => idempotency::find(from, keyed, now)?.map(|stored| (keyed, stored)),
        None => None,
    };
    registration::decide(name, holder, stored, now).map_err(|refused| match refused {
        Refused::Taken => taken(),
        Refused::UnderWay => IdempotencyKey::in_use(),
        Refused::Reused => IdempotencyKey::reused(),
    })
}

/// Asks user to create the profile. User returns an existing profile of the same registration.
fn create_profile(name: &Username, claimed: &Claimed, mut profile: JsonObject) -> Result<JsonValue, Failure> {
    profile.insert("registration".to_owned(), claimed.claim.registration.as_str().into());
    profile.insert("username".to_owned(), name.as_str().into());
    let profile = JsonValue::Object(profile);
    // Without a response, the profile may or may not exist. So the claim stays, for the next registration to take over.
    let (status, mut answer) =
        peer::call(USER, Method::Post, "/internal/profiles", Some(&profile)).inspect_err(|_| claimed.release())?;
    match status {
        201 => Ok(answer["data"].take()),
        400 => {
            claimed.give_up();
            let why = answer["error"]["message"].as_str().unwrap_or("The profile was refused.");
            Err(creation_failed(why.to_owned()))
        }
        409 => {
            claimed.give_up();
            Err(taken())
        }
        status => {
            kit::log::warn!("cannot create a profile: {USER} answered {status}");
            claimed.release();
            Err(Failure::unavailable("SERVICE_BUSY", "The account cannot be created now. Try again.", 1))
        }
    }
}

impl Claimed {
    /// Activates the login and stores the response for the key, in one transaction. False if the claim is gone.
    fn activate(&self, hash: &str, keyed: Option<&KeyedRequest<'_>>, response: &Response) -> storage::Result<bool> {
        let tx = storage::begin()?;
        if !logins::activate(&tx, &self.claim, hash)? {
            return Ok(false);
        }
        if let Some(keyed) = keyed {
            idempotency::complete(&tx, keyed, &self.claim.registration, &response.to_body(), host::now_ms())?;
        }
        tx.commit()?;
        Ok(true)
    }

    /// Frees the name after a failure, if no profile was created.
    fn give_up(&self) {
        if self.taken_over {
            self.release();
        } else {
            log(logins::drop_claim(&self.claim));
        }
    }

    /// Lets the next registration of the name take the claim over at once.
    fn release(&self) {
        log(logins::release_claim(&self.claim));
    }
}

/// Logs a claim that could not be released. It expires after a minute, so the response does not change.
fn log(outcome: storage::Result<()>) {
    if let Err(error) = outcome {
        kit::log::warn!("cannot release a claimed username: {error:?}");
    }
}

fn taken_if_unique(error: storage::Error) -> Failure {
    match error {
        storage::Error::Constraint(Constraint::Unique) => taken(),
        other => other.into(),
    }
}

fn taken() -> Failure {
    creation_failed("The username is taken.".to_owned())
}

/// 400: the request cannot become an account.
pub(crate) fn creation_failed(message: String) -> Failure {
    Failure::bad_request("CREATION_FAILED", message)
}
