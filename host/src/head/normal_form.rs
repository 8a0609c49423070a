//! The normal form of a request's head. The gateway and the admin listener bring each head into it first.

use hyper::header::{
    ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, ACCESS_CONTROL_REQUEST_HEADERS, CACHE_CONTROL,
    CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, COOKIE, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue,
    IF_MATCH, IF_NONE_MATCH, PRAGMA, TE, VIA,
};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery};
use hyper::{Method, Uri, Version};

use crate::route::{normal_path, normal_query};

/// The longest request target, in bytes.
const URI_LIMIT_BYTES: usize = 8 << 10;

/// The largest header section, names and values together, in bytes.
const HEADERS_LIMIT_BYTES: usize = 32 << 10;

/// The most header fields of a request.
const HEADERS_LIMIT: usize = 100;

/// Fields with a list as value. Several of them mean the same as one (RFC 9110, section 5.3; W3C Trace Context and Baggage).
const LISTS: [HeaderName; 17] = [
    ACCEPT,
    ACCEPT_CHARSET,
    ACCEPT_ENCODING,
    ACCEPT_LANGUAGE,
    ACCESS_CONTROL_REQUEST_HEADERS,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    FORWARDED,
    IF_MATCH,
    IF_NONE_MATCH,
    PRAGMA,
    TE,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];

/// Why a head has no normal form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadError {
    /// The target is longer than 8 KiB.
    UriTooLong,
    /// The fields have more than 32 KiB, or there are more than 100.
    HeadersTooLarge,
    /// Lengths, hosts or targets contradict one another, or the target is no path (RFC 9112, section 3.2). Tells the client what
    /// to send instead.
    Ambiguous(&'static str),
}

/// Brings a head into its normal form.
///
/// # Errors
/// `HeadError`. The head may then be changed in part.
pub fn normalise(head: &mut Parts) -> Result<(), HeadError> {
    if head.uri.path_and_query().map_or(0, |target| target.as_str().len()) > URI_LIMIT_BYTES {
        return Err(HeadError::UriTooLong);
    }
    if head.version == Version::HTTP_2 {
        join(&mut head.headers, &COOKIE, b"; ");
    }
    for name in &LISTS {
        join(&mut head.headers, name, b", ");
    }
    check_fields(head)?;
    check_target(head)?;
    normalise_target(&mut head.uri)?;
    normalise_host(head)
}

/// Whether a request is `OPTIONS *`, which asks about the server as a whole (RFC 9110, section 9.3.7).
pub fn is_about_server(head: &Parts) -> bool {
    head.method == Method::OPTIONS && head.uri.path() == "*"
}

/// Joins several fields of one name into one field.
fn join(headers: &mut HeaderMap, name: &HeaderName, separator: &[u8]) {
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    if values.len() < 2 {
        return;
    }
    if let Ok(joined) = HeaderValue::from_bytes(&values.join(separator)) {
        headers.insert(name, joined);
    }
}

fn check_fields(head: &Parts) -> Result<(), HeadError> {
    let bytes: usize = head.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > HEADERS_LIMIT_BYTES || head.headers.len() > HEADERS_LIMIT {
        return Err(HeadError::HeadersTooLarge);
    }
    let count = |name: HeaderName| head.headers.get_all(name).iter().count();
    let hosts = count(HOST);
    if hosts > 1 || (hosts == 0 && head.version == Version::HTTP_11) {
        return Err(HeadError::Ambiguous("Send exactly one Host header"));
    }
    if count(CONTENT_LENGTH) > 1 {
        return Err(HeadError::Ambiguous("Send at most one Content-Length header"));
    }
    Ok(())
}

fn check_target(head: &Parts) -> Result<(), HeadError> {
    let is_authority = head.uri.scheme().is_none() && head.uri.authority().is_some();
    let is_path = head.uri.path().starts_with('/') || is_about_server(head);
    if head.method != Method::CONNECT && (is_authority || !is_path) {
        return Err(HeadError::Ambiguous("Send a path that begins with a slash"));
    }
    Ok(())
}

/// Brings the path and query of a target into their normal form.
///
/// # Errors
/// `HeadError::UriTooLong`, because encoding can make a target longer than a URI can be.
pub fn normalise_target(uri: &mut Uri) -> Result<(), HeadError> {
    let (path, query) = (normal_path(uri.path()), uri.query().map(normal_query));
    if path == uri.path() && query.as_deref() == uri.query() {
        return Ok(());
    }
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.into_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(target).map_err(|_| HeadError::UriTooLong)?);
    *uri = Uri::from_parts(parts).map_err(|_| HeadError::UriTooLong)?;
    Ok(())
}

/// Makes `Host` agree with the target. An absolute target overrides `Host` (RFC 9112, section 3.2.2). In HTTP/2 the two must be
/// equal (RFC 9113, section 8.3.1).
fn normalise_host(head: &mut Parts) -> Result<(), HeadError> {
    let Some(authority) = head.uri.authority() else { return Ok(()) };
    match head.headers.get(HOST) {
        Some(host) if head.version == Version::HTTP_2 => {
            let is_same = host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes());
            return is_same.then_some(()).ok_or(HeadError::Ambiguous("Send the same host in :authority and Host"));
        }
        Some(_) => {
            let host = HeaderValue::from_str(authority.as_str());
            head.headers.insert(HOST, host.map_err(|_| HeadError::Ambiguous("Send a readable host"))?);
        }
        None => {}
    }
    Ok(())
}

/// The authority that a head in normal form asks for. None if there is none, or if it cannot be parsed.
pub fn authority(head: &Parts) -> Option<Authority> {
    let host = || head.headers.get(HOST).and_then(|host| Authority::try_from(host.as_bytes()).ok());
    head.uri.authority().cloned().or_else(host)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use hyper::Request;

    use super::*;

    fn head(version: Version, target: &str, fields: &[(&str, &str)]) -> Parts {
        let request = Request::get(target).version(version);
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn http2_cookies_are_joined_and_lists_in_every_version() {
        let fields =
            [("host", "shop"), ("cookie", "a=1"), ("cookie", "b=2"), ("if-match", "\"x\""), ("if-match", "\"y\"")];
        let mut newer = head(Version::HTTP_2, "/", &fields);
        normalise(&mut newer).unwrap();
        assert_eq!((newer.headers["cookie"].as_bytes(), newer.headers.len()), (&b"a=1; b=2"[..], 3));
        assert_eq!(newer.headers["if-match"], "\"x\", \"y\"");
        let mut older = head(Version::HTTP_11, "/", &fields);
        normalise(&mut older).unwrap();
        assert_eq!((older.headers.get_all("cookie").iter().count(), older.headers.len()), (2, 4));
        assert_eq!(older.headers["if-match"], "\"x\", \"y\"");
    }

    #[test]
    fn many_http2_cookies_count_as_one_field_with_all_their_bytes() {
        let cookies = |count: usize, value: &'static str| vec![("cookie", value); count];
        assert_eq!(normalise(&mut head(Version::HTTP_2, "/", &cookies(500, "a=1"))), Ok(()));
        let long = &*"x".repeat(400).leak();
        assert_eq!(normalise(&mut head(Version::HTTP_2, "/", &cookies(90, long))), Err(HeadError::HeadersTooLarge));
    }

    #[test]
    fn the_target_is_normalised_and_keeps_its_authority() {
        for (target, normal) in [
            ("/%70roducts?%6Cimit=1", "/products?limit=1"),
            ("/a/../b?", "/b?"),
            ("http://shop/%61/./b", "http://shop/a/b"),
        ] {
            let mut head = head(Version::HTTP_11, target, &[("host", "shop")]);
            normalise(&mut head).unwrap();
            assert_eq!(head.uri.to_string(), normal);
        }
    }

    #[test]
    fn an_absolute_target_overrides_host() {
        let mut absolute = head(Version::HTTP_11, "http://shop.example/", &[("host", "other.example")]);
        normalise(&mut absolute).unwrap();
        assert_eq!(
            (&absolute.headers[HOST], authority(&absolute).unwrap().as_str()),
            (&"shop.example".parse().unwrap(), "shop.example")
        );
        let mut both = head(Version::HTTP_2, "http://shop.example/", &[("host", "other.example")]);
        assert!(matches!(normalise(&mut both), Err(HeadError::Ambiguous(_))));
        let mut same = head(Version::HTTP_2, "http://shop.example/", &[("host", "Shop.example")]);
        assert_eq!(normalise(&mut same), Ok(()));
    }

    #[test]
    fn two_lengths_two_hosts_and_a_target_without_a_path_are_refused() {
        for (target, fields) in [
            ("/", &[("host", "shop"), ("content-length", "2"), ("content-length", "3")][..]),
            ("/", &[("host", "one"), ("host", "two")]),
            ("/", &[]),
            ("*", &[("host", "shop")]),
            ("shop:80", &[("host", "shop")]),
        ] {
            let refused = normalise(&mut head(Version::HTTP_11, target, fields));
            assert!(matches!(refused, Err(HeadError::Ambiguous(_))), "{target} {fields:?}: {refused:?}");
        }
    }
}
