//! Which passwords a login may be made with, and in which form they are hashed.
//!
//! Length is what counts: no rules of composition, nothing cut. Refused are only those that a guesser tries first.

use std::borrow::Cow;
use std::fmt;

use unicode_normalization::UnicodeNormalization as _;

/// In Unicode characters. That is 4,096 bytes at most, which the host still hashes.
const LONGEST: usize = 1024;
/// The passwords found most often in leaks, of eight characters or more, in lower case, one a line.
const COMMON: &str = include_str!("../common-passwords.txt");
/// What a guesser who has seen the shop tries.
const SERVICE_WORDS: [&str; 3] = ["comptoir", "comptoir1", "comptoir123"];

/// A password that a client sent.
///
/// Keyboards and systems encode the same characters differently: macOS may send `é` as two code points, others send one. So a
/// password is hashed in one form, OpaqueString's (RFC 8265, section 4.2.2): composed (NFC), and with U+0020 for the spaces of
/// other scripts. Control characters and characters of a later Unicode version stay allowed, because passwords may contain them.
pub(crate) struct Password<'a> {
    typed: &'a str,
    prepared: Cow<'a, str>,
}

impl<'a> Password<'a> {
    pub(crate) fn new(typed: &'a str) -> Self {
        let prepared = if typed.is_ascii() {
            Cow::Borrowed(typed)
        } else {
            Cow::Owned(typed.chars().map(with_ascii_space).nfc().collect())
        };
        Self { typed, prepared }
    }

    /// The form of new hashes.
    pub(crate) fn prepared(&self) -> &str {
        &self.prepared
    }

    /// What to compare with a hash: the prepared form, then what was typed if that differs. Hashes of what was typed are from
    /// before passwords were prepared.
    pub(crate) fn forms(&self) -> impl Iterator<Item = &str> {
        let typed = (self.typed != self.prepared).then_some(self.typed);
        std::iter::once(self.prepared()).chain(typed)
    }
}

/// U+0020 for any other character of Unicode's category Zs.
fn with_ascii_space(character: char) -> char {
    match character {
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        other => other,
    }
}

/// Why a password is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// For the operator, who wants so many characters.
    TooShort(u32),
    TooLong,
    /// Among the first that a guesser tries, whatever the case of its letters.
    Common,
    /// The same as the username.
    Username,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooShort(minimum) => {
                return write!(formatter, "The password must have at least {minimum} characters.");
            }
            Self::TooLong => "The password must have at most 1024 characters.",
            Self::Common => "The password is one of the most common: choose another.",
            Self::Username => "The password must not be the username.",
        })
    }
}

/// Checks a password that somebody wants to have, where so many characters are wanted at the least. Sees its prepared form.
///
/// # Errors
/// The first rule that the password breaks.
pub(crate) fn check(password: &Password<'_>, username: &str, minimum: u32) -> Result<(), Refused> {
    let password = password.prepared();
    let length = password.chars().count();
    if length < minimum as usize {
        return Err(Refused::TooShort(minimum));
    }
    if length > LONGEST {
        return Err(Refused::TooLong);
    }
    if username::fold(password) == username::fold(username) {
        return Err(Refused::Username);
    }
    let lower = password.to_lowercase();
    if COMMON.lines().chain(SERVICE_WORDS).any(|common| common == lower) {
        return Err(Refused::Common);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn check(password: &str, username: &str, minimum: u32) -> Result<(), Refused> {
        super::check(&Password::new(password), username, minimum)
    }

    #[test]
    fn a_password_has_one_form_however_it_is_encoded() {
        for (typed, prepared) in [
            ("cafe\u{301} cre\u{300}me", "café crème"),
            ("\u{1112}\u{1161}\u{11ab}", "한"),
            ("\u{212b}ngstr\u{f6}m", "Ångström"),
            ("a\u{3000}b\u{a0}c\u{2009}d", "a b c d"),
        ] {
            assert_eq!(Password::new(typed).prepared(), prepared);
            assert_eq!(Password::new(typed).forms().collect::<Vec<_>>(), [prepared, typed]);
            assert_eq!(Password::new(prepared).forms().collect::<Vec<_>>(), [prepared]);
        }
        // Neither case, width nor compatible forms are changed: that would make guessing easier.
        for typed in ["Pass word", "Ｐａｓｓ", "ﬁ①²", "tab\there", "🦀\u{200d}🦀"] {
            assert_eq!(Password::new(typed).forms().collect::<Vec<_>>(), [typed]);
        }
    }

    #[test]
    fn the_policy_sees_the_form_that_is_hashed() {
        assert_eq!(check(&"e\u{301}".repeat(4), "bob", 8), Err(Refused::TooShort(8)));
        assert_eq!(check(&"e\u{301}".repeat(1024), "bob", 8), Ok(()));
    }

    #[test]
    fn the_limits_of_length_are_inclusive_and_count_characters() {
        let unusual = "é🦀x".repeat(400);
        for minimum in [8, 15, 64] {
            for (length, outcome) in [
                (0, Err(Refused::TooShort(minimum))),
                (minimum - 1, Err(Refused::TooShort(minimum))),
                (minimum, Ok(())),
                (minimum + 1, Ok(())),
                (73, Ok(())),
                (1024, Ok(())),
                (1025, Err(Refused::TooLong)),
            ] {
                let password: String = unusual.chars().take(length as usize).collect();
                assert_eq!(check(&password, "bob", minimum), outcome, "{length} characters of {minimum}");
            }
        }
        assert_eq!(Refused::TooShort(15).to_string(), "The password must have at least 15 characters.");
    }

    #[test]
    fn the_longest_password_is_one_that_the_host_hashes() {
        let longest = "🦀".repeat(1024);
        assert_eq!(check(&longest, "bob", 8), Ok(()));
        assert!(longest.len() <= 4096);
    }

    #[test]
    fn the_commonest_passwords_are_refused_in_any_case() {
        for common in ["password", "PassWord", "12345678", "Password1", "qwertyuiop", "iloveyou", "Comptoir"] {
            assert_eq!(check(common, "bob", 8), Err(Refused::Common), "{common}");
        }
    }

    #[test]
    fn the_username_is_no_password() {
        assert_eq!(check("Jean-Luc P", "jean-luc p", 8), Err(Refused::Username));
        assert_eq!(check("jean-luc pi", "jean-luc p", 8), Ok(()));
    }

    #[test]
    fn spaces_and_simple_sentences_are_welcome() {
        assert_eq!(check("correct horse battery staple", "bob", 8), Ok(()));
        assert_eq!(check("        x", "bob", 8), Ok(()));
    }

    #[test]
    fn the_list_holds_only_lines_that_can_matter() {
        let mut seen = HashSet::new();
        for line in COMMON.lines() {
            assert!(line.chars().count() >= 8, "{line} is too short anyway");
            assert_eq!(line, line.to_lowercase().trim());
            assert!(seen.insert(line), "{line} is there twice");
        }
        assert!(seen.len() >= 500);
    }
}
