//! User's decisions, as pure functions: the fields of a profile, and who may access it.

use std::hash::{DefaultHasher, Hash, Hasher as _};

use email::Email;
use kit::{Caller, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de};

/// The fields of a profile besides the username. None leaves a field unchanged, or empty in a new profile.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Fields<'a> {
    pub(crate) email: Option<&'a str>,
    pub(crate) first_name: Option<&'a str>,
    pub(crate) last_name: Option<&'a str>,
    pub(crate) phone: Option<&'a str>,
    pub(crate) address: Option<&'a str>,
}

/// The operator's profile, as the first migration creates it.
pub(crate) const OPERATOR: Operator = Operator {
    registration: "operator",
    username: "admin",
    fields: Fields {
        email: Some("admin@example.com"),
        first_name: Some("Admin"),
        last_name: Some("User"),
        phone: None,
        address: None,
    },
};

/// The values of the operator's profile.
pub(crate) struct Operator {
    pub(crate) registration: &'static str,
    pub(crate) username: &'static str,
    pub(crate) fields: Fields<'static>,
}

/// Changes of a profile. Null counts as absent. Unknown members are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(extend("minProperties" = 1))]
pub(crate) struct Changes {
    pub(crate) email: Option<Email>,
    pub(crate) first_name: Option<ShortText>,
    pub(crate) last_name: Option<ShortText>,
    pub(crate) phone: Option<ShortText>,
    pub(crate) address: Option<ShortText>,
}

pub(crate) type ShortText = Text<0, 1000>;

/// A new user. Unknown members are ignored.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub(crate) struct NewUser {
    /// No control characters, and no white space at the start or the end. The letters must not mix scripts. Names that look alike
    /// count as the same.
    #[schemars(length(min = 1, max = 150))]
    #[serde(deserialize_with = "filled")]
    pub(crate) username: String,
    #[schemars(length(min = 8, max = 1024))]
    pub(crate) password: Option<String>,
    pub(crate) email: Option<Email>,
    pub(crate) first_name: Option<ShortText>,
    pub(crate) last_name: Option<ShortText>,
    pub(crate) phone: Option<ShortText>,
    pub(crate) address: Option<ShortText>,
}

/// Reads a text that is not only white space.
fn filled<'de, D: Deserializer<'de>>(input: D) -> Result<String, D::Error> {
    let text = String::deserialize(input)?;
    if text.trim().is_empty() { Err(de::Error::custom("must not be empty")) } else { Ok(text) }
}

/// The body of auth's request for a profile, beside the fields.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Registered {
    pub(crate) registration: Text<1, 1000>,
    pub(crate) username: String,
}

impl Changes {
    /// The fields, borrowed.
    pub(crate) fn fields(&self) -> Fields<'_> {
        Fields {
            email: self.email.as_deref(),
            first_name: self.first_name.as_deref(),
            last_name: self.last_name.as_deref(),
            phone: self.phone.as_deref(),
            address: self.address.as_deref(),
        }
    }

    /// Whether all fields are absent.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Whether a caller may see and change the profile of a user: the user and administrators may.
pub(crate) fn may_access(caller: &Caller, username: &str) -> bool {
    caller.is_admin() || caller.username == username
}

/// An entity tag (RFC 9110, section 8.8.3): 64 bits of SipHash over the profile.
///
/// Two versions of a profile have the same tag with a probability of 2^-64. A user who searched for a collision could only harm
/// the own profile. A cryptographic hash would cost a guest several microseconds.
pub(crate) fn tag(content: &impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kit::JsonValue;
    use serde_json::json;

    fn read(body: JsonValue) -> serde_json::Result<Changes> {
        serde_json::from_value(body)
    }

    #[test]
    fn null_and_unknown_members_are_ignored() {
        assert!(read(json!({ "email": null, "username": "eve", "id": 7, "role": "admin" })).unwrap().is_empty());
    }

    #[test]
    fn an_empty_text_is_a_value() {
        let changes = read(json!({ "phone": "" })).unwrap();
        assert_eq!((changes.fields().phone, changes.is_empty()), (Some(""), false));
    }

    #[test]
    fn every_field_is_read() {
        let changes = read(json!({
            "email": "a@b", "first_name": "Ada", "last_name": "Łovelace", "phone": "+33 1", "address": "1, rue X\n75001",
        }));
        let expected = Fields {
            email: Some("a@b"),
            first_name: Some("Ada"),
            last_name: Some("Łovelace"),
            phone: Some("+33 1"),
            address: Some("1, rue X\n75001"),
        };
        assert_eq!(changes.unwrap().fields(), expected);
    }

    #[test]
    fn other_values_and_invalid_addresses_are_refused() {
        for value in [json!(1), json!(true), json!([]), json!({ "a": 1 }), json!("a\0b"), json!("é".repeat(1001))] {
            assert!(read(json!({ "address": value })).is_err(), "{value}");
        }
        assert!(read(json!({ "address": "é".repeat(1000) })).is_ok());
        for text in ["", "nowhere", "bob@", "bob @example.com", &format!("{}@example.com", "x".repeat(250))] {
            assert!(read(json!({ "email": text })).is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_owner_and_administrators_may_access_a_profile() {
        let caller =
            |username: &str, role: &str| Caller { username: username.to_owned(), role: role.to_owned(), session: None };
        assert!(may_access(&caller("bob", "user"), "bob"));
        assert!(!may_access(&caller("Bob", "user"), "bob"));
        assert!(!may_access(&caller("admin", "user"), "bob"));
        assert!(may_access(&caller("admin", "admin"), "bob"));
    }
}
