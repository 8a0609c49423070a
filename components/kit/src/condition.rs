//! Conditional changes with `If-Match` (RFC 9110, sections 8.8.3 and 13.1.1).

use crate::{Failure, Request};

/// Refuses a change if `If-Match` does not list the current entity tag. Accepts a request without that header.
///
/// `tag` is quoted, as in the `ETag` header. The route must declare that it reads `if-match`. Several `If-Match` fields form
/// one list (RFC 9110, section 5.3).
///
/// # Errors
///
/// 412 `PRECONDITION_FAILED` if no tag matches, because another request changed the resource first.
pub fn check_if_match(request: &Request, tag: &str) -> Result<(), Failure> {
    let wanted: Vec<&[u8]> = request.header_fields("if-match").collect();
    if wanted.is_empty() || matches(&wanted.join(&b", "[..]), tag) {
        return Ok(());
    }
    let why = "The resource has changed since you read it. Read it again before you change it.";
    Err(Failure::new(412, "PRECONDITION_FAILED", why))
}

/// Whether a list of entity tags contains `tag` or is `*`.
///
/// `If-Match` compares strongly, so a weak tag never matches. A malformed list matches up to its first error.
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
    fn only_strong_tags_match_alone_or_in_a_list() {
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
