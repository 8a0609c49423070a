//! The descriptions of variants.

use std::time::{Duration, SystemTime};

use kit::bindings::exports::comptoir::platform::service::{
    Access, Description, Method, Migration, Probe, Route, SchemaRange,
};

use crate::{SERVICE, endless, is};

pub(crate) fn describe() -> Description {
    assert!(!is("describe-traps"), "describe-traps");
    assert!(!(is("traps-later") && it_is_later()), "traps-later");
    if is("hangs-later") && it_is_later() {
        std::thread::sleep(Duration::from_secs(3600));
    }
    if is("describe-loops") {
        endless::spin();
    }
    let mut description = SERVICE.describe();
    description.health = Some("/health".to_owned());
    description.routes.retain(|route| route.path != "/health");
    if is("outside") {
        description.routes.push(public("/elsewhere"));
    }
    if is("secret") {
        description.routes.push(public("/variant/secret"));
    }
    if is("more") {
        description.routes.push(public("/variant/items/more"));
    }
    if is("long-version") {
        description.version = "1".repeat(101);
    }
    if is("red-version") {
        description.version = "\u{1b}[31m1.0".to_owned();
    }
    if is("long-route") {
        description.routes.push(public(&format!("/variant/items/{}", "x".repeat(500))));
    }
    if is("deep-route") {
        description.routes.push(public(&format!("/variant/items{}", "/{x}".repeat(31))));
    }
    if is("many-routes") {
        description
            .routes
            .extend((0..980).map(|number| public(&format!("/variant/items/{}/{number}", "x".repeat(480)))));
    }
    if is("long-probe") {
        let path = format!("/variant/items?{}", "x".repeat(8 << 10));
        description.probes.push(Probe { method: Method::Get, path, caller: None, body: None });
    }
    let second = [
        ("destructive", "DROP TABLE flags;"),
        ("failing", "CREATE TABLE labels (id INTEGER) STRICT; INSERT INTO absent VALUES (1);"),
        ("additive", "CREATE TABLE labels (id INTEGER PRIMARY KEY) STRICT;"),
    ];
    if let Some((_, sql)) = second.into_iter().find(|(word, _)| is(word)) {
        description.migrations.push(Migration { version: 2, sql: sql.to_owned() });
        description.schema.maximum = 2;
    }
    if is("newer") {
        description.schema = SchemaRange { minimum: 5, maximum: 5 };
    }
    if is("guarded") {
        for route in description.routes.iter_mut().filter(|route| route.path == "/variant/items") {
            route.headers.push("authorization".to_owned());
        }
    }
    description.documentation = documentation();
    if is("probe") {
        let body = r#"{"name":"probe"}"#.to_owned();
        let path = "/variant/items".to_owned();
        description.probes.push(Probe { method: Method::Post, path, caller: None, body: Some(body) });
    }
    description
}

/// Whether the current year is 2100 or later.
fn it_is_later() -> bool {
    SystemTime::now() > SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800)
}

/// The variant's documentation of `GET /variant/items`, valid or invalid.
fn documentation() -> Option<String> {
    let texts = [
        ("doc-text", "a diary"),
        ("doc-more", r#"{"operations": {}, "remarks": []}"#),
        ("doc-path", r#"{"operations": {"GET /variant/absent": {}}}"#),
        ("doc-method", r#"{"operations": {"PUT /variant/items": {}}}"#),
        ("doc-ref", r##"{"operations": {"GET /variant/items": {"x": {"$ref": "#/components/schemas/Item"}}}}"##),
        ("doc-far", r##"{"operations": {}, "schemas": {"Item": {"items": [{"$ref": "https://example.com/"}]}}}"##),
        ("doc-name", r#"{"operations": {}, "schemas": {"an item": {}}}"#),
        ("doc-status", r#"{"operations": {"GET /variant/items": {"errors": {"200": {"FINE": ""}}}}}"#),
        ("doc-codes", r#"{"operations": {"GET /variant/items": {"errors": {"404": ["ABSENT"]}}}}"#),
        (
            "doc-elsewhere",
            r#"{"operations": {"GET /variant/items": {"summary": "Lists", "servers": [{"url": "https://evil.example"}],
                "externalDocs": {"url": "https://evil.example"}, "responses": {"200": {"description": "All",
                "links": {"next": {"operationRef": "https://evil.example"}}}}}}}"#,
        ),
        ("doc-answers", r#"{"operations": {"GET /variant/items": {"responses": []}}}"#),
    ];
    if is("doc-long") {
        return Some(" ".repeat((256 << 10) + 1));
    }
    texts.into_iter().find(|(word, _)| is(word)).map(|(_, text)| text.to_owned())
}

fn public(path: &str) -> Route {
    Route { method: Method::Get, path: path.to_owned(), access: Access::Public, headers: Vec::new() }
}
