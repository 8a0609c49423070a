//! The id of a request in the errors that components answer, as it is in the host's own.
//!
//! The host adds it to what has the envelope of an error and does not name the request yet. A component need not know the id for
//! it, so the id is no part of what an answer depends on. It is added after the response cache, which keeps nothing but 200 anyway.

use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Body as _;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use serde_json::Value;

use crate::body::{Body, BodyError, full};

/// Bytes of an error's body that are looked at. A longer one goes out as it is.
const LIMIT_BYTES: u64 = 64 << 10;

/// Adds the id of its request to an error in the envelope. Anything else stays as it is, and so does what is streamed.
///
/// # Errors
/// What cut the body short.
pub(super) async fn name_request(response: Response<Body>, id: &str) -> Result<Response<Body>, BodyError> {
    if !may_be_envelope(&response) {
        return Ok(response);
    }
    let (mut head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    let Some(named) = named(&body, id) else { return Ok(Response::from_parts(head, full(body))) };
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(named.len()));
    Ok(Response::from_parts(head, full(named)))
}

fn may_be_envelope(response: &Response<Body>) -> bool {
    let (status, headers) = (response.status(), response.headers());
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    (status.is_client_error() || status.is_server_error())
        && kind.eq_ignore_ascii_case("application/json")
        && !headers.contains_key(CONTENT_ENCODING)
        // One that streams, or has trailers, has no length yet.
        && headers.contains_key(CONTENT_LENGTH)
        && response.body().size_hint().exact().is_some_and(|bytes| bytes <= LIMIT_BYTES)
}

/// The body with the id in `error`. None if it is no error in the envelope, or has an id of its own.
fn named(body: &[u8], id: &str) -> Option<String> {
    let mut envelope: Value = serde_json::from_slice(body).ok()?;
    let is_error = envelope.get("success") == Some(&Value::Bool(false));
    let error = envelope.get_mut("error")?.as_object_mut()?;
    let is_coded = error.get("code").is_some_and(Value::is_string);
    if !is_error || !is_coded || error.contains_key("request_id") {
        return None;
    }
    error.insert("request_id".to_owned(), id.into());
    Some(envelope.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_gets_the_id_and_keeps_what_else_it_says() {
        let body =
            r#"{ "success": false, "error": {"code":"NO","message":"No.","details":{"x":[1.0,"}"]}}, "more": 1 }"#;
        let named: Value = serde_json::from_str(&named(body.as_bytes(), "a-1").unwrap()).unwrap();
        let error = json!({ "code": "NO", "message": "No.", "details": { "x": [1.0, "}"] }, "request_id": "a-1" });
        assert_eq!(named, json!({ "success": false, "error": error, "more": 1 }));
    }

    #[test]
    fn what_is_no_error_in_the_envelope_or_has_an_id_stays() {
        for body in [
            "",
            "no JSON",
            "[]",
            r#"{"status":"unhealthy"}"#,
            r#"{"success":true,"error":{"code":"NO"}}"#,
            r#"{"success":false,"error":"NO"}"#,
            r#"{"success":false,"error":{}}"#,
            r#"{"success":false,"error":{"code":7}}"#,
            r#"{"success":false,"error":{"code":"NO","request_id":"mine"}}"#,
            r#"{"success":false,"error":{"code":"NO"}} more"#,
        ] {
            assert_eq!(named(body.as_bytes(), "a-1"), None, "{body}");
        }
    }
}
