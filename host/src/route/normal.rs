//! The one form of a path and a query that everybody behind the listener sees (RFC 3986, section 6.2.2).
//!
//! Many spellings name one resource: `/%70roducts`, `/x/../products`. If the router read one spelling and a component another, a
//! request could pass as public and be answered as something else. So the form has no two readings: no unreserved character is
//! encoded, no dot segment is left, and no character is there that a URL parser takes for another (`\` for `/`). Reserved
//! characters stay as they are: `%2F` is part of a segment, `/` ends one. The form of a form is itself.

use std::borrow::Cow;

/// A path in its normal form. What does not begin with a slash is no path and stays as it is.
pub fn normal_path(path: &str) -> Cow<'_, str> {
    if !path.starts_with('/') || (path.bytes().all(is_path_byte) && !path.contains("/.")) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(without_dot_segments(&recode(path, is_path_byte)))
}

/// A query in its normal form. Keys and values keep what they mean.
pub fn normal_query(query: &str) -> Cow<'_, str> {
    if query.bytes().all(|byte| byte != b'%') {
        return Cow::Borrowed(query);
    }
    // Whatever else stands in a query has one reading, so it stays.
    Cow::Owned(recode(query, |byte| byte != b'%'))
}

/// A route's pattern whose literal segments are in normal form, as the paths are that it is compared with.
pub fn normal_pattern(pattern: &str) -> String {
    let segments = pattern.split('/').map(|segment| match segment.as_bytes() {
        [b'{', .., b'}'] => Cow::Borrowed(segment),
        _ => Cow::Owned(recode(segment, is_pattern_byte)),
    });
    segments.collect::<Vec<_>>().join("/")
}

/// `unreserved` of RFC 3986.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// `pchar` without percent-encoding, and the slash between segments.
fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"/!$&'()*+,;=:@".contains(&byte)
}

/// Braces stay, so that a broken pattern is refused as one.
fn is_pattern_byte(byte: u8) -> bool {
    is_path_byte(byte) || b"{}".contains(&byte)
}

/// Decodes unreserved characters, writes the digits of other encodings in capitals, and encodes bytes that do not stand for
/// themselves. A `%` without two digits stands for itself, and so it is encoded.
fn recode(text: &str, stands_for_itself: impl Fn(u8) -> bool) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut recoded = String::with_capacity(text.len() + 8);
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let (byte, was_encoded) = match encoded(rest) {
            Some(byte) => (byte, true),
            None => (first, false),
        };
        rest = if was_encoded { &rest[3..] } else { after };
        if is_unreserved(byte) || (!was_encoded && byte.is_ascii() && stands_for_itself(byte)) {
            recoded.push(char::from(byte));
        } else {
            recoded.extend(['%', DIGITS[usize::from(byte >> 4)].into(), DIGITS[usize::from(byte & 15)].into()]);
        }
    }
    recoded
}

/// The byte that a percent-encoding at the beginning stands for.
fn encoded(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
}

/// Takes `.` and `..` out of a path (RFC 3986, section 5.2.4). Nothing is above the root.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equivalent_paths_have_one_form() {
        for (path, form) in [
            ("/products", "/products"),
            ("/%70roducts", "/products"),
            ("/%70%72%6F%64%75%63%74%73", "/products"),
            ("/%7eme/%2D%2e%5F", "/~me/-._"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%2Fb%5c", "/a%2Fb%5C"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/café", "/caf%C3%A9"),
            ("/a\\b", "/a%5Cb"),
            ("/{a}|\"^`", "/%7Ba%7D%7C%22%5E%60"),
            ("/a;b=1,2:@!$&'()*+", "/a;b=1,2:@!$&'()*+"),
            ("/", "/"),
            ("//a//", "//a//"),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(normal_path(path), form, "{path}");
        }
    }

    #[test]
    fn dot_segments_are_gone_however_they_are_written() {
        for (path, form) in [
            ("/a/b/c/./../../g", "/a/g"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/%2e/b", "/a/b"),
            ("/../../a", "/a"),
            ("/a/..", "/"),
            ("/a/b/..", "/a/"),
            ("/a/.", "/a/"),
            ("/.", "/"),
            ("/a//../b", "/a/b"),
            ("/...", "/..."),
            ("/.a/b..", "/.a/b.."),
            ("/a/..%2Fb", "/a/..%2Fb"),
            ("/a/..\\b", "/a/..%5Cb"),
        ] {
            assert_eq!(normal_path(path), form, "{path}");
        }
    }

    #[test]
    fn nothing_is_decoded_twice() {
        for (path, form) in [
            ("/%2570", "/%2570"),
            ("/%25%37%30", "/%2570"),
            ("/%%370", "/%2570"),
            ("/%", "/%25"),
            ("/%7", "/%257"),
            ("/%zz", "/%25zz"),
            ("/%2", "/%252"),
            ("/%252e%252e/a", "/%252e%252e/a"),
        ] {
            assert_eq!(normal_path(path), form, "{path}");
            assert_eq!(normal_path(&normal_path(path)), form, "{path}");
        }
    }

    #[test]
    fn a_query_keeps_what_its_keys_and_values_mean() {
        for (query, form) in [
            ("limit=10&after=x", "limit=10&after=x"),
            ("%6Cimit=%31%30", "limit=10"),
            ("a%26b=c%3dd%2b+e", "a%26b=c%3Dd%2B+e"),
            ("a[]=1&b={}|../", "a[]=1&b={}|../"),
            ("%ff=%zz", "%FF=%25zz"),
        ] {
            assert_eq!(normal_query(query), form, "{query}");
            assert_eq!(normal_query(&normal_query(query)), form, "{query}");
        }
    }

    #[test]
    fn a_pattern_keeps_its_parameters() {
        assert_eq!(normal_pattern("/caf%c3%a9/{id}/%61/{*rest}"), "/caf%C3%A9/{id}/a/{*rest}");
        assert_eq!(normal_pattern("/x{a}/b}"), "/x{a}/b}");
        assert_eq!(normal_pattern("no path"), "no%20path");
    }
}
