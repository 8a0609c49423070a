//! The interface `wasi:logging`. Keeps the lines, so that a test can read them.

use std::cell::RefCell;

use crate::log::Level;

/// A line that the service logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its level.
    pub level: Level,
    /// The part of the service that wrote it.
    pub context: String,
    /// Its text.
    pub message: String,
}

thread_local! {
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

pub(crate) fn log(level: Level, context: &str, message: &str) {
    eprintln!("{level:?} {context}: {message}");
    let line = Line { level, context: context.to_owned(), message: message.to_owned() };
    LINES.with_borrow_mut(|lines| lines.push(line));
}

pub(crate) fn clear() {
    LINES.take();
}

/// Takes the lines that the service of this thread has logged since the last call.
pub fn taken() -> Vec<Line> {
    LINES.take()
}
