//! The cause of a guest's failure, for the log.

use crate::printable::excerpt;

/// Maximum bytes of a guest's error that are logged.
const CAUSE_BYTES: usize = 8 << 10;

/// The chain of an error, root cause first. A backtrace uses the component's own function names.
pub(super) fn causes(error: &wasmtime::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    excerpt(&causes.into_iter().rev().collect::<Vec<_>>().join("; "), CAUSE_BYTES)
}
