//! Answers in gzip, for clients that accept it (RFC 9110, section 12.5.3).
//!
//! Only bodies that are all there, of a type that shrinks, and of some length. What streams stays as it is. A strong entity
//! tag names one sequence of bytes, so the compressed answer gets another, which ends in `+gzip`; guests never see that end
//! in a condition.
//!
//! An answer with a secret beside something that the client chose would give the secret away by its length (BREACH): the
//! caller keeps those services out.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt as _;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, VARY,
};
use hyper::{Response, StatusCode};

use crate::body::{Body, BodyError, full};

/// Bytes of a body that are worth it.
const LEAST_BYTES: usize = 1 << 10;

/// Bytes of a body that are compressed where the request runs, in about a millisecond. More of them get a thread.
const HERE_BYTES: usize = 64 << 10;

/// How the entity tag of a compressed answer ends.
const TAG_END: &str = "+gzip\"";

/// What a client wishes.
pub(super) struct Wish {
    /// It takes gzip, and likes it no less than plain bytes.
    gzip: bool,
    /// Its condition names the tag of a compressed answer.
    is_tagged: bool,
}

impl Wish {
    /// Reads what a client wishes, and gives the guest its own tags in conditions.
    pub(super) fn of(headers: &mut HeaderMap) -> Self {
        let gzip = accepts_gzip(headers);
        let is_tagged = [IF_MATCH, IF_NONE_MATCH].map(|condition| strip(headers, &condition)).contains(&true);
        Self { gzip, is_tagged }
    }

    /// Compresses an answer where that is wished and worth it.
    ///
    /// # Errors
    /// What cut the body short.
    pub(super) async fn grant(self, mut response: Response<Body>) -> Result<Response<Body>, BodyError> {
        if response.status() == StatusCode::NOT_MODIFIED {
            vary(response.headers_mut());
            if self.is_tagged {
                mark(response.headers_mut());
            }
            return Ok(response);
        }
        let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if !shrinks(&response) || length.is_some_and(|length: usize| length <= LEAST_BYTES) {
            return Ok(response);
        }
        vary(response.headers_mut());
        // An answer that streams, or has trailers, has no length yet.
        if !self.gzip || length.is_none() {
            return Ok(response);
        }
        let (mut head, body) = response.into_parts();
        let plain = body.collect().await?.to_bytes();
        let packed = if plain.len() <= HERE_BYTES {
            pack(&plain)?
        } else {
            let plain = plain.clone();
            tokio::task::spawn_blocking(move || pack(&plain)).await??
        };
        if packed.len() >= plain.len() {
            return Ok(Response::from_parts(head, full(plain)));
        }
        head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        head.headers.insert(CONTENT_LENGTH, HeaderValue::from(packed.len()));
        mark(&mut head.headers);
        Ok(Response::from_parts(head, full(packed)))
    }
}

fn pack(plain: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish().map(Bytes::from)
}

/// Whether an answer's body is plain and likely to shrink.
fn shrinks(response: &Response<Body>) -> bool {
    let headers = response.headers();
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = text(CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_text = kind.starts_with("text/")
        || ["application/json", "application/javascript", "application/xml", "application/wasm"].contains(&&*kind)
        || ["+json", "+xml"].iter().any(|end| kind.ends_with(end));
    is_text
        && response.status() != StatusCode::PARTIAL_CONTENT
        && ![CONTENT_ENCODING, CONTENT_RANGE].iter().any(|name| headers.contains_key(name))
        && !text(CACHE_CONTROL).to_ascii_lowercase().contains("no-transform")
}

/// Tells caches that another client may get other bytes.
fn vary(headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("accept-encoding"));
}

/// Gives a strong entity tag the end of a compressed answer's. A weak one stands for both.
fn mark(headers: &mut HeaderMap) {
    let tag = headers.get(ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| tag.starts_with('"'));
    let marked = tag.and_then(|tag| tag.strip_suffix('"')).map(|tag| format!("{tag}{TAG_END}"));
    if let Some(marked) = marked.and_then(|tag| HeaderValue::from_str(&tag).ok()) {
        headers.insert(ETAG, marked);
    }
}

/// Takes the end of compressed answers' tags away from a condition. Whether there was one.
fn strip(headers: &mut HeaderMap, condition: &HeaderName) -> bool {
    let mut found = false;
    if let hyper::header::Entry::Occupied(mut values) = headers.entry(condition) {
        for value in values.iter_mut() {
            let stripped =
                value.to_str().ok().filter(|tags| tags.contains(TAG_END)).map(|tags| tags.replace(TAG_END, "\""));
            if let Some(stripped) = stripped.and_then(|tags| HeaderValue::from_str(&tags).ok()) {
                *value = stripped;
                found = true;
            }
        }
    }
    found
}

/// Whether gzip is accepted, and as welcome as plain bytes where those are weighed at all. Nothing said means plain bytes.
fn accepts_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, None);
    for value in headers.get_all(ACCEPT_ENCODING) {
        for item in value.to_str().unwrap_or_default().split(',') {
            let (coding, weight) = item.split_once(';').unwrap_or((item, "q=1"));
            let Some(weight) = weight_of(weight) else { continue };
            match coding.trim().to_ascii_lowercase().as_str() {
                "gzip" | "x-gzip" => gzip = gzip.max(Some(weight)),
                "identity" => identity = Some(weight),
                "*" => any = Some(weight),
                _ => {}
            }
        }
    }
    gzip.or(any).is_some_and(|gzip| gzip > 0 && gzip >= identity.unwrap_or(0))
}

/// A weight in thousandths, as RFC 9110, section 12.4.2 writes it.
fn weight_of(text: &str) -> Option<u16> {
    let text = text.trim();
    let number = text.strip_prefix("q=").or_else(|| text.strip_prefix("Q="))?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if part.len() > 3 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part: u16 = format!("{part:0<3}").parse().ok()?;
    match whole {
        "0" => Some(part),
        "1" if part == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (name.clone(), HeaderValue::from_str(value).unwrap())).collect()
    }

    #[test]
    fn gzip_is_sent_only_to_those_who_like_it_no_less_than_plain_bytes() {
        for (accepted, gzip) in [
            (&["gzip"][..], true),
            (&["deflate, gzip;q=1.0, *;q=0.5"], true),
            (&["br", "GZIP ; Q=0.001"], true),
            (&["x-gzip"], true),
            (&["*"], true),
            (&["identity;q=0.5, gzip;q=0.5"], true),
            (&[], false),
            (&[""], false),
            (&["identity"], false),
            (&["br, zstd"], false),
            (&["gzip;q=0"], false),
            (&["gzip;q=0.000, *"], false),
            (&["*;q=0"], false),
            (&["gzip;q=0.4, identity;q=0.5"], false),
            (&["gzip;q=2"], false),
            (&["gzip;q=0.0001"], false),
            (&["gzip;level=9"], false),
            (&["notgzip"], false),
        ] {
            assert_eq!(accepts_gzip(&headers(&ACCEPT_ENCODING, accepted)), gzip, "{accepted:?}");
        }
    }

    #[test]
    fn a_tag_of_a_compressed_answer_is_another_and_means_the_same_in_a_condition() {
        let mut answer = headers(&ETAG, &["\"v1\""]);
        mark(&mut answer);
        assert_eq!(answer[ETAG], "\"v1+gzip\"");
        let mut weak = headers(&ETAG, &["W/\"v1\""]);
        mark(&mut weak);
        assert_eq!(weak[ETAG], "W/\"v1\"");
        let mut asked = headers(&IF_NONE_MATCH, &["\"v0\", \"v1+gzip\""]);
        assert!(strip(&mut asked, &IF_NONE_MATCH));
        assert_eq!(asked[IF_NONE_MATCH], "\"v0\", \"v1\"");
        assert!(!strip(&mut asked, &IF_NONE_MATCH) && !strip(&mut asked, &IF_MATCH));
    }
}
