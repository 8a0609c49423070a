//! POST /auth/login and the throttle.

use super::*;
use crate::test_host::{hasher_is_busy, meanwhile, password_checks, set_back_ms, tokens_are_unavailable, wait_ms};

fn hash_of(database: &Connection, username: &str) -> String {
    let sql = "SELECT password_hash FROM logins WHERE username = $1";
    database.query_row(sql, [username], |row| row.get(0)).unwrap()
}

fn header<'a>(answer: &'a TestResponse, wanted: &str) -> Option<&'a str> {
    answer.headers.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.as_str())
}

fn retry_after(answer: &TestResponse) -> Option<&str> {
    header(answer, "retry-after")
}

const POLICY: Option<&str> = Some("\"login\";q=10;w=60, \"network\";q=100;w=900");

#[test]
fn the_seeded_operator_gets_a_token_pair() {
    install(&SERVICE);
    let answer = log_in("admin", "admin");
    let data = &answer.body["data"];
    assert_eq!((answer.status, &data["token_type"], &data["expires_in"]), (200, &"Bearer".into(), &3600.into()));
    assert_eq!(data["refresh_expires_at"], 1_700_000_000 + 30 * 24 * 3600);
    let refresh_token = data["refresh_token"].as_str().unwrap();
    assert_eq!((refresh_token.len(), refresh_token.split('.').count()), (22 + 1 + 22 + 1 + 43, 3));
    assert!(data["access_token"].as_str().unwrap().starts_with("admin admin "));
}

#[test]
fn absent_credentials_are_missing() {
    install(&SERVICE);
    for body in [
        json!({}),
        json!({ "username": "bob" }),
        json!({ "password": "x" }),
        json!({ "username": "", "password": "x" }),
        json!({ "username": "bob", "password": "" }),
        json!({ "username": "bob", "password": null }),
        json!({ "username": 7, "password": "x" }),
        json!({ "username": "bob", "password": ["x"] }),
        json!([]),
    ] {
        assert_eq!(post("/auth/login", body).send().outcome(), (400, "MISSING_CREDENTIALS"));
    }
    let no_json = post("/auth/login", json!({})).with_body("application/json", b"{").send();
    assert_eq!(no_json.outcome(), (400, "MISSING_CREDENTIALS"));
    assert_eq!(password_checks(), 0);
}

#[test]
fn a_wrong_password_and_an_unknown_name_look_the_same() {
    install(&SERVICE);
    register("bob");
    let wrong = log_in("bob", "wrong");
    let unknown = log_in("nobody", "wrong");
    let impossible = log_in(&"x".repeat(10_000), "wrong");
    let endless = log_in("bob", &"x".repeat(5_000));
    assert_eq!(wrong.outcome(), (401, "INVALID_CREDENTIALS"));
    for other in [unknown, impossible, endless] {
        assert_eq!((other.status, &other.text, &other.headers), (401, &wrong.text, &wrong.headers));
    }
    assert_eq!(password_checks(), 3);
}

#[test]
fn every_spelling_of_a_name_logs_in() {
    install(&SERVICE);
    register("Zoë");
    let client = Client::log_in("ZOE\u{308}", PASSWORD);
    assert_eq!(client.username, "Zoë");
}

#[test]
fn an_outdated_hash_is_replaced_at_the_first_login() {
    let database = install(&SERVICE);
    register("bob");
    database.execute("UPDATE logins SET password_hash = 'old x' WHERE username = 'bob'", []).unwrap();
    assert_eq!(log_in("bob", "wrong").status, 401);
    assert_eq!(hash_of(&database, "bob"), "old x");
    Client::log_in("bob", "x");
    assert_eq!(hash_of(&database, "bob"), "new x");
    Client::log_in("bob", "x");
}

/// One password in two encodings: composed (NFC) and decomposed (NFD).
const NFC: &str = "crème brûlée";
const NFD: &str = "cre\u{300}me bru\u{302}le\u{301}e";

#[test]
fn every_encoding_of_a_password_logs_in() {
    let database = install(&SERVICE);
    for (name, registered) in [("bob", NFC), ("eve", NFD)] {
        let body = json!({ "username": name, "password": registered });
        assert_eq!(post("/auth/register", body).send().status, 201);
        assert_eq!(hash_of(&database, name), format!("new {NFC}"));
        for typed in [NFC, NFD] {
            Client::log_in(name, typed);
        }
        assert_eq!(log_in(name, "creme brulee").status, 401);
    }
}

#[test]
fn a_hash_of_the_typed_text_is_replaced_at_the_first_login() {
    let database = install(&SERVICE);
    register("bob");
    for hash in [format!("new {NFD}"), format!("old {NFD}")] {
        database.execute("UPDATE logins SET password_hash = $1 WHERE username = 'bob'", [&hash]).unwrap();
        assert_eq!(log_in("bob", NFC).status, 401, "the composed form does not reveal the other one");
        assert_eq!(hash_of(&database, "bob"), hash);
        Client::log_in("bob", NFD);
        assert_eq!(hash_of(&database, "bob"), format!("new {NFC}"));
        Client::log_in("bob", NFC);
    }
}

#[test]
fn the_number_of_comparisons_does_not_depend_on_the_name() {
    install(&SERVICE);
    register("bob");
    let compared = |name: &str, password: &str| {
        let before = password_checks();
        assert_eq!(log_in(name, password).status, 401);
        password_checks() - before
    };
    for name in ["bob", "nobody"] {
        assert_eq!((compared(name, "wrong"), compared(name, NFC), compared(name, NFD)), (1, 1, 2), "{name}");
    }
}

#[test]
fn a_half_evaluated_attempt_counts() {
    install(&SERVICE);
    register("bob");
    for _ in 0..10 {
        meanwhile(|| hasher_is_busy(true));
        assert_eq!(log_in("bob", NFD).outcome(), (503, "SERVICE_BUSY"));
        hasher_is_busy(false);
    }
    assert_eq!(log_in("bob", PASSWORD).outcome(), (429, "TOO_MANY_ATTEMPTS"));
}

#[test]
fn a_lock_ends_after_15_minutes_even_if_the_clock_is_set_back() {
    install(&SERVICE);
    let from_there = |name: &str, password: &str| log_in_from("192.0.2.7", name, password);
    for number in 0..100 {
        from_there(["admin", &format!("guess{number}")][usize::from(number >= 10)], "wrong");
    }
    assert_eq!(from_there("admin", "admin").status, 429);
    set_back_ms(24 * 3_600_000);
    let mut minutes = 0;
    while from_there("admin", "admin").status == 429 {
        wait_ms(60_000);
        minutes += 1;
        assert!(minutes <= 15, "still refused");
    }
    assert_eq!(log_in_from("192.0.2.8", "admin", "admin").status, 200);
}

#[test]
fn two_concurrent_logins_with_an_outdated_hash_succeed() {
    let database = install(&SERVICE);
    register("bob");
    database.execute("UPDATE logins SET password_hash = 'old x' WHERE username = 'bob'", []).unwrap();
    meanwhile(|| assert!(Client::log_in("bob", "x").has_access()));
    assert!(Client::log_in("bob", "x").has_access());
    assert_eq!(hash_of(&database, "bob"), "new x");
}

#[test]
fn a_login_deleted_during_the_password_check_fails() {
    let database = install(&SERVICE);
    register("bob");
    meanwhile(|| assert_eq!(end_login("bob").status, 200));
    assert_eq!(log_in("bob", PASSWORD).outcome(), (401, "INVALID_CREDENTIALS"));
    assert_eq!(count(&database, "sessions"), 0);
}

#[test]
fn without_a_token_nothing_is_stored() {
    let database = install(&SERVICE);
    tokens_are_unavailable(true);
    assert_eq!(log_in("admin", "admin").outcome(), (503, "SERVICE_BUSY"));
    assert_eq!(count(&database, "sessions"), 0);
}

#[test]
fn a_lock_also_refuses_the_right_password() {
    install(&SERVICE);
    register("bob");
    for name in ["bob", "nobody"] {
        let before = password_checks();
        let statuses: Vec<u16> = (0..200).map(|_| log_in(name, "wrong").status).collect();
        assert_eq!(password_checks() - before, 10, "{name}");
        assert!(statuses[..10].iter().all(|status| *status == 401));
        assert!(statuses[10..].iter().all(|status| *status == 429));
        let right = log_in(name, PASSWORD);
        assert_eq!((right.outcome(), retry_after(&right)), ((429, "TOO_MANY_ATTEMPTS"), Some("60")));
    }
    wait_ms(59_999);
    assert_eq!(log_in("bob", PASSWORD).status, 429);
    wait_ms(1);
    Client::log_in("bob", PASSWORD);
}

#[test]
fn responses_state_the_quota_and_the_wait() {
    install(&SERVICE);
    let right = log_in("admin", "admin");
    assert_eq!((header(&right, "ratelimit-policy"), header(&right, "ratelimit")), (POLICY, Some("\"login\";r=10")));
    for _ in 0..10 {
        let wrong = log_in("admin", "wrong");
        assert_eq!((header(&wrong, "ratelimit-policy"), header(&wrong, "ratelimit")), (POLICY, None));
    }
    wait_ms(39_000);
    let refused = log_in("admin", "admin");
    assert_eq!((refused.status, header(&refused, "ratelimit-policy")), (429, POLICY));
    assert_eq!((header(&refused, "ratelimit"), retry_after(&refused)), (Some("\"login\";r=0;t=21"), Some("21")));
    wait_ms(21_000);
    assert_eq!(log_in("admin", "admin").status, 200);
}

#[test]
fn headers_do_not_reveal_that_the_owner_logged_in() {
    install(&SERVICE);
    register("bob");
    let mut seen = Vec::new();
    for name in ["bob", "nobody"] {
        for _ in 0..3 {
            let answer = log_in(name, "wrong");
            seen.push((answer.status, answer.text, answer.headers));
            log_in(name, PASSWORD);
        }
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn other_spellings_of_a_name_share_its_attempts() {
    install(&SERVICE);
    for name in ["bob", "Bob", "BOB", "bOb", "ｂob"].iter().cycle().take(10) {
        assert_eq!(log_in(name, "wrong").status, 401);
    }
    assert_eq!(log_in("boB", "wrong").status, 429);
}

#[test]
fn a_locked_account_keeps_its_sessions() {
    install(&SERVICE);
    register("bob");
    let client = Client::log_in("bob", PASSWORD);
    for _ in 0..11 {
        log_in("bob", "wrong");
    }
    assert_eq!(log_in("bob", PASSWORD).status, 429);
    assert!(client.has_access());
    assert!(client.refreshed().has_access());
}

#[test]
fn a_success_resets_the_account() {
    install(&SERVICE);
    for _ in 0..5 {
        for _ in 0..9 {
            assert_eq!(log_in("admin", "wrong").status, 401);
        }
        Client::log_in("admin", "admin");
    }
}

#[test]
fn an_attempt_does_not_count_if_the_hasher_is_busy() {
    install(&SERVICE);
    hasher_is_busy(true);
    for _ in 0..50 {
        let answer = log_in_from("192.0.2.7", "admin", "admin");
        assert_eq!((answer.outcome(), retry_after(&answer)), ((503, "SERVICE_BUSY"), Some("3")));
    }
    hasher_is_busy(false);
    for _ in 0..9 {
        assert_eq!(log_in_from("192.0.2.7", "admin", "wrong").status, 401);
    }
    assert_eq!(log_in_from("192.0.2.7", "admin", "admin").status, 200);
}

#[test]
fn an_address_is_locked_after_100_failures_with_any_names() {
    install(&SERVICE);
    for number in 0..100 {
        let address = format!("2001:db8::{number:x}");
        assert_eq!(log_in_from(&address, "admin", "admin").status, 200);
        assert_eq!(log_in_from(&address, &format!("guess{number}"), "wrong").status, 401);
    }
    let refused = log_in_from("2001:db8::ffff", "admin", "admin");
    assert_eq!((refused.outcome(), retry_after(&refused)), ((429, "TOO_MANY_ATTEMPTS"), Some("900")));
    assert_eq!(header(&refused, "ratelimit"), Some("\"network\";r=0;t=900"));
    assert_eq!(log_in_from("2001:db8:0:1::1", "admin", "admin").status, 200);
    assert_eq!(log_in_from("127.0.0.1", "admin", "admin").status, 200);
    wait_ms(900_000);
    assert_eq!(log_in_from("2001:db8::ffff", "admin", "admin").status, 200);
}

#[test]
fn a_login_deletes_expired_rows() {
    let database = install(&SERVICE);
    Client::log_in("admin", "admin").refreshed();
    log_in("nobody", "wrong");
    wait_ms(31 * 24 * 3_600_000);
    Client::log_in("admin", "admin");
    for (table, rows) in [("sessions", 1), ("refresh_tokens", 1), ("attempts", 0)] {
        assert_eq!(count(&database, table), rows, "{table}");
    }
}

#[test]
fn one_session_too_many_ends_the_oldest() {
    let database = install(&SERVICE);
    let first = Client::log_in("admin", "admin");
    wait_ms(1);
    let second = Client::log_in("admin", "admin");
    for _ in 0..999 {
        wait_ms(1);
        Client::log_in("admin", "admin");
    }
    assert_eq!(count(&database, "sessions"), 1000);
    assert!(!first.has_access());
    assert!(second.has_access());
}
