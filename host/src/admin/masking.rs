//! Which values of a service's database the console shows.
//!
//! The rule, which `SECURITY.md` explains:
//!
//! 1. A service that handles credentials (the grants `tokens`, `token-verifier` and `passwords`) shows only numbers.
//! 2. Other services show all columns except those whose name has a word of [`WORDS`].
//! 3. `visible` in the manifest shows a column that these rules mask.
//! 4. A value that looks like a password hash, a token or a key is masked wherever it is.
//!
//! By the first two rules the database does not even give a masked text or blob to the host, only its length.

use std::collections::BTreeSet;

use storage::{Cell, Column};

use crate::manifest::{Grant, Service};

/// The words of a column's name that mask it.
const WORDS: [&str; 30] = [
    "apikey",
    "auth",
    "cookie",
    "credential",
    "credentials",
    "cvc",
    "cvv",
    "digest",
    "hash",
    "iban",
    "jwt",
    "key",
    "keys",
    "mac",
    "nonce",
    "otp",
    "passphrase",
    "passwd",
    "password",
    "pin",
    "private",
    "pwd",
    "salt",
    "secret",
    "secrets",
    "seed",
    "session",
    "signature",
    "token",
    "tokens",
];

/// The shortest text of mixed letters and digits that looks like a token.
const TOKEN_LENGTH: usize = 32;

/// What a service's manifest says about its columns.
pub(super) struct Rules<'m> {
    handles_credentials: bool,
    visible: &'m BTreeSet<String>,
}

impl<'m> Rules<'m> {
    pub(super) fn of(service: &'m Service) -> Self {
        let credentials = [Grant::Tokens, Grant::TokenVerifier, Grant::Passwords];
        let handles_credentials = credentials.iter().any(|grant| service.grants.contains(grant));
        Self { handles_credentials, visible: &service.visible }
    }

    /// Whether a column's texts and blobs are masked.
    pub(super) fn masks(&self, table: &str, column: &Column) -> bool {
        let is_visible = self.visible.contains(&format!("{table}.{}", column.name));
        !is_visible && (self.handles_credentials || has_word(&column.name))
    }
}

/// Whether a name has a word of the list: `password_hash`, `passwordHash` and `PASSWORD` do.
fn has_word(name: &str) -> bool {
    let mut parts = String::new();
    let mut was_lower = false;
    for letter in name.chars() {
        if was_lower && letter.is_ascii_uppercase() {
            parts.push('_');
        }
        was_lower = letter.is_ascii_lowercase() || letter.is_ascii_digit();
        parts.push(letter.to_ascii_lowercase());
    }
    parts.split(|letter: char| !letter.is_ascii_alphabetic()).any(|word| WORDS.contains(&word))
}

/// Whether a column has only numbers by its declared type, in the words of both engines.
///
/// SQLite may still have texts in it, so the value decides in the end.
pub(super) fn is_numeric(column: &Column) -> bool {
    let kind = column.kind.to_ascii_lowercase();
    ["int", "real", "double", "float", "numeric", "decimal", "bool"].iter().any(|name| kind.contains(name))
}

/// Whether a value looks like a password hash, a token or a key.
pub(super) fn is_secret(cell: &Cell<'_>) -> bool {
    matches!(cell, Cell::Text(text) if is_secret_text(text.trim()))
}

fn is_secret_text(text: &str) -> bool {
    let is_hash = (text.starts_with('$') && text[1..].contains('$'))
        || ["scrypt:", "pbkdf2:", "{SSHA", "-----BEGIN "].iter().any(|start| text.starts_with(start));
    let is_jwt = text.starts_with("eyJ") && text.matches('.').count() >= 2;
    is_hash || is_jwt || is_random(text)
}

/// Whether a text is long and looks random. A UUID does not count, because it usually names a row.
fn is_random(text: &str) -> bool {
    let word = text.split(|letter: char| letter.is_whitespace() || ".:,;\"'".contains(letter));
    word.filter(|word| word.len() >= TOKEN_LENGTH).any(|word| {
        let is_token = word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_+/=~$".contains(&byte));
        let has = |is: fn(&u8) -> bool| word.as_bytes().iter().any(is);
        let is_mixed = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase) && has(u8::is_ascii_digit);
        let is_hexadecimal = word.bytes().all(|byte| byte.is_ascii_hexdigit()) && has(u8::is_ascii_alphabetic);
        is_token && (is_mixed || is_hexadecimal)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_a_word_of_the_list_are_masked() {
        for name in ["password", "password_hash", "passwordHash", "API_KEY", "refresh-token", "PIN", "user_pin2"] {
            assert!(has_word(name), "{name}");
        }
        for name in ["name", "keyboard", "monkey", "description", "pinned", "hashtag", "authors", "total_cents"] {
            assert!(!has_word(name), "{name}");
        }
    }

    #[test]
    fn values_that_look_like_secrets_are_masked_wherever_they_are() {
        for secret in [
            "$argon2id$v=19$m=19456,t=2,p=1$ONxQb3FLT503PUnnLu0iqg$HbzAdyNwdXFHScoCTQM5RaWa26PnHFCY3Af8oKhek+Q",
            "$2b$12$abcdefghijklmnopqrstuv",
            "scrypt:32768:8:1$salt$00ff",
            "pbkdf2:sha256:600000$salt$00ff",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.x",
            "-----BEGIN PRIVATE KEY-----\nMC4",
            "d9Zk3vQmT0bWc5YxPq7LrN8sHf2JgAeU",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "Bearer d9Zk3vQmT0bWc5YxPq7LrN8sHf2JgAeU",
            "{\"access\":\"d9Zk3vQmT0bWc5YxPq7LrN8sHf2JgAeU\"}",
        ] {
            assert!(is_secret(&Cell::Text(secret)), "{secret}");
        }
        for other in [
            "Laptop Dell XPS 13",
            "a-very-long-name-of-a-product-with-2-numbers-in-7-words",
            "123e4567-e89b-12d3-a456-426614174000",
            "2026-11-29 15:00:00",
            "costs $5",
            "12345678901234567890123456789012",
            "https://shop.example/products/A1/b2",
            "",
        ] {
            assert!(!is_secret(&Cell::Text(other)), "{other}");
        }
        assert!(!is_secret(&Cell::Integer(7)) && !is_secret(&Cell::Null));
    }
}
