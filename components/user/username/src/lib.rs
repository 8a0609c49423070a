//! Usernames, which auth and user share.
//!
//! A username keeps its spelling and is compared by its key. Names that look alike have the same key. No HTTP, no storage.

#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::fmt;
use unicode_normalization::UnicodeNormalization;
use unicode_security::MixedScript as _;

/// Maximum length in Unicode characters. That is at most 600 bytes, the limit for the subject of an access token.
const LENGTH_LIMIT_CHARS: usize = 150;

/// A valid username. It needs no encoding in a header or in a token's subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username {
    text: String,
    key: String,
}

/// Why a text cannot be a username.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It has no visible character.
    Empty,
    /// It has more than 150 characters.
    TooLong,
    /// It has a control character. Headers cannot contain one, and logs must not.
    ControlCharacter,
    /// It starts or ends with white space.
    OuterWhitespace,
    /// It mixes scripts that do not belong together, as in `аdmin` with a Cyrillic `а`.
    MixedScripts,
}

impl Username {
    /// Checks a text. Does not trim or truncate it.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        if text.chars().count() > LENGTH_LIMIT_CHARS {
            return Err(Refused::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(Refused::ControlCharacter);
        }
        let key = fold(text);
        if key.trim().is_empty() {
            return Err(Refused::Empty);
        }
        if text.trim() != text {
            return Err(Refused::OuterWhitespace);
        }
        Ok(Self { text: text.to_owned(), key })
    }

    /// Checks the name of a new account. In addition to [`parse`](Self::parse), it must not mix scripts (UTS 39, section 5.1).
    ///
    /// Han may appear with kana, bopomofo or hangul, as in real names. Digits, punctuation and emoji may appear with any script.
    /// Accounts from before this rule keep their names, because `parse` accepts them.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn of_new_account(text: &str) -> Result<Self, Refused> {
        let name = Self::parse(text)?;
        if text.is_single_script() { Ok(name) } else { Err(Refused::MixedScripts) }
    }

    /// The name in its original spelling.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The key for comparison. It is unique among accounts.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "The username must not be empty.",
            Self::TooLong => "The username must have at most 150 characters.",
            Self::ControlCharacter => "The username must not contain control characters.",
            Self::OuterWhitespace => "The username must not start or end with white space.",
            Self::MixedScripts => "The username must not mix scripts, such as Latin and Cyrillic letters.",
        })
    }
}

/// Folds a text: removes differences of case, of compatibility forms, and of invisible characters.
///
/// Slightly coarser than Unicode's NFKC_Casefold: it converts through upper case, so `ß` equals `ss` and `ς` equals `σ` without
/// an additional table.
pub fn fold(text: &str) -> String {
    text.chars()
        .filter(|character| !is_invisible(*character))
        .nfkd()
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .nfkd()
        .filter(|character| !is_invisible(*character))
        .collect()
}

/// Unicode's Default_Ignorable_Code_Point: soft hyphens, joiners, direction marks, variation selectors.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_any_script_keeps_its_spelling() {
        for name in ["bob", "Zoë", "张伟", "O'Neil, Jr.", "a b", "🦀", "a/b%2F?#"] {
            assert_eq!(Username::parse(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn names_that_look_alike_have_the_same_key() {
        for (one, other) in [
            ("Bob", "bOB"),
            ("Zoe\u{308}", "ZO\u{cb}"),
            ("ﬁn", "FIN"),
            ("straße", "STRASSE"),
            ("STRAẞE", "strasse"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("ａｄｍｉｎ", "admin"),
            ("ad\u{200b}min", "admin"),
            ("ad\u{ad}min", "ADMIN"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} and {other}");
        }
        assert_ne!(fold("bob"), fold("b0b"));
    }

    #[test]
    fn folding_twice_equals_folding_once() {
        for text in ["İstanbul", "ŉ", "ǰ", "ﬃ", "Å", "℡", "\u{1f9c}", "ϓ", "\u{345}α"] {
            assert_eq!(fold(&fold(text)), fold(text), "{text}");
        }
    }

    #[test]
    fn a_refusal_names_the_broken_rule() {
        for (name, rule) in [
            ("", Refused::Empty),
            ("   ", Refused::Empty),
            ("\u{200b}\u{feff}", Refused::Empty),
            (" bob", Refused::OuterWhitespace),
            ("bob\u{a0}", Refused::OuterWhitespace),
            ("bo\nb", Refused::ControlCharacter),
            ("bo\0b", Refused::ControlCharacter),
            ("bo\u{7f}b", Refused::ControlCharacter),
            ("bo\u{85}b", Refused::ControlCharacter),
        ] {
            assert_eq!(Username::parse(name), Err(rule), "{name:?}");
        }
    }

    #[test]
    fn a_new_name_must_not_mix_scripts() {
        for name in [
            "admin",
            "Zoe\u{308}",
            "Nguyễn Ái",
            "Ольга 2",
            "Йо́ж",
            "σίσυφος",
            "张伟",
            "田中さんタロウ",
            "김철수",
            "नेहा",
            "שָׁלוֹם",
            "bob🦀",
            "ａdmin",
        ] {
            assert_eq!(Username::of_new_account(name).map(|name| name.text).as_deref(), Ok(name));
        }
        for name in ["аdmin", "pаypal", "Ωmega", "bοb", "admin٠ا", "Łukasz 日本"] {
            assert_eq!(Username::of_new_account(name), Err(Refused::MixedScripts), "{name}");
            assert!(Username::parse(name).is_ok(), "{name} can belong to an old account");
        }
        assert_eq!(Username::of_new_account(" аdmin"), Err(Refused::OuterWhitespace));
    }

    #[test]
    fn a_name_has_up_to_150_characters() {
        for character in ["x", "é", "🦀"] {
            assert!(Username::parse(&character.repeat(150)).is_ok());
            assert_eq!(Username::parse(&character.repeat(151)), Err(Refused::TooLong));
        }
    }
}
