//! Neither random texts nor changed tokens are accepted.

use comptoir::clock::Clock;
use comptoir::tokens::Tokens;
use proptest::prelude::*;

use super::{changed, changes, runner, text};

const WORDS: &[&str] = &[".", "..", "=", "AA", "_-", "+/", "eyJ", "bm9uZQ", "eyJhbGciOiJub25lIn0", "e30", "\n", " "];

fn open() -> (tempfile::TempDir, Tokens) {
    let folder = tempfile::tempdir().unwrap();
    let tokens = Tokens::open(folder.path(), Clock::default()).unwrap();
    (folder, tokens)
}

#[test]
fn no_random_text_is_accepted() {
    let (_folder, tokens) = open();
    let dotted = prop::collection::vec(text(), 1..5).prop_map(|parts| parts.join("."));
    let held = runner(2_000).run(&prop_oneof![text(), dotted], |text| {
        prop_assert_eq!(tokens.verify(&text), None);
        Ok(())
    });
    held.unwrap();
}

#[test]
fn a_changed_token_is_refused() {
    let (_folder, tokens) = open();
    let held = runner(2_000).run(&(changes(WORDS), "[a-z]{1,20}"), |(changes, subject)| {
        let real = tokens.issue(&subject, "user", "session").unwrap().token;
        prop_assert!(tokens.verify(&real).is_some_and(|claims| claims.subject == subject));
        let forged = String::from_utf8_lossy(&changed(real.as_bytes(), &changes)).into_owned();
        prop_assert!(forged == real || tokens.verify(&forged).is_none(), "{} is accepted instead of {}", forged, real);
        Ok(())
    });
    held.unwrap();
}

#[test]
fn a_token_for_any_subject_verifies_as_that_subject() {
    let (_folder, tokens) = open();
    let held = runner(1_000).run(&(text(), text(), text()), |(subject, role, session)| {
        let Ok(issued) = tokens.issue(&subject, &role, &session) else { return Ok(()) };
        let claims = tokens.verify(&issued.token);
        let claims = claims.map(|claims| (claims.subject, claims.role, claims.session));
        prop_assert_eq!(claims, Some((subject, role, session)));
        Ok(())
    });
    held.unwrap();
}
