//! Request bodies: reads JSON objects, and explains why another body is refused.

use std::borrow::Cow;

use crate::{JsonObject, JsonValue};

/// Maximum length of a body that the kit parses: a request's, or a response's from another service.
pub(crate) const LIMIT_BYTES: usize = 1 << 20;

/// Why a body is refused, as a message for the client.
pub(crate) type Why = Cow<'static, str>;

/// How many characters of a wrong content type the message quotes.
const SHOWN_CHARACTERS: usize = 64;

/// Accepts `application/json` and `application/…+json` in any case and with any parameters.
pub(crate) fn check_content_type(content_type: Option<&[u8]>) -> Result<(), Why> {
    let Some(content_type) = content_type else {
        return Err("The body has no Content-Type. Send application/json.".into());
    };
    let content_type = String::from_utf8_lossy(content_type);
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let lower = essence.to_ascii_lowercase();
    match lower.strip_prefix("application/") {
        Some(subtype) if subtype == "json" || (subtype.len() > 5 && subtype.ends_with("+json")) => Ok(()),
        _ => Err(format!("The body's Content-Type is {}. Send application/json.", shown(essence)).into()),
    }
}

/// Quotes a text from the client: truncated, with `?` for everything except printable ASCII, so a terminal can show it.
fn shown(text: &str) -> String {
    let cut = if text.chars().count() > SHOWN_CHARACTERS { "…" } else { "" };
    let plain = |character: char| if character.is_ascii_graphic() || character == ' ' { character } else { '?' };
    let shown: String = text.chars().take(SHOWN_CHARACTERS).map(plain).collect();
    format!("\"{shown}{cut}\"")
}

/// Parses a body.
pub(crate) fn value(bytes: &[u8]) -> Result<JsonValue, Why> {
    if bytes.is_empty() {
        return Err("The body is empty. Send a JSON object.".into());
    }
    serde_json::from_slice(bytes).map_err(|error| format!("The body is not JSON: {error}.").into())
}

/// A value that must be an object.
pub(crate) fn object(value: JsonValue) -> Result<JsonObject, Why> {
    match value {
        JsonValue::Object(object) => Ok(object),
        other => Err(format!("The body must be a JSON object, but is {}.", kind(&other)).into()),
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
    fn all_json_content_types_are_accepted() {
        for accepted in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON;charset=\"UTF-8\"",
            " application/json ",
            "application/vnd.api+json",
            "application/problem+json; charset=utf-8",
        ] {
            assert_eq!(check_content_type(Some(accepted.as_bytes())), Ok(()), "{accepted}");
        }
    }

    #[test]
    fn other_content_types_are_refused() {
        for refused in ["", "text/json", "text/plain", "application/jsonp", "application/+json", "json", "application"]
        {
            assert!(check_content_type(Some(refused.as_bytes())).is_err(), "{refused}");
        }
        assert!(check_content_type(None).is_err());
    }

    #[test]
    fn the_message_names_the_wrong_and_the_right_type() {
        let why = |sent: &[u8]| check_content_type(Some(sent)).unwrap_err().into_owned();
        assert_eq!(
            why(b"text/plain; charset=utf-8"),
            "The body's Content-Type is \"text/plain\". Send application/json."
        );
        assert_eq!(why(b"a\xff\x1b[31m<b>"), "The body's Content-Type is \"a??[31m<b>\". Send application/json.");
        let long = format!("x/{}", "y".repeat(1000));
        assert_eq!(why(long.as_bytes()).chars().count(), why(b"").chars().count() + 65);
    }

    #[test]
    fn an_object_is_parsed() {
        let read = value(br#" {"a":1,"b":[true],"a":"last"} "#).and_then(object).unwrap();
        assert_eq!(read["a"], "last");
        assert_eq!(read["b"][0], true);
    }

    #[test]
    fn other_bodies_are_refused_with_a_reason() {
        let deep = "[".repeat(100_000);
        let table: &[(&[u8], &str)] = &[
            (b"", "empty"),
            (b"  ", "not JSON"),
            (b"null", "but is null"),
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
            let why = value(bytes).and_then(object).unwrap_err();
            assert!(why.contains(reason), "{why}");
        }
    }
}
