#![allow(clippy::unwrap_used)]

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::revocations::REMEMBERED_SECONDS;
use super::*;
use crate::key_file::KeyFileError;

mod keys;
mod shared;

fn open(folder: &Path, clock: &Clock) -> Tokens {
    Tokens::open(folder, clock.clone()).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn part(token: &str, index: usize) -> Value {
    let encoded = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap()
}

#[test]
fn verify_returns_the_claims_of_an_issued_token() {
    let folder = TempDir::new().unwrap();
    let clock = Clock::default();
    let tokens = open(folder.path(), &clock);
    let before = clock.unix_seconds();
    let issued = tokens.issue("ぺこ \"quoted\"", "admin", "s1").unwrap();
    assert_eq!(issued.expires_in_seconds, 3600);
    let claims = tokens.verify(&issued.token).unwrap();
    assert_eq!((&*claims.subject, &*claims.role, &*claims.session), ("ぺこ \"quoted\"", "admin", "s1"));
    assert!((before + 3600..=clock.unix_seconds() + 3600).contains(&claims.expires_at));
}

#[test]
fn a_token_has_exactly_the_claims_of_rfc_9068() {
    let folder = TempDir::new().unwrap();
    let tokens = open(folder.path(), &Clock::default());
    let token = tokens.issue("ada", "user", "s1").unwrap().token;
    assert_eq!(part(&token, 0), json!({"alg": "HS256", "typ": "at+jwt", "kid": tokens.keys()[0].id}));
    let mut payload = part(&token, 1);
    let issued_at = payload["iat"].as_u64().unwrap();
    assert_eq!(payload["exp"].as_u64().unwrap(), issued_at + 3600);
    // 128 bits are 22 characters in unpadded base64.
    assert_eq!(payload["jti"].as_str().unwrap().len(), 22);
    for measured in ["iat", "exp", "jti"] {
        payload.as_object_mut().unwrap().remove(measured);
    }
    let expected = json!({
        "iss": "comptoir", "aud": "comptoir", "client_id": "comptoir", "sub": "ada", "sid": "s1",
        "roles": ["user"], "type": "access",
    });
    assert_eq!(payload, expected);
}

#[test]
fn ten_thousand_tokens_have_different_ids() {
    let folder = TempDir::new().unwrap();
    let tokens = open(folder.path(), &Clock::default());
    let issue = |_| part(&tokens.issue("ada", "user", "s1").unwrap().token, 1)["jti"].to_string();
    assert_eq!((0..10_000).map(issue).collect::<HashSet<_>>().len(), 10_000);
}

#[test]
fn the_error_names_an_invalid_claim() {
    let folder = TempDir::new().unwrap();
    let tokens = open(folder.path(), &Clock::default());
    let long = |bytes: usize| "x".repeat(bytes);
    for (subject, role, session, expected) in [
        ("", "user", "s1", "the subject is empty"),
        ("ada", "", "s1", "the role is empty"),
        ("ada", "user", "", "the session is empty"),
        (&*long(601), "user", "s1", "the subject is longer than 600 bytes"),
        ("ada", &*long(257), "s1", "the role is longer than 256 bytes"),
        ("ada", "user", &*long(257), "the session is longer than 256 bytes"),
        ("a\nb", "user", "s1", "the subject holds a control character"),
        ("ada", "us\0er", "s1", "the role holds a control character"),
        ("ada", "user", "s\u{7f}1", "the session holds a control character"),
    ] {
        let refused = tokens.issue(subject, role, session).unwrap_err();
        assert_eq!(refused, IssueError::Invalid(expected.to_owned()));
    }
}

#[test]
fn a_token_with_the_longest_claims_is_accepted() {
    let folder = TempDir::new().unwrap();
    let tokens = open(folder.path(), &Clock::default());
    for (subject, other) in [("\"".repeat(600), "\\".repeat(256)), ("🔑".repeat(150), "é".repeat(128))] {
        let token = tokens.issue(&subject, &other, &other).unwrap().token;
        assert!(token.len() <= TOKEN_LIMIT_BYTES, "{} bytes", token.len());
        let claims = tokens.verify(&token).unwrap();
        assert_eq!((claims.subject, claims.role, claims.session), (subject, other.clone(), other));
    }
}

#[test]
fn a_token_expires_in_the_second_of_its_exp_claim() {
    let folder = TempDir::new().unwrap();
    let clock = Clock::default();
    let tokens = open(folder.path(), &clock);
    let token = tokens.issue("ada", "user", "s1").unwrap().token;
    clock.shift(3590);
    assert!(tokens.verify(&token).is_some());
    clock.shift(10);
    assert!(tokens.verify(&token).is_none());
}

#[test]
fn a_token_from_a_clock_that_was_ahead_is_refused() {
    let folder = TempDir::new().unwrap();
    let clock = Clock::default();
    let tokens = open(folder.path(), &clock);
    clock.shift(30 * 24 * 3600);
    let token = tokens.issue("ada", "user", "s1").unwrap().token;
    assert!(tokens.verify(&token).is_some());
    clock.shift(-30 * 24 * 3600);
    assert!(tokens.verify(&token).is_none());
}

#[test]
fn the_key_survives_a_restart_and_only_its_owner_may_use_it() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("made/on/the/way");
    let first = open(&folder, &Clock::default());
    let token = first.issue("ada", "user", "s1").unwrap().token;
    assert_eq!(
        (mode(&folder), mode(&folder.join("signing.key")), mode(&folder.join("sessions.db"))),
        (0o700, 0o600, 0o600)
    );
    assert!(!folder.join("signing.key.new").exists());
    let second = open(&folder, &Clock::default());
    assert_eq!(second.keys(), first.keys());
    assert!(second.verify(&token).is_some());
}

#[test]
fn two_installations_refuse_each_others_tokens() {
    let (here, there) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (here, there) = (open(here.path(), &Clock::default()), open(there.path(), &Clock::default()));
    let id = |tokens: &Tokens| tokens.keys()[0].id.clone();
    assert_ne!(id(&here), id(&there));
    assert_eq!(id(&here).len(), 16);
    assert!(here.verify(&there.issue("ada", "user", "s1").unwrap().token).is_none());
}

#[test]
fn hosts_that_start_at_once_in_one_folder_get_the_same_key() {
    let folder = TempDir::new().unwrap();
    let ids: HashSet<_> = std::thread::scope(|scope| {
        let starts: Vec<_> =
            (0..8).map(|_| scope.spawn(|| Keys::open(folder.path(), 0).unwrap().signer(0).id().clone())).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert_eq!(ids.len(), 1);
}

#[test]
fn a_half_written_key_file_is_replaced() {
    let folder = TempDir::new().unwrap();
    let leftover = folder.path().join("signing.key.new");
    fs::write(&leftover, "half a key, and then some more than there was room for").unwrap();
    fs::set_permissions(&leftover, Permissions::from_mode(0o600)).unwrap();
    open(folder.path(), &Clock::default());
    assert_eq!(fs::read(folder.path().join("signing.key")).unwrap().len(), 32);
    assert!(!leftover.exists());
}

#[test]
fn a_key_file_that_other_users_may_use_is_refused() {
    for exposed in [0o644, 0o660, 0o620, 0o604, 0o601] {
        let folder = TempDir::new().unwrap();
        open(folder.path(), &Clock::default());
        let path = folder.path().join("signing.key");
        fs::set_permissions(&path, Permissions::from_mode(exposed)).unwrap();
        let refused = Tokens::open(folder.path(), Clock::default()).unwrap_err();
        let expected = format!(
            "the signing key: {} has mode {exposed:03o}: only its owner may use a key file, so set the mode to 600",
            path.display()
        );
        assert_eq!(refused.to_string(), expected);
    }
}

#[test]
fn a_key_file_of_another_length_is_refused() {
    for length in [0, 31, 33, 64] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("signing.key");
        fs::write(&path, vec![7; length]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let refused = Tokens::open(folder.path(), Clock::default()).unwrap_err();
        assert!(matches!(refused, TokensError::Key(KeyFileError::Malformed { .. })), "{length}: {refused}");
    }
}

#[test]
fn debug_output_contains_neither_key_nor_token() {
    let folder = TempDir::new().unwrap();
    let tokens = open(folder.path(), &Clock::default());
    let issued = tokens.issue("ada", "user", "s1").unwrap();
    let key = fs::read(folder.path().join("signing.key")).unwrap();
    let shown = format!("{tokens:?} {tokens:#?} {issued:?}");
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    for secret in [hex, format!("{key:?}"), format!("{:?}", &key[..3]), URL_SAFE_NO_PAD.encode(&key), issued.token] {
        assert!(!shown.contains(secret.trim_matches(['[', ']'])), "{shown}");
    }
}

#[tokio::test]
async fn a_revoked_session_is_refused_and_gets_no_token() {
    let folder = TempDir::new().unwrap();
    let tokens = open(folder.path(), &Clock::default());
    let ended = tokens.issue("ada", "user", "s1").unwrap().token;
    let other = tokens.issue("ada", "user", "s2").unwrap().token;
    tokens.revoke("s1").await.unwrap();
    tokens.revoke("s1").await.unwrap();
    assert!(tokens.verify(&ended).is_none());
    assert!(tokens.verify(&other).is_some());
    assert_eq!(tokens.issue("ada", "user", "s1").unwrap_err(), IssueError::SessionEnded);
    assert_eq!(tokens.revoke("").await, Err(RevokeError::Invalid("the session is empty".to_owned())));
}

#[tokio::test]
async fn a_revocation_survives_a_restart() {
    let folder = TempDir::new().unwrap();
    let clock = Clock::default();
    let token = {
        let tokens = open(folder.path(), &clock);
        let token = tokens.issue("ada", "user", "it's 🔑").unwrap().token;
        tokens.revoke("it's 🔑").await.unwrap();
        token
    };
    assert!(open(folder.path(), &clock).verify(&token).is_none());
}

#[tokio::test]
async fn a_hundred_tasks_can_revoke_sessions_at_once() {
    let folder = TempDir::new().unwrap();
    let clock = Clock::default();
    let tokens = Arc::new(open(folder.path(), &clock));
    let revoking: Vec<_> = (0..100)
        .map(|number| {
            let tokens = Arc::clone(&tokens);
            tokio::spawn(async move { tokens.revoke(&format!("s{}", number / 2)).await })
        })
        .collect();
    for revoked in revoking {
        revoked.await.unwrap().unwrap();
    }
    drop(tokens);
    let reopened = open(folder.path(), &clock);
    assert!((0..50).all(|number| reopened.revocations.contains(&format!("s{number}"))));
    assert!(!reopened.revocations.contains("s50"));
}

#[tokio::test]
async fn a_revocation_is_remembered_for_a_day_after_the_last_token() {
    let folder = TempDir::new().unwrap();
    let clock = Clock::default();
    let tokens = open(folder.path(), &clock);
    let remembered = i64::try_from(REMEMBERED_SECONDS).unwrap();
    tokens.revoke("s1").await.unwrap();
    clock.shift(remembered - 10);
    tokens.revoke("s2").await.unwrap();
    assert!(tokens.revocations.contains("s1"));
    assert!(open(folder.path(), &clock).revocations.contains("s1"));
    clock.shift(3600);
    tokens.revoke("s3").await.unwrap();
    for tokens in [&tokens, &open(folder.path(), &clock)] {
        let held = ["s1", "s2", "s3"].map(|session| tokens.revocations.contains(session));
        assert_eq!(held, [false, true, true]);
    }
}

#[tokio::test]
async fn a_clock_that_is_hours_wrong_brings_no_session_back() {
    for wrong_hours in [-14, -1, 1, 14, 22] {
        let folder = TempDir::new().unwrap();
        let clock = Clock::default();
        let tokens = open(folder.path(), &clock);
        let token = tokens.issue("ada", "user", "s1").unwrap().token;
        tokens.revoke("s1").await.unwrap();
        clock.shift(wrong_hours * 3600);
        // This removes expired sessions and ends another session at the wrong time.
        tokens.revoke("s2").await.unwrap();
        drop(tokens);
        let tokens = open(folder.path(), &clock);
        clock.shift(-wrong_hours * 3600);
        assert!(tokens.verify(&token).is_none(), "{wrong_hours}");
    }
}

#[tokio::test]
async fn a_session_is_refused_even_if_its_end_cannot_be_saved() {
    let folder = TempDir::new().unwrap();
    let tokens = open(folder.path(), &Clock::default());
    let token = tokens.issue("ada", "user", "s1").unwrap().token;
    rusqlite::Connection::open(folder.path().join("sessions.db")).unwrap().execute_batch("DROP TABLE ended").unwrap();
    assert!(matches!(tokens.revoke("s1").await, Err(RevokeError::Unavailable(_))));
    assert!(tokens.verify(&token).is_none());
}
