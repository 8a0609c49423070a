//! Changes that are made only to what the client has seen (RFC 9110, sections 8.8.3 and 13.1.1).

use crate::{Failure, Request};

/// Lets a request pass whose `If-Match` names the entity tag of what it would change, in quotes as `ETag` gave it, and one
/// without that header, on a route that reads the header `if-match`.
///
/// # Errors
///
/// 412 `PRECONDITION_FAILED` for another tag: somebody else was faster.
pub fn check_if_match(request: &Request, tag: &str) -> Result<(), Failure> {
    match request.header_bytes("if-match") {
        Some(wanted) if !matches(&String::from_utf8_lossy(wanted), tag) => Err(Failure::new(
            412,
            "PRECONDITION_FAILED",
            "It was changed since you read it: read it again, and then decide.",
        )),
        _ => Ok(()),
    }
}

/// A weak tag matches nothing here: the comparison is the strong one.
fn matches(wanted: &str, tag: &str) -> bool {
    wanted.trim() == "*" || wanted.split(',').any(|one| one.trim() == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_matches_itself_alone_or_in_a_list_and_never_weakly() {
        for wanted in ["\"1-paid\"", "*", " * ", "\"x\", \"1-paid\"", "\"1-paid\",\"x\""] {
            assert!(matches(wanted, "\"1-paid\""), "{wanted}");
        }
        for wanted in ["", "1-paid", "W/\"1-paid\"", "\"1-pending\"", "\"1-paid"] {
            assert!(!matches(wanted, "\"1-paid\""), "{wanted}");
        }
    }
}
