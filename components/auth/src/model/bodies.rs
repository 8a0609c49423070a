//! The bodies of requests. Their routes ignore unknown members.

use std::ops::Deref;

use email::Email;
use kit::JsonObject;
use serde::{Deserialize, Deserializer, de};

/// A text that is not empty.
#[derive(Clone, Debug)]
pub(crate) struct Filled(String);

impl Deref for Filled {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Filled, D::Error> {
        let text = String::deserialize(input)?;
        if text.is_empty() { Err(de::Error::custom("must not be empty")) } else { Ok(Filled(text)) }
    }
}

#[derive(Deserialize)]
pub(crate) struct Credentials {
    pub(crate) username: Filled,
    pub(crate) password: Filled,
}

#[derive(Deserialize)]
pub(crate) struct Registration {
    pub(crate) username: Filled,
    pub(crate) password: Filled,
    pub(crate) email: Option<Email>,
}

/// A login that user asks for. A missing password counts as an empty one, which the password policy refuses.
#[derive(Deserialize)]
pub(crate) struct NewLogin {
    #[serde(default)]
    pub(crate) username: String,
    #[serde(default)]
    pub(crate) password: String,
    #[serde(default)]
    pub(crate) profile: JsonObject,
}

#[derive(Deserialize)]
pub(crate) struct PasswordChange {
    pub(crate) current: Filled,
    pub(crate) new: Filled,
}

#[derive(Deserialize)]
pub(crate) struct OperatorPassword {
    pub(crate) password: Filled,
}

#[derive(Deserialize)]
pub(crate) struct Refresh {
    pub(crate) refresh_token: Filled,
}

#[derive(Deserialize)]
pub(crate) struct Token {
    pub(crate) token: Filled,
}
