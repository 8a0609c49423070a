//! The console's files: pages without data, part of this program.

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY};
use hyper::{Method, Request, Response};

use super::envelope::allow;
use crate::body::{Arriving, Body, full};
use crate::error::{AdminError, Error};

/// Scripts, styles and requests only from this listener, no frame around it, and no text that becomes a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($name:literal $kind:ident),* $(,)?) => {
        /// The names of the files, their media types and contents.
        const FILES: &[(&str, &str, &str)] = &[$(($name, $kind, include_str!(concat!("../../console/", $name)))),*];
    };
}

files! {
    "index.html" HTML,
    "style.css" CSS,
    "icon.svg" SVG,
    "main.js" SCRIPT,
    "api.js" SCRIPT,
    "audit.js" SCRIPT,
    "backups.js" SCRIPT,
    "charts.js" SCRIPT,
    "data.js" SCRIPT,
    "dialog.js" SCRIPT,
    "dom.js" SCRIPT,
    "history.js" SCRIPT,
    "keys.js" SCRIPT,
    "live.js" SCRIPT,
    "overview.js" SCRIPT,
    "requests.js" SCRIPT,
    "rollout.js" SCRIPT,
    "service.js" SCRIPT,
    "sessions.js" SCRIPT,
}

/// `/` and `/console/NAME`.
pub(super) fn page(request: &Request<Arriving>, name: &str) -> Result<Response<Body>, AdminError> {
    allow(request, &[Method::GET])?;
    let (_, kind, text) = FILES.iter().find(|(file, ..)| *file == name).ok_or(Error::NotFound)?;
    let mut response = Response::new(full(*text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert("content-security-policy", HeaderValue::from_static(POLICY));
    Ok(response)
}

/// Keeps other sites from reading, framing or guessing the type of any response of the admin listener.
pub(super) fn protect(headers: &mut HeaderMap) {
    for (name, value) in [
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_console_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("console");
        let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = files.collect();
        let mut served: Vec<&str> = FILES.iter().map(|(name, ..)| *name).collect();
        files.sort_unstable();
        served.sort_unstable();
        assert_eq!(files, served);
    }

    #[test]
    fn no_script_makes_elements_out_of_text() {
        for (name, _, text) in FILES {
            for word in [
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "http://",
                "https://",
            ] {
                let allowed = *word == *"http://"
                    && text.matches(word).count() == text.matches("http://www.w3.org/2000/svg").count();
                assert!(allowed || !text.contains(word), "{name} has {word}");
            }
        }
    }
}
