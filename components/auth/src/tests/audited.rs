//! Events in the host's audit log.

use super::*;
use crate::host::Event::{
    self, AuthnLoginFail as Fail, AuthnLoginLock as Lock, AuthnLoginSuccess as Success, AuthnPasswordChange as Change,
    AuthnTokenReuse as Reuse,
};
use crate::test_host::{audit_events, hasher_is_busy, meanwhile, wait_ms};

fn assert_logged(expected: &[(Event, &str)]) {
    let told = audit_events();
    let told: Vec<(Event, &str)> = told.iter().map(|(event, subject)| (*event, &**subject)).collect();
    assert_eq!(told, expected);
}

#[test]
fn logins_and_failures_are_logged_for_any_name() {
    install(&SERVICE);
    Client::log_in("ADMIN", "admin");
    assert_logged(&[(Success, "admin")]);
    log_in("admin", "wrong");
    log_in("\n{\"fake\":1}", "wrong");
    log_in("admin", &"x".repeat(5000));
    assert_logged(&[(Fail, "admin"), (Fail, "\n{\"fake\":1}"), (Fail, "admin")]);
}

#[test]
fn a_lock_is_logged_once_when_it_begins() {
    install(&SERVICE);
    for name in ["admin", "nobody"] {
        for _ in 0..15 {
            log_in(name, "wrong");
        }
        assert_logged(&[[(Fail, name); 10].as_slice(), &[(Lock, name)]].concat());
    }
    wait_ms(60_000);
    for _ in 0..9 {
        log_in("admin", "wrong");
    }
    audit_events();
    Client::log_in("admin", "admin");
    assert_logged(&[(Success, "admin")]);
}

#[test]
fn a_network_lock_is_logged_without_a_username() {
    install(&SERVICE);
    let from_there = |name: &str| log_in_from("192.0.2.7", name, "wrong");
    for number in 0..90 {
        from_there(&format!("guess{number}"));
    }
    audit_events();
    (0..10).for_each(|_| drop(from_there("admin")));
    from_there("another");
    assert_logged(&[[(Fail, "admin"); 10].as_slice(), &[(Lock, "admin"), (Lock, "")]].concat());
}

#[test]
fn an_attempt_without_a_password_check_is_not_logged() {
    install(&SERVICE);
    hasher_is_busy(true);
    log_in("admin", "admin");
    hasher_is_busy(false);
    post("/auth/login", json!({})).send();
    assert_logged(&[]);
}

#[test]
fn a_login_deleted_during_the_password_check_is_a_failure() {
    install(&SERVICE);
    register("bob");
    meanwhile(|| assert_eq!(end_login("bob").status, 200));
    log_in("bob", PASSWORD);
    assert_logged(&[(Fail, "bob")]);
}

#[test]
fn token_reuse_is_logged_and_a_race_is_not() {
    install(&SERVICE);
    let first = Client::log_in("admin", "admin");
    let second = first.refreshed();
    refresh(&first.refresh_token);
    assert_logged(&[(Success, "admin")]);
    second.refreshed();
    refresh(&first.refresh_token);
    refresh(&first.refresh_token);
    assert_logged(&[(Reuse, "admin")]);
}

#[test]
fn the_operators_new_password_is_logged_unless_refused() {
    install(&SERVICE);
    put("/internal/operator", json!({ "password": "short" })).by_service("user").send();
    assert_logged(&[]);
    put("/internal/operator", json!({ "password": "the operator's own" })).by_service("user").send();
    assert_logged(&[(Change, "admin")]);
}

#[test]
fn a_password_change_is_logged_and_a_wrong_one_is_a_failed_login() {
    install(&SERVICE);
    let admin = Client::log_in("admin", "admin");
    audit_events();
    admin.change_password("wrong", PASSWORD);
    assert_logged(&[(Fail, "admin")]);
    admin.change_password("admin", "short");
    assert_logged(&[]);
    assert_eq!(admin.change_password("admin", PASSWORD).status, 200);
    assert_logged(&[(Change, "admin")]);
}

#[test]
fn a_wrong_password_in_a_retry_is_logged_as_a_failed_login() {
    install(&SERVICE);
    let with_key = |password: &str| {
        let body = json!({ "username": "bob", "password": password });
        post("/auth/register", body).with_header("idempotency-key", "k").send()
    };
    with_key(PASSWORD);
    for _ in 0..12 {
        with_key("another good one");
    }
    assert_logged(&[[(Fail, "bob"); 10].as_slice(), &[(Lock, "bob")]].concat());
}
