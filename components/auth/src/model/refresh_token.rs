//! The format of a refresh token: `session.family.secret`.
//!
//! The session id finds the session. All tokens of a session share its family, which appears nowhere else. So a client that
//! presents a family once had a token of that session. Each token has its own secret, and only the newest secret gives access.
//! Auth stores digests of the family and of the whole token, never the texts.
//!
//! Tokens from older versions have no family: they are a secret alone.

/// Length of a secret: 256 bits in base64url.
const SECRET_CHARACTERS: usize = 43;

/// The parts of a refresh token that name its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin<'a> {
    pub(crate) session: &'a str,
    pub(crate) family: &'a str,
}

impl<'a> Origin<'a> {
    /// Parses a token with a family. None for anything else.
    ///
    /// A truncated or extended token does not parse, so a transmission error does not end a session as theft would.
    pub(crate) fn of(token: &'a str) -> Option<Self> {
        let (session, rest) = token.split_once('.')?;
        let (family, secret) = rest.split_once('.')?;
        let is_part = |part: &str| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        };
        let is_token = [session, family, secret].into_iter().all(is_part) && secret.len() == SECRET_CHARACTERS;
        is_token.then_some(Self { session, family })
    }

    /// Formats a token with a new secret.
    pub(crate) fn token(self, secret: &str) -> String {
        format!("{}.{}.{secret}", self.session, self.family)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_formatted_token_parses() {
        let origin = Origin { session: "s-1", family: "f_2" };
        assert_eq!(Origin::of(&origin.token(&"x".repeat(43))), Some(origin));
    }

    #[test]
    fn other_texts_have_no_origin() {
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
