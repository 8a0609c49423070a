//! `/docs`: the API explorer. It shows the routes of `/openapi.json`, and sends requests to them.
//!
//! It is Swagger UI, from a crate that holds its archive, so that nothing is fetched when this program is built or used. `build.rs`
//! keeps the compressed bytes of two files. Three small files of `host/explorer` start it and let a person sign in.

use std::io::Read as _;
use std::sync::OnceLock;

use bytes::Bytes;
use flate2::read::GzDecoder;
use hyper::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH,
    REFERRER_POLICY,
};
use hyper::{Response, StatusCode};

use super::encoding::{accepts_gzip, vary};
use crate::body::{Body, full};
use crate::manifest::EXPLORER_PATH;
use crate::response_cache::etag;

/// Scripts, styles and requests only from this gateway, and no frame around it. Swagger UI makes elements out of text that it has
/// cleaned, so the policy cannot ask for trusted types. A script in such a text would not run.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the explorer.
#[derive(Debug)]
pub(super) struct File {
    /// Below [`EXPLORER_PATH`]. Empty for the page.
    name: &'static str,
    kind: &'static str,
    content: Content,
    tag: OnceLock<HeaderValue>,
}

#[derive(Debug)]
enum Content {
    /// A short text.
    Plain(&'static str),
    /// Compressed with gzip. Plain for the few clients that do not take that, from the first one on.
    Packed(&'static [u8], OnceLock<Bytes>),
}

static FILES: [File; 6] = [
    plain("", HTML, include_str!("../../explorer/index.html")),
    plain("/explorer.js", SCRIPT, include_str!("../../explorer/explorer.js")),
    plain("/explorer.css", CSS, include_str!("../../explorer/explorer.css")),
    plain("/icon.svg", SVG, include_str!("../../console/icon.svg")),
    packed("/swagger-ui-bundle.js", SCRIPT, include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui-bundle.js.gz"))),
    packed("/swagger-ui.css", CSS, include_bytes!(concat!(env!("OUT_DIR"), "/swagger-ui.css.gz"))),
];

const fn plain(name: &'static str, kind: &'static str, text: &'static str) -> File {
    File { name, kind, content: Content::Plain(text), tag: OnceLock::new() }
}

const fn packed(name: &'static str, kind: &'static str, bytes: &'static [u8]) -> File {
    File { name, kind, content: Content::Packed(bytes, OnceLock::new()), tag: OnceLock::new() }
}

/// The file at a path of the gateway.
pub(super) fn file(path: &str) -> Option<&'static File> {
    let name = path.strip_prefix(EXPLORER_PATH)?;
    FILES.iter().find(|file| file.name == name)
}

/// The file, or 304 if the client has it already.
pub(super) fn answer(file: &'static File, request: &HeaderMap) -> Response<Body> {
    let tag = file.tag();
    let is_known = request.get_all(IF_NONE_MATCH).iter().any(|tags| etag::matches(tags, tag));
    let (body, is_packed) = if is_known { (Bytes::new(), false) } else { file.bytes(accepts_gzip(request)) };
    let mut response = Response::new(full(body));
    let headers = response.headers_mut();
    if file.is_packed() {
        vary(headers);
    }
    if is_packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    headers.insert(ETAG, tag.clone());
    for (name, value) in [
        (CONTENT_TYPE, file.kind),
        (CACHE_CONTROL, "no-cache"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("content-security-policy"), POLICY),
        (HeaderName::from_static("x-frame-options"), "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if is_known {
        headers.remove(CONTENT_TYPE);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    response
}

impl File {
    fn is_packed(&self) -> bool {
        matches!(self.content, Content::Packed(..))
    }

    /// The file's bytes, and whether they are compressed.
    fn bytes(&'static self, gzip: bool) -> (Bytes, bool) {
        match &self.content {
            Content::Plain(text) => (Bytes::from_static(text.as_bytes()), false),
            Content::Packed(bytes, _) if gzip => (Bytes::from_static(bytes), true),
            Content::Packed(bytes, plain) => (plain.get_or_init(|| unpack(bytes)).clone(), false),
        }
    }

    /// A weak tag, because plain and compressed bytes have the same one.
    fn tag(&self) -> &HeaderValue {
        self.tag.get_or_init(|| {
            let bytes = match self.content {
                Content::Plain(text) => text.as_bytes(),
                Content::Packed(bytes, _) => bytes,
            };
            let strong = etag::of(&HeaderMap::new(), bytes);
            let weak = [b"W/", strong.as_bytes()].concat();
            HeaderValue::from_maybe_shared(Bytes::from(weak)).expect("W/ and a tag are a tag")
        })
    }
}

fn unpack(bytes: &[u8]) -> Bytes {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).expect("build.rs wrote a gzip file");
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_packed_files_are_those_of_swagger_ui() {
        let text = |path: &str| {
            let (bytes, is_packed) = file(path).unwrap().bytes(false);
            assert!(!is_packed);
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        assert!(text("/docs/swagger-ui-bundle.js").contains("SwaggerUIBundle"));
        assert!(text("/docs/swagger-ui.css").contains(".swagger-ui"));
        let (packed, is_packed) = file("/docs/swagger-ui.css").unwrap().bytes(true);
        assert!(is_packed && unpack(&packed).len() > 2 * packed.len());
    }

    #[test]
    fn our_files_name_no_other_host_and_make_no_elements_out_of_text() {
        for file in &FILES {
            let Content::Plain(text) = file.content else { continue };
            for word in ["innerHTML", "eval(", "https://", "onclick=", "<script>", "style="] {
                assert!(!text.contains(word), "{} has {word}", file.name);
            }
        }
    }
}
