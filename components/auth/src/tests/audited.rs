//! What the audit log is told.

use super::*;
use crate::host::Event::{
    self, AuthnLoginFail as Fail, AuthnLoginLock as Lock, AuthnLoginSuccess as Success, AuthnPasswordChange as Change,
    AuthnTokenReuse as Reuse,
};
use crate::stand_in::{hasher_is_busy, meanwhile, told, wait_ms};

fn told_of(expected: &[(Event, &str)]) {
    let told = told();
    let told: Vec<(Event, &str)> = told.iter().map(|(event, subject)| (*event, &**subject)).collect();
    assert_eq!(told, expected);
}

#[test]
fn a_login_and_a_failed_one_are_told_of_whether_or_not_there_is_such_a_name() {
    install(&SERVICE);
    Client::log_in("ADMIN", "admin");
    told_of(&[(Success, "admin")]);
    log_in("admin", "wrong");
    log_in("\n{\"fake\":1}", "wrong");
    log_in("admin", &"x".repeat(5000));
    told_of(&[(Fail, "admin"), (Fail, "\n{\"fake\":1}"), (Fail, "admin")]);
}

#[test]
fn a_lock_is_told_of_when_it_begins_and_what_is_refused_meanwhile_is_not() {
    install(&SERVICE);
    for name in ["admin", "nobody"] {
        for _ in 0..15 {
            log_in(name, "wrong");
        }
        told_of(&[[(Fail, name); 10].as_slice(), &[(Lock, name)]].concat());
    }
    wait_ms(60_000);
    for _ in 0..9 {
        log_in("admin", "wrong");
    }
    told();
    Client::log_in("admin", "admin");
    told_of(&[(Success, "admin")]);
}

#[test]
fn a_lock_of_a_network_is_told_of_without_a_name_and_beside_that_of_an_account() {
    install(&SERVICE);
    let from_there = |name: &str| log_in_from("192.0.2.7", name, "wrong");
    for number in 0..90 {
        from_there(&format!("guess{number}"));
    }
    told();
    (0..10).for_each(|_| drop(from_there("admin")));
    from_there("another");
    told_of(&[[(Fail, "admin"); 10].as_slice(), &[(Lock, "admin"), (Lock, "")]].concat());
}

#[test]
fn what_was_not_evaluated_or_lacks_something_is_not_told_of() {
    install(&SERVICE);
    hasher_is_busy(true);
    log_in("admin", "admin");
    hasher_is_busy(false);
    post("/auth/login", json!({})).send();
    told_of(&[]);
}

#[test]
fn a_login_that_ended_while_its_password_was_checked_is_a_failure() {
    install(&SERVICE);
    register("bob");
    meanwhile(|| assert_eq!(end_login("bob").status, 200));
    log_in("bob", PASSWORD);
    told_of(&[(Fail, "bob")]);
}

#[test]
fn a_used_token_that_comes_back_late_is_told_of_and_a_race_is_not() {
    install(&SERVICE);
    let first = Client::log_in("admin", "admin");
    let second = first.refreshed();
    refresh(&first.refresh_token);
    told_of(&[(Success, "admin")]);
    second.refreshed();
    refresh(&first.refresh_token);
    refresh(&first.refresh_token);
    told_of(&[(Reuse, "admin")]);
}

#[test]
fn a_new_password_of_the_operator_is_told_of_and_one_that_is_refused_is_not() {
    install(&SERVICE);
    put("/internal/operator", json!({ "password": "short" })).send();
    told_of(&[]);
    put("/internal/operator", json!({ "password": "the operator's own" })).send();
    told_of(&[(Change, "admin")]);
}

#[test]
fn a_user_who_changes_the_password_is_told_of_and_a_wrong_current_one_is_a_failed_login() {
    install(&SERVICE);
    let admin = Client::log_in("admin", "admin");
    told();
    admin.change_password("wrong", PASSWORD);
    told_of(&[(Fail, "admin")]);
    admin.change_password("admin", "short");
    told_of(&[]);
    assert_eq!(admin.change_password("admin", PASSWORD).status, 200);
    told_of(&[(Change, "admin")]);
}

#[test]
fn a_password_that_is_guessed_by_a_key_is_told_of_like_one_at_a_login() {
    install(&SERVICE);
    let with_key = |password: &str| {
        let body = json!({ "username": "bob", "password": password });
        post("/auth/register", body).with_header("idempotency-key", "k").send()
    };
    with_key(PASSWORD);
    for _ in 0..12 {
        with_key("another good one");
    }
    told_of(&[[(Fail, "bob"); 10].as_slice(), &[(Lock, "bob")]].concat());
}
