//! The rules for notes. No HTTP, no SQL.

use kit::{JsonObject, JsonValue};

/// Reads the text of a note, or says why it is refused.
pub(crate) fn text(body: &JsonObject) -> Result<&str, &'static str> {
    match body.get("text").and_then(JsonValue::as_str) {
        None | Some("") => Err("The field text is missing."),
        Some(text) if text.len() > 1000 || text.contains('\0') => Err("The text is too long or has U+0000."),
        Some(text) => Ok(text),
    }
}
