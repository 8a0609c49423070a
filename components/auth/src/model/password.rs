//! The password policy, and the form in which passwords are hashed.
//!
//! The policy follows length, not composition rules. It also refuses the passwords that an attacker tries first. A password is
//! never truncated.

use std::borrow::Cow;
use std::fmt;

use unicode_normalization::UnicodeNormalization as _;

/// Maximum length in Unicode characters. That is at most 4,096 bytes, the host's limit for hashing.
const LONGEST: usize = 1024;
/// The most common leaked passwords of eight characters or more, in lower case, one per line.
const COMMON: &str = include_str!("../common-passwords.txt");
/// Passwords that an attacker derives from the shop's name.
const SERVICE_WORDS: [&str; 3] = ["comptoir", "comptoir1", "comptoir123"];

/// A password that a client sent.
///
/// Systems encode the same characters differently: macOS may send `é` as two code points, others send one. So passwords are
/// hashed in the prepared form of RFC 8265's OpaqueString (section 4.2.2): composed (NFC), with U+0020 for every other space.
/// Unlike OpaqueString, it allows control characters and unassigned code points.
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

    /// The prepared form of the text. New hashes are made from it.
    pub(crate) fn prepared(&self) -> &str {
        &self.prepared
    }

    /// The forms to compare with a hash: the prepared form, then the typed text if it differs.
    ///
    /// Hashes of the typed text come from versions that did not prepare passwords.
    pub(crate) fn forms(&self) -> impl Iterator<Item = &str> {
        let typed = (self.typed != self.prepared).then_some(self.typed);
        std::iter::once(self.prepared()).chain(typed)
    }
}

/// Replaces the other spaces of Unicode's category Zs with U+0020.
fn with_ascii_space(character: char) -> char {
    match character {
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => ' ',
        other => other,
    }
}

/// Why a password is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Shorter than the operator's minimum, in characters.
    TooShort(u32),
    /// Longer than 1,024 characters.
    TooLong,
    /// One of the most common passwords, in upper or lower case.
    Common,
    /// Equal to the username.
    Username,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::TooShort(minimum) => {
                return write!(formatter, "The password must have at least {minimum} characters.");
            }
            Self::TooLong => "The password must have at most 1024 characters.",
            Self::Common => "The password is too common. Choose another.",
            Self::Username => "The password must not be the username.",
        })
    }
}

/// Checks the prepared form of a new password against the policy. `minimum` is the operator's, in characters.
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
    fn all_encodings_of_a_password_prepare_alike() {
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
        // Preparing does not change case, width or compatible forms, because that would make guessing easier.
        for typed in ["Pass word", "Ｐａｓｓ", "ﬁ①²", "tab\there", "🦀\u{200d}🦀"] {
            assert_eq!(Password::new(typed).forms().collect::<Vec<_>>(), [typed]);
        }
    }

    #[test]
    fn the_policy_checks_the_prepared_form() {
        assert_eq!(check(&"e\u{301}".repeat(4), "bob", 8), Err(Refused::TooShort(8)));
        assert_eq!(check(&"e\u{301}".repeat(1024), "bob", 8), Ok(()));
    }

    #[test]
    fn length_limits_are_inclusive_and_count_characters() {
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
    fn the_host_can_hash_the_longest_password() {
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
    fn the_list_has_no_useless_lines() {
        let mut seen = HashSet::new();
        for line in COMMON.lines() {
            assert!(line.chars().count() >= 8, "the policy refuses {line} as too short anyway");
            assert_eq!(line, line.to_lowercase().trim());
            assert!(seen.insert(line), "{line} is listed twice");
        }
        assert!(seen.len() >= 500);
    }
}
