//! Entity tags: names for the content of an answer (RFC 9110, section 8.8.3).

use hyper::header::{CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};

/// Bytes of the hash that a tag shows. By chance two contents share that much once in 2^64.
const SHOWN_BYTES: usize = 16;

/// A strong tag: another content, or the same in another form, has another.
pub fn of(headers: &HeaderMap, body: &[u8]) -> HeaderValue {
    let mut hash = Sha256::new();
    for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LANGUAGE] {
        let value = headers.get(name).map_or(&b""[..], HeaderValue::as_bytes);
        hash.update((value.len() as u64).to_le_bytes());
        hash.update(value);
    }
    hash.update(body);
    let digits: String = hash.finalize()[..SHOWN_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("\"{digits}\"")).expect("quotes and digits are a header")
}

/// Whether a list of tags has one that names the same content, or is `*` (RFC 9110, section 13.1.2). What is no list of tags
/// has none.
pub fn matches(list: &HeaderValue, tag: &HeaderValue) -> bool {
    let mut rest = list.as_bytes().trim_ascii();
    if rest == b"*" {
        return true;
    }
    let wanted = opaque(tag.as_bytes());
    loop {
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after;
            continue;
        }
        let quoted = opaque(rest);
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

/// A tag without the mark of a weak one: the comparison is the weak one.
fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_matches_where_one_of_its_tags_does() {
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
    fn another_content_or_another_form_of_it_has_another_tag() {
        let json = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        let packed = HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static("application/json"))]);
        let tags = [of(&json, b"{}"), of(&json, b"[]"), of(&HeaderMap::new(), b"{}"), of(&packed, b"{}")];
        for (position, tag) in tags.iter().enumerate() {
            assert!(!tags[position + 1..].contains(tag), "{tag:?}");
            assert_eq!(tag.len(), 2 * SHOWN_BYTES + 2);
        }
        assert_eq!(of(&json, b"{}"), of(&json, b"{}"));
    }
}
