//! Request bodies: which are JSON objects, and what is wrong with the others.

use std::borrow::Cow;

use crate::{JsonObject, JsonValue};

/// How long a body may be that the kit reads into memory, a request's or a peer's answer.
pub(crate) const LIMIT_BYTES: usize = 1 << 20;

/// Why a body was refused, for the client to read.
pub(crate) type Why = Cow<'static, str>;

/// Accepts `application/json` and `application/…+json` in any case and with any parameters.
pub(crate) fn check_content_type(content_type: Option<&str>) -> Result<(), Why> {
    let Some(content_type) = content_type else {
        return Err("A JSON body with Content-Type: application/json is needed.".into());
    };
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.strip_prefix("application/") {
        Some(subtype) if subtype == "json" || (subtype.len() > 5 && subtype.ends_with("+json")) => Ok(()),
        _ => Err("The body's Content-Type is not application/json.".into()),
    }
}

/// Parses a body that must be an object.
pub(crate) fn object(bytes: &[u8]) -> Result<JsonObject, Why> {
    if bytes.is_empty() {
        return Err("The body is empty. A JSON object is needed.".into());
    }
    match serde_json::from_slice(bytes) {
        Ok(JsonValue::Object(object)) => Ok(object),
        Ok(other) => Err(format!("The body must be a JSON object, and is {}.", kind(&other)).into()),
        Err(error) => Err(format!("The body is not JSON: {error}.").into()),
    }
}

fn kind(value: &JsonValue) -> &'static str {
    match value {
        JsonValue::Null => "null",
        JsonValue::Bool(_) => "a boolean",
        JsonValue::Number(_) => "a number",
        JsonValue::String(_) => "a string",
        JsonValue::Array(_) => "an array",
        JsonValue::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_accepted_under_all_its_names() {
        for accepted in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;charset=\"UTF-8\"",
            " application/json ",
            "application/vnd.api+json",
            "application/problem+json; charset=utf-8",
        ] {
            assert_eq!(check_content_type(Some(accepted)), Ok(()), "{accepted}");
        }
    }

    #[test]
    fn other_content_types_are_refused() {
        for refused in ["", "text/json", "text/plain", "application/jsonp", "application/+json", "json", "application"]
        {
            assert!(check_content_type(Some(refused)).is_err(), "{refused}");
        }
        assert!(check_content_type(None).is_err());
    }

    #[test]
    fn an_object_is_read() {
        let read = object(br#" {"a":1,"b":[true],"a":"last"} "#).unwrap();
        assert_eq!(read["a"], "last");
        assert_eq!(read["b"][0], true);
    }

    #[test]
    fn anything_else_is_refused_with_its_reason() {
        let deep = "[".repeat(100_000);
        let table: &[(&[u8], &str)] = &[
            (b"", "empty"),
            (b"  ", "not JSON"),
            (b"null", "is null"),
            (b"[1]", "is an array"),
            (b"\"text\"", "is a string"),
            (b"{\"a\":1", "not JSON"),
            (b"{\"a\":1} x", "not JSON"),
            (b"{\"a\":NaN}", "not JSON"),
            (b"{'a':1}", "not JSON"),
            (b"{\"a\":\"\xff\"}", "not JSON"),
            (b"{\"a\":\"\\ud800\"}", "not JSON"),
            (deep.as_bytes(), "recursion limit"),
        ];
        for (bytes, reason) in table {
            let why = object(bytes).unwrap_err();
            assert!(why.contains(reason), "{why}");
        }
    }
}
