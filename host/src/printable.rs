//! Text that a component or a client wrote, made safe and short enough to show.
//!
//! A terminal obeys control characters, and a record or an answer repeats whatever it is given. So text from outside passes here
//! before it reaches a message, a log line, the history or a terminal.

use std::borrow::Cow;

/// Whether a terminal shows this character as it is. Control characters move the cursor or change the screen. Bidirectional and
/// zero-width controls of Unicode reorder or hide the text around them.
pub fn is_printable(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The text on one line: characters that are not printable are escaped, a newline as `\n`.
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|character| push(&mut shown, character));
    Cow::Owned(shown)
}

/// The same, cut after about so many bytes. What was cut off is counted at the end.
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

/// The same JSON value, with characters that are not printable written as `\u001b`. `json` is the text of a value, pretty or not.
pub fn printable_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for character in json.chars() {
        // Outside of strings JSON has no control character but the newlines between members, inside it escapes newlines.
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
    fn control_and_invisible_characters_are_escaped_and_others_are_not() {
        assert_eq!(printable(HOSTILE), r"a\u{1b}[2Jb\nc\u{9b}d\u{202e}e\u{7f}");
        assert!(matches!(printable("Grüße 漢字 ✓"), Cow::Borrowed("Grüße 漢字 ✓")));
    }

    #[test]
    fn an_excerpt_is_short_and_says_how_much_is_missing() {
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
