//! One line of the audit log, without its hash.

use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use super::event::{Event, Note};

/// The longest subject in bytes: as long as a username may be.
const SUBJECT_BYTES: usize = 600;

/// The longest session id, method with path, request id and reporter, in bytes.
const TEXT_BYTES: usize = 256;

/// The longest result in bytes: the digests of four components and their signers.
const RESULT_BYTES: usize = 512;

/// An event, ready to be written.
#[derive(Debug, Serialize)]
pub(super) struct AuditEntry {
    /// Such as `2026-11-23T06:07:00.123Z`.
    time: String,
    event: Event,
    by: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<String>,
    /// How many events before this one were not written.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) unwritten: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl AuditEntry {
    /// An event at this time since 1970-01-01 UTC.
    pub(super) fn new(note: &Note<'_>, moment: Duration) -> Self {
        let text = |text: Option<&str>| text.map(|text| cut(text, TEXT_BYTES));
        Self {
            time: time(moment),
            event: note.event,
            by: cut(note.by, TEXT_BYTES),
            subject: note.subject.map(|subject| cut(subject, SUBJECT_BYTES)),
            session: text(note.session),
            asked: text(note.asked),
            result: note.result.map(|result| cut(result, RESULT_BYTES)),
            request_id: text(note.source.request_id.as_deref()),
            client: note.source.client.map(|client| client.to_canonical().to_string()),
            unwritten: 0,
        }
    }

    /// A JSON object without its last brace.
    /// Escapes everything but ASCII, letters and digits.
    pub(super) fn to_text(&self) -> String {
        let json = serde_json::to_string(self).expect("texts and numbers are JSON");
        let mut text = String::with_capacity(json.len());
        for character in json.strip_suffix('}').unwrap_or(&json).chars() {
            if character.is_ascii() && character != '\u{7f}' || character.is_alphanumeric() {
                text.push(character);
            } else {
                // Such characters only occur inside JSON strings, so they can be escaped.
                for unit in character.encode_utf16(&mut [0; 2]) {
                    text.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
        text
    }
}

/// Cuts a text to this many bytes. A cut text ends with `…`.
fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(bytes)])
}

fn time(moment: Duration) -> String {
    let seconds = i64::try_from(moment.as_secs()).unwrap_or(i64::MAX);
    let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, milliseconds) = (at.date(), moment.subsec_millis());
    format!("{date}T{:02}:{:02}:{:02}.{milliseconds:03}Z", at.hour(), at.minute(), at.second())
}
