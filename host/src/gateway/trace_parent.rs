//! The distributed trace that a request belongs to: `traceparent` (W3C Trace Context, level 1, section 3.2).
//!
//! If the request is sampled, the host adds its own spans, and passes on its own span as the parent. Otherwise it passes the header
//! unchanged to guests that read it and to remote hosts. It logs the trace id, never sends a header back, and ignores an invalid one.

use hyper::header::{HeaderMap, HeaderValue};

use crate::head::TRACE_PARENT;
use crate::telemetry::Parent;

/// The length of version, trace id, parent id and flags with their dashes, in bytes. Versions after `00` may append more.
const KNOWN_BYTES: usize = 55;

/// A valid `traceparent`.
#[derive(Debug, Clone)]
pub(super) struct TraceParent(HeaderValue);

impl TraceParent {
    /// The `traceparent` of a request, if there is exactly one and it is valid.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut sent = headers.get_all(TRACE_PARENT).iter();
        let (Some(value), None) = (sent.next(), sent.next()) else { return None };
        is_valid(value.as_bytes()).then(|| Self(value.clone()))
    }

    /// The header that names a sampled span.
    pub(super) fn of_span(span: &Parent) -> Option<Self> {
        HeaderValue::try_from(span.header()?).ok().map(Self)
    }

    /// The header as text. None if a later version appended other characters.
    pub(super) fn text(&self) -> Option<&str> {
        self.0.to_str().ok()
    }

    /// The header's value, unchanged.
    pub(super) fn header(&self) -> &HeaderValue {
        &self.0
    }

    /// The trace id: 32 hexadecimal digits.
    pub(super) fn trace_id(&self) -> &str {
        self.0.as_bytes().get(3..35).and_then(|digits| str::from_utf8(digits).ok()).unwrap_or_default()
    }
}

fn is_valid(text: &[u8]) -> bool {
    let Some((known, more)) = text.split_at_checked(KNOWN_BYTES) else { return false };
    let is_digit = |byte: &u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(byte);
    let mut parts = known.split(|byte| *byte == b'-');
    let mut part = |digits| parts.next().filter(|part| part.len() == digits && part.iter().all(is_digit));
    let (Some(version), Some(trace), Some(parent), Some(_flags)) = (part(2), part(32), part(16), part(2)) else {
        return false;
    };
    let has_end = more.is_empty() || (version != b"00" && more[0] == b'-');
    let is_some = |id: &[u8]| id.iter().any(|digit| *digit != b'0');
    version != b"ff" && has_end && is_some(trace) && is_some(parent)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const PARENT: &str = "b7ad6b7169203331";

    fn of(sent: &[&[u8]]) -> Option<TraceParent> {
        let mut headers = HeaderMap::new();
        for sent in sent {
            headers.append(TRACE_PARENT, HeaderValue::from_bytes(sent).unwrap());
        }
        TraceParent::of(&headers)
    }

    #[test]
    fn a_valid_header_is_kept_unchanged_and_names_its_trace() {
        for valid in [
            format!("00-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-00"),
            format!("00-{TRACE}-{PARENT}-ff"),
            format!("00-{}1-{}1-00", "0".repeat(31), "0".repeat(15)),
            format!("01-{TRACE}-{PARENT}-01"),
            format!("cc-{TRACE}-{PARENT}-01-what comes later"),
            format!("fe-{TRACE}-{PARENT}-01-"),
            format!("fe-{TRACE}-{PARENT}-01-später"),
        ] {
            let read = of(&[valid.as_bytes()]).unwrap_or_else(|| panic!("{valid}"));
            assert_eq!((read.header().as_bytes(), read.trace_id()), (valid.as_bytes(), &valid[3..35]));
        }
    }

    #[test]
    fn any_other_header_is_ignored() {
        let good = format!("00-{TRACE}-{PARENT}-01");
        for invalid in [
            String::new(),
            good[..54].to_owned(),
            format!("{good}-"),
            format!("{good}-more"),
            format!("{good}0"),
            format!("cc-{TRACE}-{PARENT}-01.more"),
            format!("ff-{TRACE}-{PARENT}-01"),
            format!("0-{TRACE}-{PARENT}-01"),
            format!("000-{TRACE}-{PARENT}-1"),
            format!("00-{}-{PARENT}-01", "0".repeat(32)),
            format!("00-{TRACE}-{}-01", "0".repeat(16)),
            format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", PARENT.to_uppercase()),
            format!("0G-{TRACE}-{PARENT}-01"),
            format!("00-{TRACE}-{PARENT}-0x"),
            format!("00-{}g-{PARENT}-01", &TRACE[1..]),
            format!("00_{TRACE}_{PARENT}_01"),
            format!("00-{TRACE}{PARENT}--01"),
            format!("00-{TRACE}-{}-0011", &PARENT[2..]),
            format!("00-{TRACE}\u{e9}{PARENT}-01"),
        ] {
            assert!(of(&[invalid.as_bytes()]).is_none(), "{invalid}");
        }
        assert!(of(&[]).is_none());
        assert!(of(&[good.as_bytes(), good.as_bytes()]).is_none(), "two of them");
    }
}
