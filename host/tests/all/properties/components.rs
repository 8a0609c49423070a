//! For any bytes as a component, the host reads its imports and exports, or refuses it in one sentence.

use comptoir::engine::inspect;
use proptest::prelude::*;
use testing::component;

use super::{changed, changes, runner};

const WORDS: &[&str] = &["\0asm", "\u{1}\0\0\0", "\r\0\u{1}\0", "\0", "\u{7f}", "wasi:http/incoming-handler@0.2.12"];

fn holds(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Err(refusal) = inspect(bytes) else { return Ok(()) };
    let said = refusal.to_string();
    prop_assert!(!said.contains('\n') && said.starts_with("it "), "{}", said);
    Ok(())
}

#[test]
fn any_bytes_are_a_component_or_are_refused() {
    let begun = prop::collection::vec(any::<u8>(), 0..200).prop_map(|rest| [b"\0asm\r\0\x01\0", &rest[..]].concat());
    runner(2_000).run(&prop_oneof![super::bytes(), begun], |bytes| holds(&bytes)).unwrap();
}

#[test]
fn a_changed_component_is_read_or_refused() {
    let right = std::fs::read(component("guest_plain_p2")).unwrap();
    runner(200).run(&changes(WORDS), |changes| holds(&changed(&right, &changes))).unwrap();
}
