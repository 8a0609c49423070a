//! A limit for events that a client or a service can cause again and again.

use std::sync::{Mutex, PoisonError};

/// Allows some lines in each window of time.
/// Windows follow one another; unused lines do not carry over.
#[derive(Debug)]
pub(super) struct RateLimit {
    lines: u32,
    window_seconds: u64,
    used: Mutex<Used>,
}

/// The lines of the current window. Windows are numbered since 1970-01-01.
#[derive(Debug, Default)]
struct Used {
    window: u64,
    lines: u32,
}

impl RateLimit {
    /// Allows this many lines in each window.
    pub(super) fn new(lines: u32, window_seconds: u64) -> Self {
        Self { lines, window_seconds, used: Mutex::default() }
    }

    /// Uses one line at this Unix second. Returns false if the window has none left.
    pub(super) fn take(&self, second: u64) -> bool {
        let window = second / self.window_seconds;
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.window != window {
            *used = Used { window, lines: 0 };
        }
        let is_allowed = used.lines < self.lines;
        used.lines += u32::from(is_allowed);
        is_allowed
    }
}
