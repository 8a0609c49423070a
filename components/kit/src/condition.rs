//! Changes that are made only to what the client has seen (RFC 9110, sections 8.8.3 and 13.1.1).

use crate::{Failure, Request};

/// Lets a request pass whose `If-Match` names the entity tag of what it would change, in quotes as `ETag` gave it, and one
/// without that header, on a route that reads the header `if-match`. Several such headers are one list (RFC 9110, section 5.3).
///
/// # Errors
///
/// 412 `PRECONDITION_FAILED` for another tag: somebody else was faster.
pub fn check_if_match(request: &Request, tag: &str) -> Result<(), Failure> {
    let wanted: Vec<&[u8]> = request.all_header_bytes("if-match").collect();
    if wanted.is_empty() || matches(&wanted.join(&b", "[..]), tag) {
        return Ok(());
    }
    let why = "It was changed since you read it: read it again, and then decide.";
    Err(Failure::new(412, "PRECONDITION_FAILED", why))
}

/// Whether a list of entity tags has this one, or is `*`. A weak tag matches nothing here: the comparison is the strong one.
/// What is no list of tags has none.
fn matches(list: &[u8], tag: &str) -> bool {
    let mut rest = list.trim_ascii();
    if rest == b"*" {
        return true;
    }
    loop {
        rest = rest.trim_ascii_start();
        if let Some(after) = rest.strip_prefix(b",") {
            rest = after;
            continue;
        }
        let quoted = rest.strip_prefix(b"W/").unwrap_or(rest);
        let is_weak = quoted.len() < rest.len();
        let Some(end) = quoted.strip_prefix(b"\"").and_then(|text| text.iter().position(|byte| *byte == b'"')) else {
            return false;
        };
        let (here, after) = quoted.split_at(end + 2);
        if !is_weak && here == tag.as_bytes() {
            return true;
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_matches_itself_alone_or_in_a_list_and_never_weakly() {
        for wanted in
            ["\"1-paid\"", "*", " * ", "\"x\", \"1-paid\"", "\"1-paid\",\"x\"", ",, W/\"x\" ,\"a,b\", \"1-paid\","]
        {
            assert!(matches(wanted.as_bytes(), "\"1-paid\""), "{wanted}");
        }
        for wanted in
            ["", "1-paid", "W/\"1-paid\"", "\"1-pending\"", "\"1-paid", "\"x,\"1-paid\"", "*, \"x\"", "\"a\" \"b", "W/"]
        {
            assert!(!matches(wanted.as_bytes(), "\"1-paid\""), "{wanted}");
        }
    }
}
