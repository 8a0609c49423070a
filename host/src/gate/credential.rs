//! Looks for a token in a client's credential, whatever the scheme and the spelling.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The most parts of one credential. Digest, the longest scheme in use, has about twelve (RFC 7616, section 3.4).
const MAX_PARTS: usize = 32;

/// Whether a credential contains a token that `is_token` knows. True if it has too many parts to look at each.
///
/// Looks at the credential with and without its scheme, at its parts, and at user and password of the scheme `Basic` (RFC 7617).
pub(super) fn holds(credential: &[u8], is_token: impl Fn(&[u8]) -> bool) -> bool {
    let scheme_ends = credential.iter().position(u8::is_ascii_whitespace).unwrap_or(0);
    let (scheme, rest) = credential.split_at(scheme_ends);
    let rest = rest.trim_ascii();
    let basic = scheme.eq_ignore_ascii_case(b"basic").then(|| BASE64_STANDARD.decode(rest).ok()).flatten();
    let basic = basic.unwrap_or_default();
    let password = basic.iter().position(|byte| *byte == b':').map_or(&[][..], |colon| &basic[colon + 1..]);
    if [rest, password].into_iter().any(&is_token) {
        return true;
    }
    let mut parts = parts(credential).chain(parts(&basic));
    parts.by_ref().take(MAX_PARTS).any(is_token) || parts.next().is_some()
}

/// The text between spaces and punctuation that no token contains.
fn parts(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| byte.is_ascii_whitespace() || b",;:=\"'".contains(byte)).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows(credential: &str) -> bool {
        holds(credential.as_bytes(), |text| text == b"a.valid.token")
    }

    #[test]
    fn a_token_is_found_in_every_scheme_and_spelling() {
        let basic = |text: &str| format!("Basic {}", BASE64_STANDARD.encode(text));
        for credential in [
            "Bearer a.valid.token",
            "bearer\ta.valid.token",
            "a.valid.token",
            "Token   a.valid.token ",
            "Token token=\"a.valid.token\", nonce=\"x\"",
            "Digest username=a.valid.token,realm=x",
            &basic("ada:a.valid.token"),
            &basic("a.valid.token:"),
            &basic("a.valid.token"),
        ] {
            assert!(shows(credential), "{credential}");
        }
    }

    #[test]
    fn a_foreign_credential_holds_no_token() {
        let digest = r#"Digest username="ada", realm="a@b", uri="/x", algorithm=SHA-256, nonce="n", nc=00000001, cnonce="c", qop=auth"#;
        for credential in ["", "Bearer", "Bearer another.token.x", "Basic YWRhOnNlY3JldA==", "Basic !", digest] {
            assert!(!shows(credential), "{credential}");
        }
    }

    #[test]
    fn a_credential_with_too_many_parts_counts_as_one_that_holds_a_token() {
        assert!(!shows(&"x ".repeat(MAX_PARTS)));
        assert!(shows(&"x ".repeat(MAX_PARTS + 1)));
    }
}
