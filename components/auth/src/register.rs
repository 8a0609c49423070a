//! Registration: a login here and a profile at user, both or neither.
//!
//! The last step makes the login active. One that broke off before lets nobody in: [`crate::model::registration`] says who
//! goes on with it. All that it may leave to be seen is a profile without a login, which the next registration of the name
//! takes over and an administrator can delete.

#[cfg(not(test))]
use kit::peer;
use kit::storage::{self, Constraint, Database, Reads};
use kit::{Failure, IdempotencyKey, JsonObject, JsonValue, Method, Response};
use username::Username;

use crate::model::password::{self, Password};
use crate::model::registration::{self, Answer, Once, Refused};
use crate::rows::answers;
use crate::rows::logins::{self, Claim};
#[cfg(test)]
use crate::stand_in::peer;
use crate::{host, login};

/// The service that keeps profiles.
pub(crate) const USER: &str = "user";

/// Somebody who wants an account.
pub(crate) struct Wanted<'a> {
    pub(crate) username: &'a str,
    pub(crate) password: Password<'a>,
    /// What the profile has besides the username.
    pub(crate) profile: JsonObject,
    /// By which the same request is known when it comes again.
    pub(crate) key: Option<&'a IdempotencyKey>,
    /// The client's, in whose name a guess at a password is counted.
    pub(crate) address: Option<&'a str>,
}

/// What a registration begins with.
enum Start {
    Claimed(Claimed),
    /// It is there already, and was answered so.
    Again(String),
}

/// A name that was claimed, and whether a profile may be there from an earlier attempt.
struct Claimed {
    claim: Claim,
    taken_over: bool,
}

/// Makes a login and its profile, and gives what `answer` makes of the profile. With a key, the same request again gets the
/// same answer and makes nothing.
///
/// # Errors
/// 400 `CREATION_FAILED` for a name that is taken or refused and for a password that is refused; 503 when it broke off.
/// For a key: 409 while the first request is worked on, 422 for another one, 429 for too many with a wrong password.
pub(crate) fn register(wanted: Wanted<'_>, answer: fn(&JsonValue) -> Response) -> Result<Response, Failure> {
    let Wanted { username, password, profile, key, address } = wanted;
    let name = Username::of_new_account(username).map_err(|refused| creation_failed(refused.to_string()))?;
    password::check(&password, name.as_str(), host::minimum_length())
        .map_err(|refused| creation_failed(refused.to_string()))?;
    let email = profile.get("email").and_then(JsonValue::as_str);
    let once = key.map(|key| Once::new(key.as_str(), &name, email));
    let claimed = match claim(&name, once.as_ref())? {
        Start::Claimed(claimed) => claimed,
        Start::Again(body) if login::authenticate(&name, &password, address)?.is_some() => {
            return Ok(Response::replayed(201, body.into_bytes()));
        }
        Start::Again(_) => return Err(IdempotencyKey::reused()),
    };
    let hash = host::hash(password.prepared()).inspect_err(|_| claimed.give_up())?;
    let answer = answer(&make_profile(&name, &claimed, profile)?);
    if claimed.activate(&hash, once.as_ref(), &answer).inspect_err(|_| claimed.release())? {
        Ok(answer)
    } else {
        // An administrator deleted the profile as soon as it was there.
        Err(taken())
    }
}

/// Keeps the name for this registration. Of any number at once, one gets it, and only that one's password is hashed.
fn claim(name: &Username, once: Option<&Once<'_>>) -> Result<Start, Failure> {
    let now = host::now_ms();
    // Most of what makes nothing is found so, without waiting for the writer.
    if let Answer::Again { answer } = look(&Database, name, once, now)? {
        return Ok(Start::Again(answer));
    }
    let tx = storage::begin()?;
    let (registration, taken_over) = match look(&tx, name, once, now)? {
        Answer::Again { answer } => return Ok(Start::Again(answer)),
        Answer::Claim => (host::unique_id(), false),
        Answer::TakeOver { registration } => (registration, true),
    };
    let claim = Claim { registration, claimed_at: now };
    let kept = if taken_over { logins::take_over(&tx, name, &claim) } else { logins::claim(&tx, name, &claim) };
    kept.map_err(taken_if_unique)?;
    if let Some(once) = once {
        answers::begin(&tx, once, &claim.registration, now)?;
    }
    tx.commit()?;
    Ok(Start::Claimed(Claimed { claim, taken_over }))
}

/// What becomes of a registration, as things are.
fn look(from: &impl Reads, name: &Username, once: Option<&Once<'_>>, now: i64) -> Result<Answer, Failure> {
    // The holder first: whoever is seen to claim the name is then known by their key too.
    let holder = logins::holder(from, name)?;
    let known = match once {
        Some(once) => answers::find(from, once, now)?.map(|known| (once, known)),
        None => None,
    };
    registration::answer(name, holder, known, now).map_err(|refused| match refused {
        Refused::Taken => taken(),
        Refused::UnderWay => IdempotencyKey::in_use(),
        Refused::Reused => IdempotencyKey::reused(),
    })
}

/// Has user make the profile, or find the one that this registration made before.
fn make_profile(name: &Username, claimed: &Claimed, mut profile: JsonObject) -> Result<JsonValue, Failure> {
    profile.insert("registration".to_owned(), claimed.claim.registration.as_str().into());
    profile.insert("username".to_owned(), name.as_str().into());
    let profile = JsonValue::Object(profile);
    // Without an answer nobody knows whether there is a profile now.
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
            eprintln!("{USER} answered {status} when asked for a profile");
            claimed.release();
            Err(Failure::unavailable("SERVICE_BUSY", "The account could not be made just now.", 1))
        }
    }
}

impl Claimed {
    /// Makes the claim a login, and keeps the answer for the key in the same transaction. False if the claim is gone.
    fn activate(&self, hash: &str, once: Option<&Once<'_>>, answer: &Response) -> storage::Result<bool> {
        let tx = storage::begin()?;
        if !logins::activate(&tx, &self.claim, hash)? {
            return Ok(false);
        }
        if let Some(once) = once {
            answers::give(&tx, once, &self.claim.registration, &answer.to_body(), host::now_ms())?;
        }
        tx.commit()?;
        Ok(true)
    }

    /// Gives the name back when this registration made no profile.
    fn give_up(&self) {
        if self.taken_over {
            self.release();
        } else {
            log(logins::drop_claim(&self.claim));
        }
    }

    /// Lets the next registration go on from here.
    fn release(&self) {
        log(logins::release_claim(&self.claim));
    }
}

/// A claim that could not be given back grows old by itself: no reason to answer otherwise.
fn log(outcome: storage::Result<()>) {
    if let Err(error) = outcome {
        eprintln!("a claim could not be given back: {error:?}");
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

/// What a client is told when no account can be made of what it sent.
pub(crate) fn creation_failed(message: String) -> Failure {
    Failure::bad_request("CREATION_FAILED", message)
}
