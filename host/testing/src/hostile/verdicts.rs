//! The attacks of `guest_hostile`, and the verdict that each must get.

use super::code::ATTACKS;

/// The name of an attack, the status of its answer, and a part of the answer's text.
pub type Verdict = (&'static str, u16, &'static str);

/// The most resident memory that the host may reach, in MiB. The attacks ask for thousands of times more.
pub const CEILING_MIB: u64 = 512;

/// The attacks of `guest_hostile` with their verdicts.
pub const VERDICTS: &[Verdict] = &[
    ("spin", 504, "DEADLINE_EXCEEDED"),
    ("recurse", 500, "INTERNAL_ERROR"),
    ("grow", 500, "OUT_OF_MEMORY"),
    ("copy", 504, "DEADLINE_EXCEEDED"),
    ("sleep", 504, "DEADLINE_EXCEEDED"),
    ("handles", 500, "INTERNAL_ERROR"),
    ("pollables", 500, "INTERNAL_ERROR"),
    ("leak", 200, "leaked"),
    ("random", 500, "INTERNAL_ERROR"),
    ("print", 504, "DEADLINE_EXCEEDED"),
    ("globals", 200, "1 request"),
    ("environment", 200, "0 variables, 0 arguments"),
    ("call", 200, "reached []"),
    ("sql", 200, "passed []"),
    ("sql-endless", 200, "timed out"),
    ("sql-rows", 200, "too large"),
    ("sql-bytes", 200, "too large, denied, too large"),
    ("sql-parameters", 500, "INTERNAL_ERROR"),
    ("sql-text", 200, "invalid"),
    ("sql-length", 200, "too large, too large, too large"),
    ("transaction-spin", 504, "DEADLINE_EXCEEDED"),
    ("transaction-sleep", 504, "DEADLINE_EXCEEDED"),
    ("transaction-twice", 200, "done, then timed out"),
    ("no-answer", 500, "INTERNAL_ERROR"),
    ("error-answer", 500, "INTERNAL_ERROR"),
    ("many-headers", 500, "INTERNAL_ERROR"),
    ("large-header", 500, "INTERNAL_ERROR"),
    ("header-text", 200, "0 values and 0 names were taken"),
    ("forbidden-headers", 200, "answered"),
    ("status", 500, "INTERNAL_ERROR"),
    ("length-too-long", 500, "INTERNAL_ERROR"),
    ("length-too-short", 500, "INTERNAL_ERROR"),
    ("unfinished-body", 500, "INTERNAL_ERROR"),
    ("empty-writes", 500, "INTERNAL_ERROR"),
    ("spin-after-answer", 200, "answered"),
    ("trap-after-answer", 500, "INTERNAL_ERROR"),
];

/// An attack that fails after its answer began. The client sees that the answer is incomplete.
pub const ENDLESS: &str = "endless-body";

/// Attacks that fail after they have begun a response, and what a client may read of that response if it is complete.
///
/// The host waits a few milliseconds for the end of such a guest, and answers 500 if it fails within that time. On a loaded machine the
/// guest takes longer. Then its own status is sent, and the answer is incomplete unless the guest had finished it.
const BEGUN: &[(&str, Option<&str>)] = &[
    ("length-too-long", None),
    ("length-too-short", None),
    ("unfinished-body", None),
    ("empty-writes", None),
    ("trap-after-answer", Some("answered")),
];

/// Whether an answer is the beginning of a response whose guest failed too late for a 500. Status 0 means no answer at all.
pub(super) fn is_begun(name: &str, status: u16, text: Option<&str>) -> bool {
    let begun = BEGUN.iter().find(|(attack, _)| *attack == name);
    begun.is_some_and(|(_, whole)| (status == 200 && text == *whole) || (matches!(status, 0 | 200) && text.is_none()))
}

/// Whether an attack runs until the host stops it by time. All others end earlier, even on a slow machine.
pub fn ends_by_time(name: &str) -> bool {
    let told = VERDICTS.iter().map(|(name, status, _)| (*name, *status));
    let mut all = told.chain(ATTACKS.iter().map(|(name, status, ..)| (*name, *status)));
    name == ENDLESS || name == "spin-after-answer" || all.any(|verdict| verdict == (name, 504))
}
