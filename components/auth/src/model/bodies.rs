//! The bodies of requests and small responses. The routes ignore unknown members.

use std::ops::Deref;

use email::Email;
use kit::JsonObject;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

/// A text that is not empty.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(inline, extend("minLength" = 1))]
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

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Credentials {
    pub(crate) username: Filled,
    pub(crate) password: Filled,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Registration {
    /// No control characters, and no white space at the start or the end. The letters must not mix scripts. Names that look alike
    /// count as the same.
    #[schemars(length(max = 150))]
    pub(crate) username: Filled,
    /// Must not be the username or a very common password. The operator can set a higher minimum than eight characters.
    #[schemars(length(min = 8, max = 1024))]
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

#[derive(Deserialize, JsonSchema)]
pub(crate) struct PasswordChange {
    pub(crate) current: Filled,
    /// Must not be the username or a very common password. The operator can set a higher minimum than eight characters.
    #[schemars(length(min = 8, max = 1024))]
    pub(crate) new: Filled,
}

/// A login that front asks for. The address is that of the browser, so that failed logins count against its network.
#[derive(Deserialize)]
pub(crate) struct BrowserLogin {
    pub(crate) username: Filled,
    pub(crate) password: Filled,
    pub(crate) client_address: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct OperatorPassword {
    pub(crate) password: Filled,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Refresh {
    pub(crate) refresh_token: Filled,
}

#[derive(Default, Deserialize, JsonSchema)]
pub(crate) struct Logout {
    pub(crate) refresh_token: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
pub(crate) struct Token {
    /// An access token.
    pub(crate) token: Filled,
}

/// The claims of a valid token.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Verified {
    #[schemars(length(min = 1))]
    pub(crate) username: String,
    /// Seconds since 1970-01-01 UTC.
    pub(crate) expires_at: u64,
}

/// The new account.
// Only its schema is used: user makes the values.
#[cfg(not(target_family = "wasm"))]
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) struct Registered {
    #[schemars(range(min = 1))]
    user_id: i64,
    #[schemars(length(min = 1, max = 150))]
    username: String,
}
