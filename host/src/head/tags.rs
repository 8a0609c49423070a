//! Entity tags of compressed responses.
//!
//! A strong entity tag names one sequence of bytes (RFC 9110, section 8.8.1). So a compressed response has another tag than the
//! plain one: the guest's tag with `+gzip` at its end. The guest never sees that end.

use hyper::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};

/// The end of a compressed response's tag, with the closing quote.
const COMPRESSED_END: &str = "+gzip\"";

/// Removes `+gzip` from the tags in a request's conditions. Returns whether there was one.
pub fn take_compressed_tags(headers: &mut HeaderMap) -> bool {
    [IF_MATCH, IF_NONE_MATCH].map(|condition| strip(headers, &condition)).contains(&true)
}

fn strip(headers: &mut HeaderMap, condition: &HeaderName) -> bool {
    let mut found = false;
    if let hyper::header::Entry::Occupied(mut values) = headers.entry(condition) {
        for value in values.iter_mut() {
            let stripped = value
                .to_str()
                .ok()
                .filter(|tags| tags.contains(COMPRESSED_END))
                .map(|tags| tags.replace(COMPRESSED_END, "\""));
            if let Some(stripped) = stripped.and_then(|tags| HeaderValue::from_str(&tags).ok()) {
                *value = stripped;
                found = true;
            }
        }
    }
    found
}

/// Adds `+gzip` to the entity tag of a response. A weak tag stays, because it names both forms.
pub fn add_compressed_end(headers: &mut HeaderMap) {
    let tag = headers.get(ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| tag.starts_with('"'));
    let compressed = tag.and_then(|tag| tag.strip_suffix('"')).map(|tag| format!("{tag}{COMPRESSED_END}"));
    if let Some(compressed) = compressed.and_then(|tag| HeaderValue::from_str(&tag).ok()) {
        headers.insert(ETAG, compressed);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn a_compressed_response_has_its_own_strong_tag() {
        let mut strong = headers(ETAG, "\"v1\"");
        add_compressed_end(&mut strong);
        assert_eq!(strong[ETAG], "\"v1+gzip\"");
        let mut weak = headers(ETAG, "W/\"v1\"");
        add_compressed_end(&mut weak);
        assert_eq!(weak[ETAG], "W/\"v1\"");
    }

    #[test]
    fn the_guest_sees_its_own_tags_in_a_condition() {
        let mut condition = headers(IF_NONE_MATCH, "\"v0\", \"v1+gzip\"");
        assert!(take_compressed_tags(&mut condition));
        assert_eq!(condition[IF_NONE_MATCH], "\"v0\", \"v1\"");
        assert!(!take_compressed_tags(&mut condition));
    }
}
