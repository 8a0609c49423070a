//! What user decides, from plain values: which fields a profile takes, and who may see it.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher as _};

use kit::{Caller, JsonObject, JsonValue};
use serde::Serialize;

const TEXT_LIMIT_CHARS: usize = 1000;

/// What a profile holds besides its name. None leaves a field as it is, or empty in a new profile.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Fields<'a> {
    pub(crate) email: Option<&'a str>,
    pub(crate) first_name: Option<&'a str>,
    pub(crate) last_name: Option<&'a str>,
    pub(crate) phone: Option<&'a str>,
    pub(crate) address: Option<&'a str>,
}

/// The operator's profile, as the first migration seeds it.
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

/// What a profile of the operator is made of.
pub(crate) struct Operator {
    pub(crate) registration: &'static str,
    pub(crate) username: &'static str,
    pub(crate) fields: Fields<'static>,
}

/// Why a field is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    NotText(&'static str),
    TooLong(&'static str, usize),
    /// U+0000, which not every database can hold.
    Nul(&'static str),
    NotEmail,
}

impl<'a> Fields<'a> {
    /// Reads the fields of a body. Null is the same as absent; members that are no fields are ignored.
    ///
    /// # Errors
    /// The first field that cannot be stored.
    pub(crate) fn read(body: &'a JsonObject) -> Result<Self, Refused> {
        Ok(Self {
            email: email(body)?,
            first_name: field(body, "first_name")?,
            last_name: field(body, "last_name")?,
            phone: field(body, "phone")?,
            address: field(body, "address")?,
        })
    }

    /// Whether no field was given.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotText(field) => write!(formatter, "The field {field} must be a text."),
            Self::TooLong(field, limit) => write!(formatter, "The field {field} must have at most {limit} characters."),
            Self::Nul(field) => write!(formatter, "The field {field} must not contain U+0000."),
            Self::NotEmail => formatter.write_str("The field email must be an email address, like bob@example.com."),
        }
    }
}

/// Whether a caller may see and change the profile of a name: their own, or any for an administrator.
pub(crate) fn may_touch(caller: &Caller, username: &str) -> bool {
    caller.is_admin() || caller.username == username
}

/// An entity tag (RFC 9110, section 8.8.3): 64 bits of SipHash, so that two versions of one profile have the same once in 2^64. A
/// user who looked for two that do would harm nobody but themselves. A cryptographic hash costs a guest several microseconds.
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
    fn nulls_and_unknown_members_give_no_field() {
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
    fn what_is_no_text_is_refused() {
        for value in [json!(1), json!(true), json!([]), json!({ "a": 1 }), json!(1.5)] {
            let body = body(&json!({ "address": value }));
            assert_eq!(Fields::read(&body), Err(Refused::NotText("address")));
        }
        let body = body(&json!({ "first_name": "a\u{0}b" }));
        assert_eq!(Fields::read(&body), Err(Refused::Nul("first_name")));
    }

    #[test]
    fn lengths_are_bounded_in_characters() {
        for field in ["first_name", "last_name", "phone", "address"] {
            let fits = body(&json!({ field: "é".repeat(1000) }));
            assert!(Fields::read(&fits).is_ok(), "{field}");
            let long = body(&json!({ field: "é".repeat(1001) }));
            assert_eq!(Fields::read(&long), Err(Refused::TooLong(field, 1000)));
        }
    }

    #[test]
    fn an_email_address_is_one() {
        for text in ["", "nowhere", "bob@", "bob @example.com", &format!("{}@example.com", "x".repeat(250))] {
            let body = body(&json!({ "email": text }));
            assert_eq!(Fields::read(&body), Err(Refused::NotEmail), "{text:?}");
        }
    }

    #[test]
    fn a_profile_is_its_owners_and_the_administrators() {
        let caller =
            |username: &str, role: &str| Caller { username: username.to_owned(), role: role.to_owned(), session: None };
        assert!(may_touch(&caller("bob", "user"), "bob"));
        assert!(!may_touch(&caller("Bob", "user"), "bob"));
        assert!(!may_touch(&caller("admin", "user"), "bob"));
        assert!(may_touch(&caller("admin", "admin"), "bob"));
    }
}
