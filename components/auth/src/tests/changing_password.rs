//! PUT /auth/password

use super::*;
use crate::test_host::{hasher_is_busy, meanwhile, password_checks, set_minimum_length, tokens_are_unavailable};

const NEW: &str = "another good one";

impl Client {
    fn put_password(&self, body: JsonValue) -> kit::native::TestRequest {
        put("/auth/password", body).by(&self.username, "user").with_header("x-session-id", self.session())
    }

    pub(super) fn change_password(&self, current: &str, new: &str) -> TestResponse {
        self.put_password(json!({ "current": current, "new": new })).send()
    }
}

fn bob() -> Client {
    assert_eq!(register("bob").status, 201);
    Client::log_in("bob", PASSWORD)
}

#[test]
fn a_change_replaces_the_password_and_ends_other_sessions() {
    install(&SERVICE);
    let here = bob();
    let others = [Client::log_in("bob", PASSWORD), Client::log_in("bob", PASSWORD)];
    let admin = Client::log_in("admin", "admin");
    let answer = here.change_password(PASSWORD, NEW);
    assert_eq!((answer.status, answer.body.get("data")), (200, None), "{}", answer.text);
    assert!(answer.body["message"].is_string());
    assert!(here.has_access() && here.refreshed().has_access() && admin.refreshed().has_access());
    for other in &others {
        assert!(!other.has_access());
        assert_eq!(refresh(&other.refresh_token).outcome(), (401, "INVALID_TOKEN"));
    }
    assert_eq!(log_in("bob", PASSWORD).outcome(), (401, "INVALID_CREDENTIALS"));
    Client::log_in("bob", NEW);
}

#[test]
fn a_body_without_both_passwords_is_missing_credentials() {
    install(&SERVICE);
    let bob = bob();
    let before = password_checks();
    for body in [
        json!({}),
        json!({ "current": PASSWORD }),
        json!({ "new": NEW }),
        json!({ "current": "", "new": NEW }),
        json!({ "current": PASSWORD, "new": "" }),
        json!({ "current": PASSWORD, "new": null }),
        json!({ "current": 7, "new": NEW }),
        json!([]),
    ] {
        assert_eq!(bob.put_password(body.clone()).send().outcome(), (400, "MISSING_CREDENTIALS"), "{body}");
    }
    let no_json = bob.put_password(json!({})).with_body("text/plain", b"current=x").send();
    assert_eq!(no_json.outcome(), (400, "MISSING_CREDENTIALS"));
    assert_eq!(password_checks(), before);
}

#[test]
fn a_refused_new_password_changes_nothing() {
    install(&SERVICE);
    let (bob, other) = (bob(), Client::log_in("bob", PASSWORD));
    for new in ["short", "password", "comptoir", &"x".repeat(1025), &"e\u{301}".repeat(7)] {
        assert_eq!(bob.change_password(PASSWORD, new).outcome(), (400, "CREATION_FAILED"), "{new}");
    }
    set_minimum_length(17);
    assert_eq!(bob.change_password(PASSWORD, NEW).outcome(), (400, "CREATION_FAILED"));
    assert!(other.has_access());
    Client::log_in("bob", PASSWORD);
}

#[test]
fn wrong_current_passwords_count_as_login_attempts() {
    install(&SERVICE);
    let bob = bob();
    for _ in 0..5 {
        assert_eq!(bob.change_password("wrong", NEW).outcome(), (401, "INVALID_CREDENTIALS"));
        assert_eq!(log_in("bob", "wrong").status, 401);
    }
    let before = password_checks();
    let refused = bob.change_password(PASSWORD, NEW);
    assert_eq!(refused.outcome(), (429, "TOO_MANY_ATTEMPTS"));
    assert!(refused.headers.iter().any(|(name, value)| *name == "retry-after" && value == "60"));
    assert_eq!(log_in("bob", PASSWORD).status, 429);
    assert_eq!(password_checks(), before);
    assert!(bob.has_access());
}

#[test]
fn both_encodings_are_accepted_and_the_composed_one_is_hashed() {
    let database = install(&SERVICE);
    let bob = bob();
    assert_eq!(bob.change_password(PASSWORD, "cre\u{300}me caramel").status, 200);
    let sql = "SELECT password_hash FROM logins WHERE username = 'bob'";
    let hash: String = database.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(hash, "new crème caramel");
    assert_eq!(bob.change_password("crème caramel", NEW).status, 200);
}

#[test]
fn changing_the_seeded_password_ends_development_mode() {
    install(&SERVICE);
    assert_eq!(Client::log_in("admin", "admin").change_password("admin", NEW).status, 200);
    assert_eq!(get("/internal/operator").by_service("user").send().body["data"]["development"], false);
}

#[test]
fn one_of_two_concurrent_changes_succeeds() {
    install(&SERVICE);
    let (here, there) = (bob(), Client::log_in("bob", PASSWORD));
    meanwhile(move || assert_eq!(there.change_password(PASSWORD, NEW).status, 200));
    assert_eq!(here.change_password(PASSWORD, "a third good one").outcome(), (401, "INVALID_CREDENTIALS"));
    Client::log_in("bob", NEW);
}

#[test]
fn a_concurrent_login_with_the_old_password_fails() {
    install(&SERVICE);
    let bob = bob();
    meanwhile(move || assert_eq!(bob.change_password(PASSWORD, NEW).status, 200));
    assert_eq!(log_in("bob", PASSWORD).outcome(), (401, "INVALID_CREDENTIALS"));
}

#[test]
fn a_session_that_ended_meanwhile_changes_nothing() {
    install(&SERVICE);
    let bob = bob();
    let ended = bob.put_password(json!({ "current": PASSWORD, "new": NEW })).whose_session_ended().send();
    assert_eq!(ended.outcome(), (401, "INVALID_TOKEN"));
    Client::log_in("bob", PASSWORD);
}

#[test]
fn an_incomplete_change_is_reported() {
    install(&SERVICE);
    let (here, there) = (bob(), Client::log_in("bob", PASSWORD));
    hasher_is_busy(true);
    assert_eq!(here.change_password(PASSWORD, NEW).outcome(), (503, "SERVICE_BUSY"));
    hasher_is_busy(false);
    Client::log_in("bob", PASSWORD);
    tokens_are_unavailable(true);
    let unfinished = here.change_password(PASSWORD, NEW);
    assert_eq!(unfinished.outcome(), (503, "SERVICE_BUSY"));
    assert!(unfinished.body["error"]["message"].as_str().unwrap().contains("scope=others"), "{}", unfinished.text);
    tokens_are_unavailable(false);
    assert!(there.has_access());
    Client::log_in("bob", NEW);
}
