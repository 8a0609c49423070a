//! Content codings of request bodies, which the host never decodes.

use hyper::body::Body as _;
use hyper::header::{CONTENT_ENCODING, HeaderMap};

use crate::body::Arriving;
use crate::error::Error;
use crate::route::Route;

/// Refuses an encoded body if the component would not decode it (RFC 9110, section 8.4; RFC 7694).
///
/// A component decodes bodies if its route reads `Content-Encoding`, or if it lists no headers at all.
pub(super) fn check_coding(route: &Route, headers: &HeaderMap, body: &Arriving) -> Result<(), Error> {
    let reads_coding = route.headers.as_ref().is_none_or(|read| read.contains(&CONTENT_ENCODING));
    if reads_coding || body.is_end_stream() { Ok(()) } else { refuse_codings(headers) }
}

/// Refuses every content coding but `identity`.
///
/// # Errors
/// `Error::UnsupportedCoding`.
pub fn refuse_codings(headers: &HeaderMap) -> Result<(), Error> {
    let values =
        headers.get_all(CONTENT_ENCODING).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let is_plain = |coding: &[u8]| coding.is_empty() || coding.eq_ignore_ascii_case(b"identity");
    if values.map(<[u8]>::trim_ascii).all(is_plain) { Ok(()) } else { Err(Error::UnsupportedCoding) }
}
