//! Escapes and shortens text from components and clients, so that it is safe to show.
//!
//! A terminal obeys control characters, and the history and error messages repeat text from outside. All such text is escaped here
//! before it reaches a message, a log line, the history or a terminal.

use std::borrow::Cow;

/// Whether a terminal shows this character without side effects.
///
/// False for control characters, which move the cursor or change the screen. Also false for Unicode's bidirectional and zero-width
/// controls, which reorder or hide the text around them.
pub fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Puts a text on one line: escapes characters that are not printable, a newline as `\n`.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|character| push(&mut shown, character));
    Cow::Owned(shown)
}

/// Like [`printable`], but cuts the text after about `most_bytes` and appends how many bytes were cut.
pub fn excerpt(text: &str, most_bytes: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(most_bytes));
    for (at, character) in text.char_indices() {
        if shown.len() >= most_bytes {
            shown.push_str(&format!(" … and {} bytes more", text.len() - at));
            break;
        }
        push(&mut shown, character);
    }
    shown
}

/// Escapes unprintable characters in a JSON text, as in `\u001b`. The result is the same JSON value.
pub fn printable_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        // serde_json writes raw newlines only between members: inside of strings it escapes them.
        if character == '\n' || is_printable(character) {
            shown.push(character);
        } else {
            shown.push_str(&format!("\\u{:04x}", u32::from(character)));
        }
    }
    shown
}

fn push(shown: &mut String, character: char) {
    if is_printable(character) {
        shown.push(character);
    } else {
        shown.extend(character.escape_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[2Jb\nc\u{9b}d\u{202e}e\u{7f}";

    #[test]
    fn only_control_and_invisible_characters_are_escaped() {
        assert_eq!(printable(HOSTILE), r"a\u{1b}[2Jb\nc\u{9b}d\u{202e}e\u{7f}");
        assert!(matches!(printable("Grüße 漢字 ✓"), Cow::Borrowed("Grüße 漢字 ✓")));
    }

    #[test]
    fn an_excerpt_is_short_and_counts_the_missing_bytes() {
        assert_eq!(excerpt("short", 5), "short");
        assert_eq!(excerpt("ééé", 3), "éé … and 2 bytes more");
        let escapes = excerpt(&"\u{1b}".repeat(1_000_000), 100);
        assert!(escapes.len() < 200, "{escapes}");
    }

    #[test]
    fn printable_json_is_the_same_value() {
        let value = serde_json::json!({ "name": HOSTILE, "list": [1, 2] });
        let shown = printable_json(&format!("{value:#}"));
        assert!(shown.chars().all(|character| character == '\n' || is_printable(character)), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).ok(), Some(value));
    }
}
