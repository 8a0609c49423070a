//! The normal form of a path and a query (RFC 3986, section 6.2.2).
//!
//! Many spellings name one resource, such as `/%70roducts` and `/x/../products`. If the router understood a spelling differently
//! from the component, a request could pass as public and be answered as something else. The normal form has one meaning only.
//! It has no encoded unreserved character, no dot segment, and no character that a URL parser takes for another one (`\` for
//! `/`). Reserved characters stay as they are: `%2F` is part of a segment, `/` ends one. Normalising twice changes nothing.

use std::borrow::Cow;

/// The normal form of a path. A text without a leading slash is no path and stays unchanged.
pub fn normal_path(path: &str) -> Cow<'_, str> {
    if !path.starts_with('/') || (path.bytes().all(is_path_byte) && !path.contains("/.")) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(without_dot_segments(&recode(path, is_path_byte)))
}

/// The normal form of a query. Keys and values keep their meaning.
pub fn normal_query(query: &str) -> Cow<'_, str> {
    if query.bytes().all(|byte| byte != b'%') {
        return Cow::Borrowed(query);
    }
    // All other characters of a query have one meaning only, so they stay.
    Cow::Owned(recode(query, |byte| byte != b'%'))
}

/// A route's pattern with its literal segments in normal form, so that it can match normal paths.
pub fn normal_pattern(pattern: &str) -> String {
    let segments = pattern.split('/').map(|segment| match segment.as_bytes() {
        [b'{', .., b'}'] => Cow::Borrowed(segment),
        _ => Cow::Owned(recode(segment, is_pattern_byte)),
    });
    segments.collect::<Vec<_>>().join("/")
}

/// `unreserved` (RFC 3986, section 2.3).
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// `pchar` without percent-encoding (RFC 3986, section 3.3), and the slash between segments.
fn is_path_byte(byte: u8) -> bool {
    is_unreserved(byte) || b"/!$&'()*+,;=:@".contains(&byte)
}

/// Braces stay unencoded, so that `RouteTable` can refuse a broken pattern.
fn is_pattern_byte(byte: u8) -> bool {
    is_path_byte(byte) || b"{}".contains(&byte)
}

/// Decodes unreserved characters, writes other encodings with capital digits, and encodes every byte that must not stand as it
/// is. A `%` without two hexadecimal digits is encoded as `%25`.
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

/// The byte of a percent-encoding at the beginning of a text.
fn encoded(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
}

/// Removes `.` and `..` from a path (RFC 3986, section 5.2.4). `..` at the root stays at the root.
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
    fn dot_segments_are_removed_in_every_spelling() {
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
    fn a_query_keeps_the_meaning_of_its_keys_and_values() {
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
