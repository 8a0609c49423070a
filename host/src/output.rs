//! Prints the output of commands on stdout.
//!
//! The reader may close the pipe early, as in `comptoir status | head -1`. The command then drops the rest of its output but still
//! finishes its work at the host. Any other write error, such as a full disk, makes the command exit with a failure.

use std::fmt::Arguments;
use std::io::{ErrorKind, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

static FAILED: AtomicBool = AtomicBool::new(false);

/// Prints a line.
pub(crate) fn print_line(line: Arguments<'_>) {
    let Err(error) = writeln!(std::io::stdout(), "{line}") else { return };
    if error.kind() != ErrorKind::BrokenPipe && !FAILED.swap(true, Ordering::Relaxed) {
        let _ = writeln!(std::io::stderr(), "comptoir: cannot write to stdout: {error}");
    }
}

/// Whether a line could not be written, for another reason than a closed pipe.
pub(crate) fn has_failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

/// Like `println!`, but does not panic if the write fails.
macro_rules! outln {
    ($($argument:tt)*) => { crate::output::print_line(format_args!($($argument)*)) };
}

pub(crate) use outln;
