//! The operator's login, and the deletion of logins.

use super::*;
use crate::test_host::{User, meanwhile, set_minimum_length, tokens_are_unavailable};

fn operator() -> JsonValue {
    get("/internal/operator").by_service("user").send().body["data"].clone()
}

fn set_password(password: &str) -> TestResponse {
    put("/internal/operator", json!({ "password": password })).by_service("user").send()
}

#[test]
fn the_operator_is_seeded_until_the_password_is_replaced() {
    install(&SERVICE);
    assert_eq!(operator(), json!({ "username": "admin", "development": true }));
    let before = Client::log_in("admin", "admin");
    assert_eq!(operator()["development"], true);
    let answer = set_password(PASSWORD);
    assert_eq!((answer.status, &answer.body["data"]["development"]), (200, &false.into()));
    assert_eq!(operator(), json!({ "username": "admin", "development": false }));
    assert!(!before.has_access());
    assert_eq!(refresh(&before.refresh_token).status, 401);
    assert_eq!(log_in("admin", "admin").status, 401);
    let after = Client::log_in("admin", PASSWORD);
    assert!(after.access_token.starts_with("admin admin "));
}

#[test]
fn the_operators_password_obeys_the_policy() {
    install(&SERVICE);
    for password in ["admin", "adminadmin", "password"] {
        assert_eq!(set_password(password).outcome(), (400, "PASSWORD_REFUSED"));
    }
    for body in [json!({}), json!({ "password": "" }), json!({ "password": 7 })] {
        assert_eq!(put("/internal/operator", body).by_service("user").send().outcome(), (400, "MISSING_PASSWORD"));
    }
    assert_eq!(operator()["development"], true);
}

#[test]
fn new_passwords_have_the_operators_minimum_length() {
    install(&SERVICE);
    set_minimum_length(15);
    let of = |length: usize| "x7 y".repeat(5)[..length].to_owned();
    let register = |length| post("/auth/register", json!({ "username": "bob", "password": of(length) })).send();
    assert_eq!(set_password(&of(14)).outcome(), (400, "PASSWORD_REFUSED"));
    assert_eq!(register(14).outcome(), (400, "CREATION_FAILED"));
    assert_eq!((set_password(&of(15)).status, register(15).status), (200, 201));
    set_minimum_length(16);
    Client::log_in("bob", &of(15));
}

#[test]
fn a_concurrent_login_with_the_old_password_fails() {
    let database = install(&SERVICE);
    meanwhile(|| assert_eq!(set_password(PASSWORD).status, 200));
    assert_eq!(log_in("admin", "admin").outcome(), (401, "INVALID_CREDENTIALS"));
    assert_eq!(count(&database, "sessions"), 0);
}

#[test]
fn a_new_password_restores_a_deleted_operator() {
    let database = install(&SERVICE);
    register("bob");
    promote(&database, "bob");
    assert_eq!(end_login("admin").status, 200);
    assert_eq!(operator()["development"], false);
    assert_eq!(register("admin").outcome(), (400, "CREATION_FAILED"));
    assert_eq!(set_password(PASSWORD).status, 200);
    assert!(Client::log_in("admin", PASSWORD).access_token.starts_with("admin admin "));
}

#[test]
fn a_new_password_restores_the_profile_if_it_is_missing() {
    install(&SERVICE);
    let profile = || peer::call_user(Method::Get, "/users/profile", None).1["data"].clone();
    let seeded = profile();
    assert_eq!(set_password(PASSWORD).status, 200);
    assert_eq!(profile(), seeded);
    peer::lose_profiles();
    assert_eq!(profiles(), [""; 0]);
    for trouble in [User::IsAway, User::Fails(500)] {
        peer::next(trouble);
        assert_eq!(set_password(PASSWORD).status, 503, "{trouble:?}: nobody learns that the profile is missing");
    }
    assert_eq!(set_password(PASSWORD).status, 200);
    for member in ["username", "email", "first_name", "last_name", "phone", "address"] {
        assert_eq!(profile()[member], seeded[member], "{member}");
    }
}

#[test]
fn a_profile_with_the_operators_name_is_reported() {
    install(&SERVICE);
    peer::next(User::Fails(409));
    let answer = set_password(PASSWORD);
    assert_eq!(answer.outcome(), (409, "USERNAME_TAKEN"));
    Client::log_in("admin", PASSWORD);
}

#[test]
fn the_last_administrator_cannot_be_deleted() {
    let database = install(&SERVICE);
    for name in ["bob", "eve"] {
        register(name);
    }
    let admin = Client::log_in("admin", "admin");
    assert_eq!(end_login("admin").outcome(), (409, "LAST_ADMIN"));
    assert!(admin.refreshed().has_access());

    // An administrator whose login is being deleted cannot log in.
    promote(&database, "eve");
    Client::log_in("eve", PASSWORD);
    tokens_are_unavailable(true);
    assert_eq!(end_login("eve").status, 503);
    tokens_are_unavailable(false);
    assert_eq!(end_login("admin").outcome(), (409, "LAST_ADMIN"));
    assert_eq!(end_login("eve").status, 200, "the second call completes the deletion");

    promote(&database, "bob");
    assert_eq!(end_login("admin").status, 200);
    assert_eq!(end_login("bob").outcome(), (409, "LAST_ADMIN"));
    Client::log_in("bob", PASSWORD);
}

#[test]
fn deleting_a_login_ends_its_sessions_and_frees_its_name() {
    let database = install(&SERVICE);
    register("bob");
    let clients = [Client::log_in("bob", PASSWORD), Client::log_in("bob", PASSWORD)];
    let admin = Client::log_in("admin", "admin");
    for _ in 0..2 {
        assert_eq!(end_login("bob").status, 200);
    }
    assert!(!clients.iter().any(Client::has_access));
    assert_eq!(refresh(&clients[0].refresh_token).status, 401);
    assert_eq!(log_in("bob", PASSWORD).outcome(), (401, "INVALID_CREDENTIALS"));
    assert!(admin.has_access());
    for (table, rows) in [("logins", 1), ("sessions", 1), ("refresh_tokens", 1)] {
        assert_eq!(count(&database, table), rows, "{table}");
    }
}

#[test]
fn deleting_a_login_needs_its_exact_name() {
    install(&SERVICE);
    register("Bob / é");
    assert_eq!(end_login("bob / é").status, 200);
    Client::log_in("bob / é", PASSWORD);
    assert_eq!(end_login("Bob / é").status, 200);
    assert_eq!(log_in("bob / é", PASSWORD).status, 401);
    assert_eq!(delete("/internal/logins/%ff").by_service("user").send().status, 200);
}

#[test]
fn an_interrupted_deletion_can_be_completed() {
    let database = install(&SERVICE);
    register("bob");
    let client = Client::log_in("bob", PASSWORD);
    tokens_are_unavailable(true);
    assert_eq!(end_login("bob").status, 503);
    tokens_are_unavailable(false);
    assert_eq!(log_in("bob", PASSWORD).status, 401);
    assert_eq!(refresh(&client.refresh_token).status, 401);
    assert_eq!(register("bob").outcome(), (400, "CREATION_FAILED"));
    assert_eq!(end_login("bob").status, 200);
    assert!(!client.has_access());
    assert_eq!(count(&database, "logins"), 1);
}
