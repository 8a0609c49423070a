//! How a refresh token is written: `session.family.secret`.
//!
//! The session's id finds the session. The family is in every token of a session and in nothing else, so a client that presents it once
//! had a token of the session. The secret is the token's own: without it, the family lets nobody in. Of the family and of the whole
//! token, digests alone are stored.
//!
//! Tokens of before families are a secret alone.

/// Characters of a secret: 256 bits in base64url.
const SECRET_CHARACTERS: usize = 43;

/// What a refresh token says of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin<'a> {
    pub(crate) session: &'a str,
    pub(crate) family: &'a str,
}

impl<'a> Origin<'a> {
    /// The origin that a text claims, if it is written like a token with a family. A token that was cut off or added to on its way
    /// is none, so it ends no session.
    pub(crate) fn of(token: &'a str) -> Option<Self> {
        let (session, rest) = token.split_once('.')?;
        let (family, secret) = rest.split_once('.')?;
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let is_token = [session, family, secret].into_iter().all(is_part) && secret.len() == SECRET_CHARACTERS;
        is_token.then_some(Self { session, family })
    }

    /// A token of this origin.
    pub(crate) fn token(self, secret: &str) -> String {
        format!("{}.{}.{secret}", self.session, self.family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_it_was_made_of() {
        let origin = Origin { session: "s-1", family: "f_2" };
        assert_eq!(Origin::of(&origin.token(&"x".repeat(43))), Some(origin));
    }

    #[test]
    fn what_is_written_otherwise_has_no_origin() {
        let secret = "x".repeat(43);
        let token = format!("a.b.{secret}");
        assert!(Origin::of(&token).is_some());
        for text in [
            "",
            "...",
            &secret,
            &format!("b.{secret}"),
            &format!("a..{secret}"),
            &format!(".b.{secret}"),
            &format!("a.b.c.{secret}"),
            &format!("a.b.{}", &secret[1..]),
            &format!("{token}x"),
            &format!("{token}="),
            &format!(" {token}"),
        ] {
            assert_eq!(Origin::of(text), None, "{text:?}");
        }
    }
}
