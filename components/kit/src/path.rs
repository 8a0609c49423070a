//! Paths: patterns, parameters, and percent-encoding.

use std::borrow::Cow;

/// Whether a path matches a pattern like `/orders/{id}`. A segment in braces matches any non-empty segment.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let mut expected = pattern.split('/');
    let mut found = path.split('/');
    loop {
        match (expected.next(), found.next()) {
            (None, None) => return true,
            (Some(pattern), Some(segment)) if name(pattern).is_some() => {
                if segment.is_empty() {
                    return false;
                }
            }
            (Some(pattern), Some(segment)) if pattern == segment => {}
            _ => return false,
        }
    }
}

/// Whether the first pattern is more specific than the second. Both must match the same path.
///
/// The first segment that is literal in one pattern and a parameter in the other decides: the literal wins.
pub(crate) fn outranks(first: &str, second: &str) -> bool {
    let ranks = |pattern: &str| pattern.split('/').map(|segment| name(segment).is_some()).collect::<Vec<_>>();
    ranks(first) < ranks(second)
}

/// The segment of a path at the pattern's `{wanted}`, still percent-encoded.
pub(crate) fn segment<'a>(pattern: &str, path: &'a str, wanted: &str) -> Option<&'a str> {
    pattern
        .split('/')
        .zip(path.split('/'))
        .find(|(pattern, _)| name(pattern) == Some(wanted))
        .map(|(_, segment)| segment)
}

fn name(pattern_segment: &str) -> Option<&str> {
    pattern_segment.strip_prefix('{')?.strip_suffix('}')
}

/// Parses an id: only digits, and at most `i64::MAX`.
pub(crate) fn id(segment: &str) -> Option<i64> {
    let digits = !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit());
    if digits { segment.parse().ok() } else { None }
}

/// Percent-decodes a segment. None if the result is not UTF-8, or if two hex digits are missing after a `%`.
pub fn decode(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    let mut decoded = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let high = hex_digit(bytes.next()?)?;
            let low = hex_digit(bytes.next()?)?;
            decoded.push(high << 4 | low);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Percent-encodes a text as one segment of a path. Keeps only the unreserved characters of RFC 3986 (section 2.3).
pub fn encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push(char::from(HEX[usize::from(byte >> 4)]));
            encoded.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_segment_by_segment() {
        let table = [
            ("/products", "/products", true),
            ("/products", "/products/", false),
            ("/products", "/product", false),
            ("/orders/{id}", "/orders/7", true),
            ("/orders/{id}", "/orders/", false),
            ("/orders/{id}", "/orders", false),
            ("/orders/{id}", "/orders/7/items", false),
            ("/orders/{id}", "/ORDERS/7", false),
            ("/orders/{id}/items/{item}", "/orders/7/items/8", true),
            ("/", "/", true),
        ];
        for (pattern, path, expected) in table {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn literal_segments_outrank_parameters_from_the_left() {
        assert!(outranks("/users/profile", "/users/{id}"));
        assert!(!outranks("/users/{id}", "/users/profile"));
        assert!(outranks("/a/b/{y}", "/a/{x}/c"));
        assert!(!outranks("/a/{x}", "/a/{y}"));
    }

    #[test]
    fn a_parameter_is_found_by_name() {
        assert_eq!(segment("/orders/{id}/items/{item}", "/orders/7/items/8", "item"), Some("8"));
        assert_eq!(segment("/orders/{id}", "/orders/7", "item"), None);
        assert_eq!(segment("/orders/{id}", "/orders/7", "orders"), None);
    }

    #[test]
    fn an_id_is_digits_that_fit_an_i64() {
        assert_eq!(id("7"), Some(7));
        assert_eq!(id("007"), Some(7));
        assert_eq!(id("9223372036854775807"), Some(i64::MAX));
        for not_an_id in ["", "abc", "-1", "+1", "1.0", "0x1", " 1", "٣", "9223372036854775808", "18446744073709551616"]
        {
            assert_eq!(id(not_an_id), None, "{not_an_id}");
        }
    }

    #[test]
    fn encoding_is_undone_by_decoding() {
        for text in ["", "plain", "a b/c?d#e%f", "Łukasz", "日本", "~._-", "\u{0}\u{7f}"] {
            let encoded = encode(text);
            assert!(encoded.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'), "{encoded}");
            assert_eq!(decode(&encoded).as_deref(), Some(text));
        }
        assert_eq!(decode("caf%c3%A9").as_deref(), Some("café"));
    }

    #[test]
    fn broken_encodings_do_not_decode() {
        for broken in ["%", "%4", "%zz", "%ff", "a%+1", "%c3"] {
            assert_eq!(decode(broken), None, "{broken}");
        }
    }
}
