//! Entity tags, which identify the content of a response (RFC 9110, section 8.8.3).

use hyper::header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};

/// Bytes of the SHA-256 hash in a tag. By chance, two contents share a tag once in 2^64 contents.
const TAG_BYTES: usize = 16;

/// A strong validator: it differs if the body, its type, its coding or its language differs.
pub fn of(headers: &HeaderMap, body: &[u8]) -> HeaderValue {
    let mut hash = Sha256::new();
    for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE] {
        let value = headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
        hash.update((value.len() as u64).to_le_bytes());
        hash.update(value);
    }
    hash.update(body);
    let digits: String = hash.finalize()[..TAG_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("\"{digits}\"")).expect("quotes and hexadecimal digits are a valid header value")
}

/// Whether an `If-None-Match` value contains this tag or is `*` (RFC 9110, section 13.1.2).
///
/// Compares weakly. A value that is not a list of tags does not match.
pub fn matches(list: &HeaderValue, tag: &HeaderValue) -> bool {
    let mut rest = list.as_bytes().trim_ascii();
    if rest == b"*" {
        return true;
    }
    let wanted = without_weak_prefix(tag.as_bytes());
    loop {
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after;
            continue;
        }
        let quoted = without_weak_prefix(rest);
        let Some(end) = quoted.strip_prefix(b"\"").and_then(|text| text.iter().position(|byte| *byte == b'"')) else {
            return false;
        };
        let (here, after) = quoted.split_at(end + 2);
        if here == wanted {
            return true;
        }
        rest = after;
    }
}

/// Strips `W/`, because `If-None-Match` compares weakly (RFC 9110, section 13.1.2).
fn without_weak_prefix(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_matches_if_one_of_its_tags_matches() {
        let tag = HeaderValue::from_static("\"abc\"");
        for list in ["*", " * ", "\"abc\"", "W/\"abc\"", "\"x\", \"abc\"", ",, W/\"x,y\" ,\"abc\",", "\"\",\"abc\""] {
            assert!(matches(&HeaderValue::from_static(list), &tag), "{list}");
        }
        for list in ["", "abc", "\"abcd\"", "\"ab", "\"x,\"abc\"", "\"*\"", "w/\"abc\"", "*, \"x\"", "W/", "\"ABC\""] {
            assert!(!matches(&HeaderValue::from_static(list), &tag), "{list}");
        }
        assert!(matches(&HeaderValue::from_static("\"abc\""), &HeaderValue::from_static("W/\"abc\"")));
    }

    #[test]
    fn a_different_body_type_or_coding_has_a_different_tag() {
        let json = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let packed = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("application/json"))]);
        let tags = [of(&json, b"{}"), of(&json, b"[]"), of(&HeaderMap::new(), b"{}"), of(&packed, b"{}")];
        for (position, tag) in tags.iter().enumerate() {
            assert!(!tags[position + 1..].contains(tag), "{tag:?}");
            assert_eq!(tag.len(), 2 * TAG_BYTES + 2);
        }
        assert_eq!(of(&json, b"{}"), of(&json, b"{}"));
    }
}
