//! The check of email addresses that auth and user share.
//!
//! Checks only the form. Whether an address exists, only a delivered mail can prove.

use std::borrow::Cow;
use std::ops::Deref;

use email_address::{EmailAddress, Options};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};

/// Maximum length in bytes: a path of RFC 5321 (section 4.5.3.1.3) without its angle brackets.
pub const LIMIT_BYTES: usize = 254;

/// Whether a text is one email address (RFC 5321, and RFC 6531 for letters of any script).
///
/// Refuses display names, address literals (`bob@[192.0.2.1]`), white space and control characters. A shop does not need them,
/// and they are dangerous in mail headers and web pages.
pub fn is_valid(text: &str) -> bool {
    let options = Options::default().without_display_text().without_domain_literal();
    text.len() <= LIMIT_BYTES
        && !text.chars().any(|character| character.is_control() || character.is_whitespace())
        && EmailAddress::parse_with_options(text, options).is_ok()
}

/// An email address. As a field of a body, it refuses other texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(String);

impl Deref for Email {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Email, D::Error> {
        let text = String::deserialize(input)?;
        let is_valid = is_valid(&text);
        is_valid
            .then_some(Email(text))
            .ok_or_else(|| de::Error::custom("must be an email address, such as bob@example.com"))
    }
}

impl JsonSchema for Email {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Email".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "email", "maxLength": LIMIT_BYTES })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_addresses_are_accepted() {
        for address in [
            "bob@example.com",
            "a@b",
            "bob+shop@mail.example.co.uk",
            "o'neil_jr@example.com",
            "\"bob@home\"@example.com",
            "用户@例子.广告",
            "bob@xn--bcher-kva.example",
        ] {
            assert!(is_valid(address), "{address}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "bob",
            "@example.com",
            "bob@",
            "bob@@example.com",
            "bob@example..com",
            "bob@-example.com",
            "bob@example.com.",
            ".bob@example.com",
            "bob @example.com",
            " bob@example.com",
            "bob@example.com\u{a0}",
            "\"bob home\"@example.com",
            "bob@\nexample.com",
            "bob@exam\u{85}ple.com",
            "bob@[192.0.2.1]",
            "Bob <bob@example.com>",
            "bob@example.com,eve@example.com",
            "javascript:alert(1)@example.com",
        ] {
            assert!(!is_valid(text), "{text:?}");
        }
    }

    #[test]
    fn the_limits_of_rfc_5321_count_bytes() {
        let local = |bytes: usize| format!("{}@example.com", "x".repeat(bytes));
        assert!(is_valid(&local(64)) && !is_valid(&local(65)));
        let domain = |bytes: usize| {
            let labels = format!("{}.{}.{}.", "x".repeat(63), "x".repeat(63), "x".repeat(63));
            format!("b@{labels}{}", "x".repeat(bytes - 2 - labels.len()))
        };
        assert!(is_valid(&domain(LIMIT_BYTES)) && !is_valid(&domain(LIMIT_BYTES + 1)));
        assert!(is_valid(&format!("{}@b", "é".repeat(32))) && !is_valid(&format!("{}@b", "é".repeat(33))));
    }
}
