//! Registration: a login here and a profile at user, both or neither.
//!
//! The last step makes the login active. One that broke off before lets nobody in: [`crate::model::registration`] says who
//! goes on with it. All that it may leave to be seen is a profile without a login, which the next registration of the name
//! takes over and an administrator can delete.

#[cfg(not(test))]
use kit::peer;
use kit::storage::{self, Constraint, Database};
use kit::{Failure, JsonObject, JsonValue, Method};
use username::Username;

use crate::host;
use crate::model::password;
use crate::model::registration::{self, Answer};
use crate::rows::logins::{self, Claim};
#[cfg(test)]
use crate::stand_in::peer;

/// The service that keeps profiles.
const USER: &str = "user";

/// A name that was claimed, and whether a profile may be there from an earlier attempt.
struct Claimed {
    claim: Claim,
    taken_over: bool,
}

/// Makes a login and its profile, with the members of `profile` besides the username, and gives the profile.
///
/// # Errors
/// 400 `CREATION_FAILED` for a name that is taken or refused and for a password that is refused; 503 when it broke off.
pub(crate) fn register(name: &str, password: &str, profile: JsonObject) -> Result<JsonValue, Failure> {
    let name = Username::parse(name).map_err(|refused| creation_failed(refused.to_string()))?;
    password::check(password, name.as_str()).map_err(|refused| creation_failed(refused.to_string()))?;
    let claimed = claim(&name)?;
    let hash = host::hash(password).inspect_err(|_| claimed.give_up())?;
    let profile = make_profile(&name, &claimed, profile)?;
    if logins::activate(&claimed.claim, &hash).inspect_err(|_| claimed.release())? {
        Ok(profile)
    } else {
        // An administrator deleted the profile as soon as it was there.
        Err(taken())
    }
}

/// Keeps the name for this registration. Of any number at once, one gets it, and only that one's password is hashed.
fn claim(name: &Username) -> Result<Claimed, Failure> {
    let now = host::now_ms();
    // Most names that are taken are found so, without waiting for the writer.
    if registration::answer(name, logins::holder(&Database, name)?, now) == Answer::Taken {
        return Err(taken());
    }
    let tx = storage::begin()?;
    let (registration, taken_over) = match registration::answer(name, logins::holder(&tx, name)?, now) {
        Answer::Taken => return Err(taken()),
        Answer::Claim => (host::unique_id(), false),
        Answer::TakeOver { registration } => (registration, true),
    };
    let claim = Claim { registration, claimed_at: now };
    let kept = if taken_over { logins::take_over(&tx, name, &claim) } else { logins::claim(&tx, name, &claim) };
    kept.map_err(taken_if_unique)?;
    tx.commit()?;
    Ok(Claimed { claim, taken_over })
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
