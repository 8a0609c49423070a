//! Request bodies: the content types of JSON, and unusable bodies.

use reqwest::Method;
use testing::{Answer, Client};

/// The content types of JSON.
pub const JSON_TYPES: [&str; 5] = [
    "application/json",
    "application/json; charset=utf-8",
    "Application/JSON;charset=\"UTF-8\"",
    "application/vnd.x+json; charset=utf-8",
    "application/problem+json",
];

/// A body that no endpoint can use.
#[derive(Debug)]
pub struct Unusable {
    pub what: &'static str,
    content_type: Option<&'static str>,
    text: &'static str,
}

/// Every way in which a body is not a JSON object. With the right content type, some would be a valid login.
pub const UNUSABLE: [Unusable; 14] = [
    unusable("no body", None, ""),
    unusable("a content type without a body", Some("application/json"), ""),
    unusable("white space", Some("application/json"), "  "),
    unusable("half an object", Some("application/json"), r#"{"username":"admin""#),
    unusable("more than an object", Some("application/json"), "{} {}"),
    unusable("single quotes", Some("application/json"), "{'username':'admin'}"),
    unusable("a number that JSON does not have", Some("application/json"), r#"{"username":NaN}"#),
    unusable("an array", Some("application/json"), r#"[{"username":"admin","password":"admin"}]"#),
    unusable("a text", Some("application/json"), r#""admin""#),
    unusable("null", Some("application/json"), "null"),
    unusable("plain text", Some("text/plain"), r#"{"username":"admin","password":"admin"}"#),
    unusable("a form", Some("application/x-www-form-urlencoded"), "username=admin&password=admin"),
    unusable("another subtype", Some("application/jsonp"), r#"{"username":"admin","password":"admin"}"#),
    unusable("no content type", None, r#"{"username":"admin","password":"admin"}"#),
];

const fn unusable(what: &'static str, content_type: Option<&'static str>, text: &'static str) -> Unusable {
    Unusable { what, content_type, text }
}

impl Unusable {
    /// Sends it. Returns the answer.
    pub async fn send(&self, client: &Client, method: Method, path: &str) -> Answer {
        client.send_body(method, path, self.content_type, self.text).await
    }
}
