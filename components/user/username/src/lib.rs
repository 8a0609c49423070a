//! A username: the one noun that auth and user share.
//!
//! A name is kept as it was typed and compared by its key, in which names that look alike are the same. Knows neither
//! HTTP nor storage.

#![cfg_attr(test, allow(clippy::unwrap_used))]

use std::fmt;
use unicode_normalization::UnicodeNormalization;
use unicode_security::MixedScript as _;

/// In Unicode characters: at most 600 bytes, which is what the subject of an access token holds.
const LENGTH_LIMIT_CHARS: usize = 150;

/// A name that an account may have. It fits a header and a token's subject as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Username {
    text: String,
    key: String,
}

/// Why a text cannot be a username.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nothing that can be seen.
    Empty,
    /// More than 150 characters.
    TooLong,
    /// A control character, which a header cannot carry and a log must not.
    ControlCharacter,
    /// White space at the start or the end.
    OuterWhitespace,
    /// Letters of scripts that are not written together, as in `аdmin` with a Cyrillic `а`.
    MixedScripts,
}

impl Username {
    /// Takes a name as it was typed: nothing is trimmed or cut.
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

    /// Takes a name for a new account: besides [`parse`](Self::parse), all its letters are of one script (UTS 39, section 5.1).
    ///
    /// Han goes with kana, bopomofo or hangul, because names are written so. Digits, punctuation and emoji go with every script.
    /// An account from before this rule keeps its name: `parse` still takes it.
    ///
    /// # Errors
    /// The first rule that the text breaks.
    pub fn of_new_account(text: &str) -> Result<Self, Refused> {
        let name = Self::parse(text)?;
        if text.is_single_script() { Ok(name) } else { Err(Refused::MixedScripts) }
    }

    /// The name as it was typed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What the name is compared by: no two accounts have the same.
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

/// The text without differences of case, of compatible forms and of invisible characters.
///
/// A little coarser than Unicode's NFKC_Casefold: it passes through upper case, so that `ß` meets `ss` and `ς` meets `σ`
/// without a table of its own.
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

/// Unicode's Default_Ignorable_Code_Point: soft hyphens, joiners, marks of direction, variation selectors.
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
    fn a_name_in_any_script_is_kept_as_typed() {
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
    fn folding_twice_changes_nothing_more() {
        for text in ["İstanbul", "ŉ", "ǰ", "ﬃ", "Å", "℡", "\u{1f9c}", "ϓ", "\u{345}α"] {
            assert_eq!(fold(&fold(text)), fold(text), "{text}");
        }
    }

    #[test]
    fn a_name_is_refused_by_the_rule_it_breaks() {
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
    fn the_letters_of_a_new_name_are_of_one_script() {
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
            assert!(Username::parse(name).is_ok(), "{name} is still found if there is such an account");
        }
        assert_eq!(Username::of_new_account(" аdmin"), Err(Refused::OuterWhitespace));
    }

    #[test]
    fn a_name_has_up_to_150_characters_of_any_size() {
        for character in ["x", "é", "🦀"] {
            assert!(Username::parse(&character.repeat(150)).is_ok());
            assert_eq!(Username::parse(&character.repeat(151)), Err(Refused::TooLong));
        }
    }
}
