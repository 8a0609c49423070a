//! Adds the request's id to the errors of components, so that they name it as the host's own errors do.
//!
//! A component that had to know the id could not be cached, because each response would depend on it. So the host adds the id
//! after the response cache, to each error in the envelope that has none.

use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Body as _;
use hyper::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use serde_json::Value;

use crate::body::{Body, BodyError, full};

/// The longest body that is searched for an error, in bytes. A longer one is sent unchanged.
const LIMIT_BYTES: u64 = 64 << 10;

/// Adds the request's id to an error in the envelope. Leaves any other response, and each stream, unchanged.
///
/// # Errors
/// `BodyError` if the body ends early.
pub(super) async fn add_request_id(response: Response<Body>, id: &str) -> Result<Response<Body>, BodyError> {
    if !may_be_envelope(&response) {
        return Ok(response);
    }
    let (mut head, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    let Some(named) = with_id(&body, id) else { return Ok(Response::from_parts(head, full(body))) };
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
        // A response that streams or has trailers has no length yet.
        && headers.contains_key(CONTENT_LENGTH)
        && response.body().size_hint().exact().is_some_and(|bytes| bytes <= LIMIT_BYTES)
}

/// The body with the id in `error`. None if it is no error in the envelope, or already has an id.
fn with_id(body: &[u8], id: &str) -> Option<String> {
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
    fn an_error_gets_the_id_and_keeps_its_other_members() {
        let body =
            r#"{ "success": false, "error": {"code":"NO","message":"No.","details":{"x":[1.0,"}"]}}, "more": 1 }"#;
        let named: Value = serde_json::from_str(&with_id(body.as_bytes(), "a-1").unwrap()).unwrap();
        let error = json!({ "code": "NO", "message": "No.", "details": { "x": [1.0, "}"] }, "request_id": "a-1" });
        assert_eq!(named, json!({ "success": false, "error": error, "more": 1 }));
    }

    #[test]
    fn other_bodies_and_errors_with_an_id_stay_unchanged() {
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
            assert_eq!(with_id(body.as_bytes(), "a-1"), None, "{body}");
        }
    }
}
