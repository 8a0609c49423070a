//! What the commands print on stdout.
//!
//! A reader may leave early, as in `comptoir status | head -1`. The rest is then not printed, and the command goes on: what it does
//! at the host must not depend on who reads. Any other failure, such as a full disk, ends the command as failed.

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

/// Whether a line was lost for another reason than that nobody reads any more.
pub(crate) fn has_failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

/// `println!` for commands, which does not panic.
macro_rules! outln {
    ($($argument:tt)*) => { crate::output::print_line(format_args!($($argument)*)) };
}

pub(crate) use outln;
