//! How long something took, in words. A leaf.

use std::time::Duration;

/// `80 ms`, or `1.2 s` from one second on.
pub fn in_words(duration: Duration) -> String {
    match duration.as_millis() {
        milliseconds @ ..1000 => format!("{milliseconds} ms"),
        _ => format!("{:.1} s", duration.as_secs_f64()),
    }
}
