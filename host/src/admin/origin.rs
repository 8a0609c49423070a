//! Refuses requests that pages of other origins make in the operator's browser.
//!
//! The admin listener is on loopback, but so is the operator's browser, and every page in it can send requests there. DNS rebinding ends
//! at the check of `Host`. Here, a browser says which page a request comes from: `Origin` (RFC 6454) and `Sec-Fetch-Site` (Fetch
//! Metadata). Programs send neither.

use hyper::header::{HeaderMap, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, Uri};

use crate::head::authority;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Whether a page of another origin made a request. Another port of the same host is another origin. A link to the console from anywhere
/// is not foreign: it loads a page without data, and a browser sends no `SameSite=Strict` cookie with it.
pub(super) fn is_foreign(head: &Parts) -> bool {
    let is_own = |origin: &[u8]| authority(head).is_some_and(|own| names(origin, &own));
    head.headers.get_all(ORIGIN).iter().any(|origin| !is_own(origin.as_bytes()))
        || (is_from_another_site(&head.headers) && !is_link(head))
}

/// Whether an origin is `http` or `https` with this authority.
///
/// A proxy may add TLS, so both schemes are this host's own. A browser leaves out the default port in both headers.
fn names(origin: &[u8], own: &Authority) -> bool {
    let Ok(origin) = Uri::try_from(origin) else { return false };
    let is_http = matches!(origin.scheme_str(), Some("http" | "https"));
    is_http
        && origin.authority().is_some_and(|named| named.as_str().eq_ignore_ascii_case(own.as_str()))
        && matches!(origin.path(), "" | "/")
}

fn is(headers: &HeaderMap, name: &HeaderName, value: &str) -> bool {
    headers.get(name).is_some_and(|sent| sent.as_bytes() == value.as_bytes())
}

fn is_from_another_site(headers: &HeaderMap) -> bool {
    is(headers, &FETCH_SITE, "cross-site") || is(headers, &FETCH_SITE, "same-site")
}

/// Whether the browser shows the response as a page of its own. A frame is not one.
fn is_link(head: &Parts) -> bool {
    head.method.is_safe() && is(&head.headers, &FETCH_MODE, "navigate") && is(&head.headers, &FETCH_DEST, "document")
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn foreign(method: &str, headers: &[(&str, &str)]) -> bool {
        let request = Request::builder().method(method).uri("/").header("host", "127.0.0.1:8010");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        is_foreign(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn only_the_own_origin_and_programs_pass() {
        assert!(!foreign("POST", &[]));
        assert!(!foreign("POST", &[("origin", "http://127.0.0.1:8010"), ("sec-fetch-site", "same-origin")]));
        assert!(!foreign("GET", &[("sec-fetch-site", "none")]));
        for origin in [
            "http://127.0.0.1:8000",
            "http://localhost:8010",
            "http://127.0.0.1",
            "https://evil.example",
            "null",
            "",
            "http://user@127.0.0.1:8010",
            "ftp://127.0.0.1:8010",
            "http://127.0.0.1:8010/path",
        ] {
            assert!(foreign("GET", &[("origin", origin)]), "{origin}");
        }
        assert!(foreign("GET", &[("origin", "http://127.0.0.1:8010"), ("origin", "null")]));
    }

    #[test]
    fn a_link_may_open_the_page_and_a_frame_or_a_form_may_not() {
        for site in ["cross-site", "same-site"] {
            let from = |method, mode, dest| {
                foreign(method, &[("sec-fetch-site", site), ("sec-fetch-mode", mode), ("sec-fetch-dest", dest)])
            };
            assert!(!from("GET", "navigate", "document"));
            assert!(from("GET", "navigate", "iframe"));
            assert!(from("POST", "navigate", "document"));
            assert!(from("GET", "no-cors", "image"));
            assert!(foreign("GET", &[("sec-fetch-site", site)]));
        }
    }
}
