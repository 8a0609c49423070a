//! Compression: responses in gzip for clients that accept it (RFC 9110, section 12.5.3).
//!
//! The host compresses only complete bodies over 1 KiB, of a type that shrinks. It never compresses a stream. A compressed
//! response gets an entity tag of its own (`head::add_compressed_end`).
//!
//! If a body contains a secret next to something that the client chose, its compressed length gives the secret away (BREACH). So
//! the gateway uses this only for services without access tokens.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::BodyExt as _;
use hyper::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap,
    HeaderName, HeaderValue, VARY,
};
use hyper::{Response, StatusCode};

use crate::body::{Body, BodyError, full};
use crate::head::{add_compressed_end, take_compressed_tags};

/// The longest body that is not worth compressing, in bytes.
const LEAST_BYTES: usize = 1 << 10;

/// The longest body that is compressed in the request's own task, in bytes. It takes about a millisecond. A longer one is
/// compressed on a blocking thread.
const INLINE_BYTES: usize = 64 << 10;

/// The content codings that a client accepts.
pub(super) struct AcceptedEncodings {
    /// The client accepts gzip, and prefers it or likes it as much as plain bytes.
    gzip: bool,
    /// The request's condition names the tag of a compressed response.
    names_compressed: bool,
}

impl AcceptedEncodings {
    /// Reads what a client accepts, and removes `+gzip` from its conditions.
    pub(super) fn take(headers: &mut HeaderMap) -> Self {
        Self { gzip: accepts_gzip(headers), names_compressed: take_compressed_tags(headers) }
    }

    /// Compresses a response if the client accepts that and it saves bytes.
    ///
    /// # Errors
    /// `BodyError` if the body ends early.
    pub(super) async fn encode(self, mut response: Response<Body>) -> Result<Response<Body>, BodyError> {
        if response.status() == StatusCode::NOT_MODIFIED {
            vary(response.headers_mut());
            if self.names_compressed {
                add_compressed_end(response.headers_mut());
            }
            return Ok(response);
        }
        let length = response.headers().get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        if !shrinks(&response) || length.is_some_and(|length: usize| length <= LEAST_BYTES) {
            return Ok(response);
        }
        vary(response.headers_mut());
        // A response that streams or has trailers has no length yet.
        if !self.gzip || length.is_none() {
            return Ok(response);
        }
        let (mut head, body) = response.into_parts();
        let plain = body.collect().await?.to_bytes();
        let packed = if plain.len() <= INLINE_BYTES {
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
        add_compressed_end(&mut head.headers);
        Ok(Response::from_parts(head, full(packed)))
    }
}

fn pack(plain: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 2), Compression::fast());
    encoder.write_all(plain)?;
    encoder.finish().map(Bytes::from)
}

/// Whether a response's body is not encoded yet and likely to shrink.
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

/// Tells caches that the bytes depend on `Accept-Encoding`.
pub(super) fn vary(headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("accept-encoding"));
}

/// Whether a client accepts gzip and does not prefer plain bytes. Without `Accept-Encoding` it gets plain bytes.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
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

/// The weight of a coding in thousandths (RFC 9110, section 12.4.2).
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
    fn gzip_is_accepted_unless_plain_bytes_are_preferred() {
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
}
