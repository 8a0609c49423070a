//! POST /auth/register and /internal/logins: create a login and a profile, both or neither.

use super::*;
use crate::test_host::{User, hasher_is_busy, meanwhile, wait_ms};

fn state_of(database: &Connection, username: &str) -> Option<String> {
    let mut statement = database.prepare("SELECT state FROM logins WHERE username = $1").unwrap();
    statement.query_map([username], |row| row.get(0)).unwrap().next().map(Result::unwrap)
}

fn register_with(body: JsonValue) -> TestResponse {
    post("/auth/register", body).send()
}

#[test]
fn a_registration_makes_a_login_and_a_profile() {
    install(&SERVICE);
    let answer =
        register_with(json!({ "username": "Zoë", "password": PASSWORD, "email": "zoe@example.com", "role": "admin" }));
    assert_eq!((answer.status, &answer.body["data"]), (201, &json!({ "user_id": 2, "username": "Zoë" })));
    assert!(answer.body["message"].is_string());
    assert_eq!(profiles(), ["admin", "Zoë"]);
    let client = Client::log_in("Zoë", PASSWORD);
    assert!(client.access_token.starts_with("Zoë user "));
    let (_, profile) = peer::call_user(Method::Get, "/users/2", None);
    assert_eq!(profile["data"]["email"], "zoe@example.com");
}

#[test]
fn a_registration_needs_credentials() {
    install(&SERVICE);
    for body in [
        json!({}),
        json!({ "username": "bob" }),
        json!({ "username": "", "password": PASSWORD }),
        json!({ "username": "bob", "password": 12_345_678 }),
        json!("bob"),
    ] {
        assert_eq!(register_with(body).outcome(), (400, "MISSING_CREDENTIALS"));
    }
    let wrong_too = json!({ "username": "ada", "email": "nowhere" });
    assert_eq!(
        register_with(wrong_too).outcome(),
        (400, "MISSING_CREDENTIALS"),
        "they are reported before a wrong address"
    );
}

#[test]
fn a_refused_registration_creates_nothing() {
    let database = install(&SERVICE);
    for body in [
        json!({ "username": "bob", "password": "1234567" }),
        json!({ "username": "bob", "password": "password1" }),
        json!({ "username": "bobby-tables", "password": "Bobby-Tables" }),
        json!({ "username": "bob", "password": "x".repeat(1025) }),
        json!({ "username": " bob", "password": PASSWORD }),
        json!({ "username": "x".repeat(151), "password": PASSWORD }),
        json!({ "username": "bo\u{7}b", "password": PASSWORD }),
        json!({ "username": "bob", "password": PASSWORD, "email": "nowhere" }),
        json!({ "username": "bob", "password": PASSWORD, "email": "" }),
        json!({ "username": "bob", "password": PASSWORD, "email": "bob@example..com" }),
        json!({ "username": "bob", "password": PASSWORD, "email": 7 }),
        json!({ "username": "bob", "password": "e\u{301}".repeat(7) }),
        json!({ "username": "\u{430}dmin", "password": PASSWORD }),
    ] {
        assert_eq!(register_with(body.clone()).outcome(), (400, "CREATION_FAILED"), "{body}");
    }
    assert_eq!(count(&database, "logins"), 1);
    assert_eq!(profiles(), ["admin"]);
}

#[test]
fn an_old_account_with_mixed_scripts_still_logs_in() {
    let database = install(&SERVICE);
    register("bob");
    let renamed = "UPDATE logins SET username = 'B\u{43e}b', name_key = 'b\u{43e}b' WHERE username = 'bob'";
    database.execute(renamed, []).unwrap();
    assert!(Client::log_in("b\u{43e}B", PASSWORD).refreshed().has_access());
    assert_eq!(log_in("bob", PASSWORD).status, 401);
}

#[test]
fn a_name_is_taken_in_all_its_spellings() {
    install(&SERVICE);
    assert_eq!(register("Zoë").status, 201);
    for name in ["Zoë", "zoë", "ZOE\u{308}", "admin", "Admin"] {
        assert_eq!(register(name).outcome(), (400, "CREATION_FAILED"), "{name}");
    }
    assert_eq!(profiles(), ["admin", "Zoë"]);
}

#[test]
fn one_of_two_concurrent_registrations_gets_the_name() {
    let database = install(&SERVICE);
    meanwhile(|| assert_eq!(register("Bob").outcome(), (400, "CREATION_FAILED")));
    assert_eq!(register("bob").status, 201);
    assert_eq!((count(&database, "logins"), profiles().len()), (2, 2));
}

#[test]
fn a_claim_gives_no_access() {
    install(&SERVICE);
    meanwhile(|| assert_eq!(log_in("bob", PASSWORD).outcome(), (401, "INVALID_CREDENTIALS")));
    assert_eq!(register("bob").status, 201);
}

#[test]
fn a_name_of_a_profile_without_login_is_taken() {
    let database = install(&SERVICE);
    peer::call_user(Method::Post, "/users", Some(&json!({ "username": "Bob" })));
    assert_eq!(register("bob").outcome(), (400, "CREATION_FAILED"));
    assert_eq!(state_of(&database, "bob"), None);
    assert_eq!(profiles(), ["admin", "Bob"]);
}

#[test]
fn a_failed_hash_leaves_nothing_behind() {
    let database = install(&SERVICE);
    hasher_is_busy(true);
    assert_eq!(register("bob").outcome(), (503, "SERVICE_BUSY"));
    assert_eq!(state_of(&database, "bob"), None);
    hasher_is_busy(false);
    assert_eq!(register("bob").status, 201);
}

#[test]
fn a_registration_can_be_retried_at_once_after_user_failed() {
    for trouble in [User::IsAway, User::LosesItsResponse, User::Fails(500), User::Fails(503)] {
        let database = install(&SERVICE);
        peer::next(trouble);
        assert_eq!(register("bob").status, 503, "{trouble:?}");
        assert_eq!(state_of(&database, "bob").as_deref(), Some("pending"));
        assert_eq!(log_in("bob", PASSWORD).outcome(), (401, "INVALID_CREDENTIALS"));
        assert_eq!(register("bob").status, 201, "{trouble:?}");
        Client::log_in("bob", PASSWORD);
        assert_eq!(profiles(), ["admin", "bob"]);
        end_everything();
    }
}

/// Deletes bob's login and profile, for the next round.
fn end_everything() {
    assert_eq!(end_login("bob").status, 200);
    peer::forget_user();
}

#[test]
fn an_abandoned_claim_is_taken_over_with_its_profile() {
    let database = install(&SERVICE);
    peer::next(User::LosesItsResponse);
    let lost = register_with(json!({ "username": "bob", "password": PASSWORD, "email": "lost@example.com" }));
    assert_eq!(lost.status, 503);
    // Simulate a service that crashed before it could release the claim.
    database.execute("UPDATE logins SET claimed_at = 1700000000000 WHERE state = 'pending'", []).unwrap();
    wait_ms(59_999);
    assert_eq!(register("bob").outcome(), (400, "CREATION_FAILED"));
    wait_ms(1);
    let found =
        register_with(json!({ "username": "Bob", "password": "another good one", "email": "found@example.com" }));
    assert_eq!((found.status, &found.body["data"]), (201, &json!({ "user_id": 2, "username": "Bob" })));
    assert_eq!(log_in("bob", PASSWORD).status, 401);
    Client::log_in("bob", "another good one");
    let (_, profile) = peer::call_user(Method::Get, "/users/2", None);
    assert_eq!(profile["data"]["email"], "found@example.com");
}

#[test]
fn a_registration_fails_if_its_login_is_deleted_meanwhile() {
    let database = install(&SERVICE);
    meanwhile(|| assert_eq!(end_login("bob").status, 200));
    assert_eq!(register("bob").outcome(), (400, "CREATION_FAILED"));
    assert_eq!(state_of(&database, "bob"), None);
}

#[test]
fn a_login_created_for_user_gets_its_profile() {
    install(&SERVICE);
    let profile = json!({ "email": null, "first_name": "Bob", "phone": "1" });
    let body = json!({ "username": "bob", "password": PASSWORD, "profile": profile });
    let answer = post("/internal/logins", body).by_service("user").send();
    let data = &answer.body["data"];
    assert_eq!((answer.status, &data["id"], &data["username"]), (201, &2.into(), &"bob".into()));
    assert_eq!((&data["first_name"], &data["email"]), (&"Bob".into(), &JsonValue::Null));
    Client::log_in("bob", PASSWORD);
}

#[test]
fn a_login_created_for_user_obeys_the_policy() {
    install(&SERVICE);
    for (username, password) in [("bob", ""), ("bob", "password"), ("admin", PASSWORD), ("", PASSWORD)] {
        let body = json!({ "username": username, "password": password, "profile": {} });
        assert_eq!(post("/internal/logins", body).by_service("user").send().outcome(), (400, "CREATION_FAILED"));
    }
}
