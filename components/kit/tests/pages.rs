//! Tests of embedded pages, with the stand-in for the host.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use kit::native::{self, TestResponse, get, post};
use kit::{Failure, Request, Response};
use serde_json::json;

kit::service! {
    name: "cats-service",
    health: "/site/health",
    pages: kit::pages!("tests/pages", at "/site/").with_headers(&[("content-security-policy", "default-src 'self'")]),
    routes: [
        get("/site/cats", Public, cats),
        get("/site/{page}", Public, any),
    ],
}

fn cats(_: &Request) -> Result<Response, Failure> {
    let css = SERVICE.pages.url("/site/assets/cats.css");
    Ok(Response::raw("text/html", format!("<link rel=\"stylesheet\" href=\"{css}\">")))
}

fn any(request: &Request) -> Result<Response, Failure> {
    Ok(Response::ok(&request.param("page")))
}

fn header<'r>(response: &'r TestResponse, name: &str) -> &'r str {
    response.headers.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
}

/// The value of an attribute in HTML.
fn attribute<'h>(html: &'h str, name: &str) -> &'h str {
    html.split(&format!("{name}=\"")).nth(1).unwrap().split('"').next().unwrap()
}

#[test]
fn a_page_has_its_type_a_tag_and_is_revalidated() {
    native::install(&SERVICE);
    let page = get("/site/").send();
    assert_eq!((page.status, page.content_type.as_str()), (200, "text/html; charset=utf-8"));
    assert_eq!(header(&page, "cache-control"), "no-cache");
    assert_eq!((header(&page, "etag").len(), &header(&page, "etag")[..1]), (34, "\""));
    assert_eq!(header(&page, "content-security-policy"), "default-src 'self'");
    assert_eq!(header(&page, "x-content-type-options"), "nosniff");
    assert_eq!(get("/site/help/").send().text, include_str!("pages/help/index.html"));
}

#[test]
fn a_page_refers_to_immutable_names() {
    native::install(&SERVICE);
    let (page, html) = (get("/site/").send().text, get("/site/cats").send().text);
    let css = attribute(&page, "rel=\"stylesheet\" href");
    assert_eq!(css, attribute(&html, "href"));
    for (path, content_type) in
        [(css, "text/css; charset=utf-8"), (attribute(&page, "src"), "text/javascript; charset=utf-8")]
    {
        let asset = get(path).send();
        assert_eq!((asset.status, asset.content_type.as_str()), (200, content_type), "{path}");
        assert_eq!(header(&asset, "cache-control"), "public, max-age=31536000, immutable");
    }
    let plain = get("/site/assets/cats.css").send();
    assert_eq!((header(&plain, "cache-control"), plain.text.as_str()), ("no-cache", get(css).send().text.as_str()));
    assert!(plain.text.contains("url(/site/assets/cat."), "{}", plain.text);
    assert!(!plain.text.contains("cat.svg"), "{}", plain.text);
    assert_eq!(SERVICE.pages.url("/site/missing.css"), "/site/missing.css");
}

#[test]
fn only_embedded_files_are_served() {
    native::install(&SERVICE);
    for path in
        ["/site/assets/cats.000000000000.css", "/site/assets/", "/site/../Cargo.toml", "/site/assets/../index.html"]
    {
        assert_eq!(get(path).send().outcome(), (404, "NOT_FOUND"), "{path}");
    }
    assert_eq!(get("/site/index.html").send().body["data"], "index.html", "a route of the service");
    let redirect = get("/site/help").send();
    assert_eq!((redirect.status, header(&redirect, "location")), (308, "/site/help/"));
    let refused = post("/site/", json!({})).send();
    assert_eq!((refused.outcome(), header(&refused, "allow")), ((405, "METHOD_NOT_ALLOWED"), "GET, HEAD"));
}

#[test]
fn the_description_has_a_public_route_for_each_page() {
    let description = SERVICE.describe();
    let routes: Vec<_> = description.routes.iter().map(|route| (route.path.as_str(), route.access)).collect();
    for path in ["/site/", "/site/help", "/site/help/", "/site/assets/cat.svg", "/site/cats"] {
        assert!(routes.contains(&(path, kit::Access::Public)), "{path}: {routes:?}");
    }
    assert_eq!(routes.len(), 2 + 1 + 2 + 2 * 3);
}
