//! User's decisions, as pure functions: the fields of a profile, and who may access it.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use kit::{Caller, JsonObject, JsonValue};
use serde::Serialize;

const TEXT_LIMIT_CHARS: usize = 1000;

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

/// Why a field is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The field is not a string.
    NotText(&'static str),
    /// The field has more characters than this limit.
    TooLong(&'static str, usize),
    /// The field contains U+0000, which PostgreSQL cannot store.
    Nul(&'static str),
    /// The email is no email address.
    NotEmail,
}

impl<'a> Fields<'a> {
    /// Reads the fields of a body. Null counts as absent. Ignores unknown members.
    ///
    /// # Errors
    /// Names the first invalid field.
    pub(crate) fn read(body: &'a JsonObject) -> Result<Self, Refused> {
        Ok(Self {
            email: email(body)?,
            first_name: field(body, "first_name")?,
            last_name: field(body, "last_name")?,
            phone: field(body, "phone")?,
            address: field(body, "address")?,
        })
    }

    /// Whether all fields are absent.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText(field) => write!(formatter, "The field {field} must be a string."),
            Self::TooLong(field, limit) => write!(formatter, "The field {field} must have at most {limit} characters."),
            Self::Nul(field) => write!(formatter, "The field {field} must not contain U+0000."),
            Self::NotEmail => formatter.write_str("The field email must be an email address, such as bob@example.com."),
        }
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

fn email(body: &JsonObject) -> Result<Option<&str>, Refused> {
    match field(body, "email")? {
        Some(text) if !email::is_valid(text) => Err(Refused::NotEmail),
        field => Ok(field),
    }
}

fn field<'a>(body: &'a JsonObject, name: &'static str) -> Result<Option<&'a str>, Refused> {
    match body.get(name) {
        None | Some(JsonValue::Null) => Ok(None),
        Some(JsonValue::String(text)) if text.contains('\0') => Err(Refused::Nul(name)),
        Some(JsonValue::String(text)) if text.chars().count() > TEXT_LIMIT_CHARS => {
            Err(Refused::TooLong(name, TEXT_LIMIT_CHARS))
        }
        Some(JsonValue::String(text)) => Ok(Some(text)),
        Some(_) => Err(Refused::NotText(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn body(value: &JsonValue) -> JsonObject {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn null_and_unknown_members_are_ignored() {
        let body = body(&json!({ "email": null, "username": "eve", "id": 7, "role": "admin" }));
        assert!(Fields::read(&body).unwrap().is_empty());
    }

    #[test]
    fn an_empty_text_is_a_value() {
        let body = body(&json!({ "phone": "" }));
        let fields = Fields::read(&body).unwrap();
        assert_eq!(fields.phone, Some(""));
        assert!(!fields.is_empty());
    }

    #[test]
    fn every_field_is_read() {
        let body = body(&json!({
            "email": "a@b", "first_name": "Ada", "last_name": "Łovelace", "phone": "+33 1", "address": "1, rue X\n75001",
        }));
        let expected = Fields {
            email: Some("a@b"),
            first_name: Some("Ada"),
            last_name: Some("Łovelace"),
            phone: Some("+33 1"),
            address: Some("1, rue X\n75001"),
        };
        assert_eq!(Fields::read(&body).unwrap(), expected);
    }

    #[test]
    fn values_other_than_strings_are_refused() {
        for value in [json!(1), json!(true), json!([]), json!({ "a": 1 }), json!(1.5)] {
            let body = body(&json!({ "address": value }));
            assert_eq!(Fields::read(&body), Err(Refused::NotText("address")));
        }
        let body = body(&json!({ "first_name": "a\u{0}b" }));
        assert_eq!(Fields::read(&body), Err(Refused::Nul("first_name")));
    }

    #[test]
    fn length_limits_count_characters() {
        for field in ["first_name", "last_name", "phone", "address"] {
            let fits = body(&json!({ field: "é".repeat(1000) }));
            assert!(Fields::read(&fits).is_ok(), "{field}");
            let long = body(&json!({ field: "é".repeat(1001) }));
            assert_eq!(Fields::read(&long), Err(Refused::TooLong(field, 1000)));
        }
    }

    #[test]
    fn an_invalid_email_address_is_refused() {
        for text in ["", "nowhere", "bob@", "bob @example.com", &format!("{}@example.com", "x".repeat(250))] {
            let body = body(&json!({ "email": text }));
            assert_eq!(Fields::read(&body), Err(Refused::NotEmail), "{text:?}");
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
