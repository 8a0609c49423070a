//! Prints the output of commands: results on stdout, messages on stderr.
//!
//! Colours are only for people: they are left out if the output is no terminal, or if `NO_COLOR` is set (https://no-color.org).
//!
//! The reader may close the pipe early, as in `comptoir status | head -1`. The command then drops the rest of its output but still
//! finishes its work at the host. Any other write error, such as a full disk, makes the command exit with a failure.

use std::fmt::{Arguments, Display};
use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use anstyle::{AnsiColor, Style};

/// What failed or is refused.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();

/// What needs attention, such as a revert.
pub(crate) const WARNING: Style = AnsiColor::Yellow.on_default();

/// What is done or active.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();

/// The heading of a table.
pub(crate) const HEADING: Style = Style::new().bold();

/// What most readers skip.
pub(crate) const FAINT: Style = Style::new().dimmed();

static FAILED: AtomicBool = AtomicBool::new(false);

static UNREAD: AtomicBool = AtomicBool::new(false);

/// A text in a style.
pub(crate) fn styled(style: Style, text: impl Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints a line.
pub(crate) fn print_line(line: Arguments<'_>) {
    check(writeln!(anstream::stdout(), "{line}"));
}

/// Begins a new picture of something that changes: clears a terminal, or prints an empty line elsewhere.
pub(crate) fn begin_picture() {
    let mut stdout = std::io::stdout();
    check(if stdout.is_terminal() { stdout.write_all(b"\x1b[H\x1b[2J\x1b[3J") } else { stdout.write_all(b"\n") });
}

/// Prints a message to stderr. Ignores write errors, because the terminal may be gone.
pub(crate) fn say(text: &str) {
    let _ = writeln!(anstream::stderr(), "comptoir: {text}");
}

/// Prints an error to stderr.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(anstream::stderr(), "{BAD}comptoir: {text}{BAD:#}");
}

fn check(written: std::io::Result<()>) {
    let Err(error) = written else { return };
    if error.kind() == ErrorKind::BrokenPipe {
        UNREAD.store(true, Ordering::Relaxed);
    } else if !FAILED.swap(true, Ordering::Relaxed) {
        complain(&format!("cannot write to stdout: {error}"));
    }
}

/// Whether a line could not be written, for another reason than a closed pipe.
pub(crate) fn has_failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

/// Whether the reader of stdout has gone. A command that would print for ever ends then.
pub(crate) fn is_unread() -> bool {
    has_failed() || UNREAD.load(Ordering::Relaxed)
}

/// Like `println!`, but does not panic if the write fails.
macro_rules! outln {
    ($($argument:tt)*) => { crate::output::print_line(format_args!($($argument)*)) };
}

pub(crate) use outln;
