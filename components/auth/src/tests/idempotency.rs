//! POST /auth/register with an Idempotency-Key: retries create one account.

use super::*;
use crate::test_host::{User, hasher_is_busy, meanwhile, password_checks, set_back_ms, wait_ms};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn with_key(key: impl AsRef<[u8]>, body: JsonValue) -> TestResponse {
    post("/auth/register", body).with_header("idempotency-key", key).send()
}

fn bob(password: &str) -> JsonValue {
    json!({ "username": "bob", "password": password, "email": "bob@example.com" })
}

fn is_replayed(answer: &TestResponse) -> bool {
    answer.headers.iter().any(|(name, value)| *name == "idempotency-replayed" && value == "true")
}

#[test]
fn a_retry_gets_the_first_response_and_creates_nothing() {
    let database = install(&SERVICE);
    let first = with_key("\"k 1\"", bob(PASSWORD));
    assert_eq!((first.status, is_replayed(&first)), (201, false));
    let again = with_key("\"k 1\"", bob(PASSWORD));
    assert_eq!((again.status, is_replayed(&again), &again.text), (201, true, &first.text));
    assert_eq!((count(&database, "logins"), profiles().len()), (2, 2));
    assert_eq!(with_key("another", bob(PASSWORD)).outcome(), (400, "CREATION_FAILED"));
}

#[test]
fn a_key_of_another_registration_is_refused() {
    let database = install(&SERVICE);
    assert_eq!(with_key("k", bob(PASSWORD)).status, 201);
    for body in [
        bob("another good one"),
        json!({ "username": "bob", "password": PASSWORD }),
        json!({ "username": "bob", "password": PASSWORD, "email": "eve@example.com" }),
        json!({ "username": "Bob", "password": PASSWORD, "email": "bob@example.com" }),
        json!({ "username": "eve", "password": PASSWORD }),
    ] {
        assert_eq!(with_key("k", body.clone()).outcome(), (422, "IDEMPOTENCY_KEY_REUSED"), "{body}");
    }
    assert_eq!(count(&database, "logins"), 2);
}

#[test]
fn a_malformed_key_is_refused() {
    let database = install(&SERVICE);
    for bad in ["", "\"\"", "two words", "\u{e9}", &"x".repeat(256)] {
        assert_eq!(with_key(bad, bob(PASSWORD)).outcome(), (400, "INVALID_IDEMPOTENCY_KEY"), "{bad:?}");
    }
    assert_eq!(with_key(b"k\xff", bob(PASSWORD)).outcome(), (400, "INVALID_IDEMPOTENCY_KEY"), "no UTF-8");
    for (one, other) in [("k", "k"), ("k", "l"), ("k", ""), ("", "k")] {
        let two = post("/auth/register", bob(PASSWORD)).with_header("idempotency-key", one);
        let answer = two.with_header("idempotency-key", other).send();
        assert_eq!(answer.outcome(), (400, "INVALID_IDEMPOTENCY_KEY"), "two header fields: {one:?} and {other:?}");
    }
    assert_eq!(count(&database, "logins"), 1);
}

#[test]
fn a_key_from_the_future_is_kept_for_one_day() {
    install(&SERVICE);
    assert_eq!(with_key("k", bob(PASSWORD)).status, 201);
    set_back_ms(DAY_MS - 1);
    assert!(is_replayed(&with_key("k", bob(PASSWORD))));
    set_back_ms(1);
    assert_eq!(with_key("k", json!({ "username": "eve", "password": PASSWORD })).status, 201);
}

#[test]
fn concurrent_requests_are_told_apart_by_their_keys() {
    install(&SERVICE);
    meanwhile(|| {
        let early = with_key("k", bob(PASSWORD));
        assert_eq!(early.outcome(), (409, "IDEMPOTENCY_KEY_IN_USE"));
        assert_eq!(early.headers, [("retry-after", "1".to_owned())]);
        assert_eq!(with_key("k", json!({ "username": "eve", "password": PASSWORD })).outcome().0, 422);
        assert_eq!(with_key("another", bob(PASSWORD)).outcome(), (400, "CREATION_FAILED"));
    });
    assert_eq!(with_key("k", bob(PASSWORD)).status, 201);
    assert!(is_replayed(&with_key("k", bob(PASSWORD))));
}

#[test]
fn a_retry_completes_a_registration_that_failed_halfway() {
    for (trouble, now_ms) in [(User::IsAway, 1_700_000_000_000_i64), (User::LosesItsResponse, 1_700_000_060_000)] {
        let database = install(&SERVICE);
        peer::forget_user();
        peer::next(trouble);
        assert_eq!(with_key("k", bob(PASSWORD)).status, 503, "{trouble:?}");
        // Simulate a host that crashed before it could release the claim.
        database.execute("UPDATE logins SET claimed_at = $1 WHERE state = 'pending'", [now_ms]).unwrap();
        assert_eq!(with_key("k", bob(PASSWORD)).outcome(), (409, "IDEMPOTENCY_KEY_IN_USE"), "{trouble:?}");
        wait_ms(60_000);
        let made = with_key("k", bob(PASSWORD));
        assert_eq!((made.status, is_replayed(&made)), (201, false), "{trouble:?}");
        assert_eq!(with_key("k", bob(PASSWORD)).text, made.text);
        assert_eq!(profiles(), ["admin", "bob"]);
        Client::log_in("bob", PASSWORD);
    }
}

#[test]
fn the_key_of_a_refused_registration_can_be_used_again() {
    let database = install(&SERVICE);
    peer::call_user(Method::Post, "/users", Some(&json!({ "username": "bob" })));
    assert_eq!(with_key("k", bob(PASSWORD)).outcome(), (400, "CREATION_FAILED"));
    assert_eq!(with_key("l", bob("short")).outcome(), (400, "CREATION_FAILED"));
    hasher_is_busy(true);
    assert_eq!(with_key("l", json!({ "username": "eve", "password": PASSWORD })).outcome(), (503, "SERVICE_BUSY"));
    hasher_is_busy(false);
    assert_eq!(count(&database, "answers"), 0);
    assert_eq!(with_key("k", json!({ "username": "eve", "password": PASSWORD })).status, 201);
}

#[test]
fn taking_over_a_claim_replaces_its_key() {
    install(&SERVICE);
    peer::next(User::LosesItsResponse);
    assert_eq!(with_key("k", bob(PASSWORD)).status, 503);
    assert_eq!(with_key("l", bob("another good one")).status, 201);
    assert_eq!(with_key("k", bob(PASSWORD)).outcome(), (400, "CREATION_FAILED"));
    assert!(is_replayed(&with_key("l", bob("another good one"))));
}

#[test]
fn wrong_passwords_in_retries_count_as_login_attempts() {
    install(&SERVICE);
    assert_eq!(with_key("k", bob(PASSWORD)).status, 201);
    let before = password_checks();
    for guess in 0..15 {
        let expected = if guess < 10 { (422, "IDEMPOTENCY_KEY_REUSED") } else { (429, "TOO_MANY_ATTEMPTS") };
        assert_eq!(with_key("k", bob(&format!("guess number {guess}"))).outcome(), expected, "{guess}");
    }
    assert_eq!(password_checks() - before, 10);
    assert_eq!(log_in("bob", PASSWORD).outcome(), (429, "TOO_MANY_ATTEMPTS"));
    wait_ms(60_000);
    assert!(is_replayed(&with_key("k", bob(PASSWORD))));
}

#[test]
fn nothing_stored_for_a_key_depends_on_the_password() {
    let kept = |password: &str| {
        let database = install(&SERVICE);
        peer::forget_user();
        assert_eq!(with_key("k", bob(password)).status, 201);
        let sql = "SELECT fingerprint || answer FROM answers";
        database.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap()
    };
    assert_eq!(kept(PASSWORD), kept("another good one"));
}

#[test]
fn a_response_is_deleted_after_a_day_and_with_its_login() {
    let database = install(&SERVICE);
    assert_eq!(with_key("k", bob(PASSWORD)).status, 201);
    wait_ms(DAY_MS);
    assert_eq!(
        with_key("k", bob(PASSWORD)).outcome(),
        (400, "CREATION_FAILED"),
        "the expired key no longer identifies the registration"
    );
    assert_eq!(with_key("k", json!({ "username": "eve", "password": PASSWORD })).status, 201);
    assert_eq!(count(&database, "answers"), 1);
    end_login("eve");
    assert_eq!(count(&database, "answers"), 0);
}
