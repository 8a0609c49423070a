//! POST /auth/refresh, /auth/verify and /auth/logout.

use super::*;
use crate::model::{self, refresh_token::Origin};
use crate::test_host::{meanwhile, tokens_are_unavailable, wait_ms};
use std::cell::RefCell;
use std::rc::Rc;

/// All stored texts, concatenated.
fn stored_texts(database: &Connection) -> String {
    let mut texts = String::new();
    for (table, columns) in
        [("logins", "registration"), ("sessions", "id || family"), ("refresh_tokens", "digest"), ("attempts", "digest")]
    {
        let mut statement = database.prepare(&format!("SELECT {columns} FROM {table}")).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        texts.extend(rows.map(Result::unwrap));
    }
    texts
}

#[test]
fn a_refresh_extends_the_session_by_30_days() {
    install(&SERVICE);
    let client = Client::log_in("admin", "admin");
    wait_ms(10 * 24 * 3_600_000);
    let answer = refresh(&client.refresh_token);
    let data = &answer.body["data"];
    assert_eq!((answer.status, &data["token_type"], &data["expires_in"]), (200, &"Bearer".into(), &3600.into()));
    assert_eq!(data["refresh_expires_at"], 1_700_000_000 + 40 * 24 * 3600);
    let refreshed = Client::from(&answer);
    assert_ne!(refreshed.access_token, client.access_token);
    assert_ne!(refreshed.refresh_token, client.refresh_token);
    assert_eq!(refreshed.session(), client.session());
}

#[test]
fn a_body_without_a_token_is_refused() {
    install(&SERVICE);
    for value in [json!(null), json!(""), json!(7), json!(["x"])] {
        assert_eq!(post("/auth/refresh", json!({ "refresh_token": value })).send().outcome(), (400, "MISSING_TOKEN"));
        assert_eq!(post("/auth/verify", json!({ "token": value })).send().outcome(), (400, "MISSING_TOKEN"));
    }
    for path in ["/auth/refresh", "/auth/verify"] {
        assert_eq!(post(path, json!({})).send().outcome(), (400, "MISSING_TOKEN"));
        assert_eq!(post(path, json!([])).send().outcome(), (400, "MISSING_TOKEN"));
    }
}

#[test]
fn one_of_fifty_refreshes_with_one_token_succeeds() {
    install(&SERVICE);
    let client = Client::log_in("admin", "admin");
    let answers: Vec<TestResponse> = (0..50).map(|_| refresh(&client.refresh_token)).collect();
    let (winners, losers): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!(winners.len(), 1);
    assert!(losers.iter().all(|loser| loser.outcome() == (401, "INVALID_TOKEN")));
    assert!(Client::from(winners[0]).refreshed().has_access());
}

#[test]
fn the_slower_of_two_concurrent_refreshes_is_refused() {
    install(&SERVICE);
    let client = Client::log_in("admin", "admin");
    let winner = Rc::new(RefCell::new(None));
    let (quicker, same) = (winner.clone(), client.clone());
    meanwhile(move || *quicker.borrow_mut() = Some(same.refreshed()));
    assert_eq!(refresh(&client.refresh_token).outcome(), (401, "INVALID_TOKEN"));
    let winner = winner.take().unwrap();
    assert!(winner.refreshed().has_access());
}

#[test]
fn a_session_that_ends_during_a_refresh_stays_ended() {
    let database = install(&SERVICE);
    let client = Client::log_in("admin", "admin");
    let same = client.clone();
    meanwhile(move || assert_eq!(same.log_out(None).status, 200));
    assert_eq!(refresh(&client.refresh_token).outcome(), (401, "INVALID_TOKEN"));
    assert_eq!((count(&database, "sessions"), count(&database, "refresh_tokens")), (0, 0));
}

#[test]
fn a_grandparent_token_ends_the_session_at_once() {
    let database = install(&SERVICE);
    let first = Client::log_in("admin", "admin");
    let second = first.refreshed();
    let third = second.refreshed();
    assert_eq!(refresh(&first.refresh_token).outcome(), (401, "INVALID_TOKEN"));
    assert_eq!(refresh(&third.refresh_token).outcome(), (401, "INVALID_TOKEN"));
    assert!(![first, second, third].iter().any(Client::has_access));
    assert_eq!((count(&database, "sessions"), count(&database, "refresh_tokens")), (0, 0));
}

#[test]
fn a_parent_token_ends_the_session_after_ten_seconds() {
    install(&SERVICE);
    let first = Client::log_in("admin", "admin");
    let second = first.refreshed();
    wait_ms(10_001);
    assert_eq!(refresh(&first.refresh_token).outcome(), (401, "INVALID_TOKEN"));
    assert_eq!(refresh(&second.refresh_token).outcome(), (401, "INVALID_TOKEN"));
    assert!(!second.has_access());
}

#[test]
fn a_parent_token_is_only_refused_within_ten_seconds() {
    install(&SERVICE);
    let first = Client::log_in("admin", "admin");
    let second = first.refreshed();
    wait_ms(10_000);
    assert_eq!(refresh(&first.refresh_token).outcome(), (401, "INVALID_TOKEN"));
    assert!(second.has_access());
    assert!(second.refreshed().has_access());
}

#[test]
fn theft_ends_only_its_session() {
    install(&SERVICE);
    let other = Client::log_in("admin", "admin");
    let first = Client::log_in("admin", "admin");
    first.refreshed().refreshed();
    refresh(&first.refresh_token);
    assert!(other.refreshed().has_access());
}

#[test]
fn a_refresh_token_expires_after_thirty_days() {
    install(&SERVICE);
    let client = Client::log_in("admin", "admin");
    wait_ms(30 * 24 * 3_600_000);
    assert_eq!(refresh(&client.refresh_token).outcome(), (401, "INVALID_TOKEN"));
}

#[test]
fn every_bad_token_gets_the_same_response() {
    install(&SERVICE);
    let client = Client::log_in("admin", "admin");
    client.refreshed();
    let race = refresh(&client.refresh_token);
    let unknown = refresh("unknown");
    let endless = refresh(&"x".repeat(100_000));
    let forged = verify("x.y.z");
    client.log_out(None);
    let ended = refresh(&client.refresh_token);
    for other in [&unknown, &endless, &forged, &ended] {
        assert_eq!((other.status, &other.text, &other.headers), (401, &race.text, &race.headers));
    }
}

#[test]
fn a_session_that_the_host_ended_cannot_be_refreshed() {
    let database = install(&SERVICE);
    let client = Client::log_in("admin", "admin");
    crate::host::revoke(client.session()).unwrap();
    assert_eq!(refresh(&client.refresh_token).outcome(), (401, "INVALID_TOKEN"));
    assert_eq!(count(&database, "sessions"), 0);
}

#[test]
fn a_refresh_without_an_access_token_uses_no_token() {
    install(&SERVICE);
    let client = Client::log_in("admin", "admin");
    tokens_are_unavailable(true);
    assert_eq!(refresh(&client.refresh_token).outcome(), (503, "SERVICE_BUSY"));
    tokens_are_unavailable(false);
    assert!(client.refreshed().has_access());
}

#[test]
fn only_digests_of_tokens_are_stored() {
    let database = install(&SERVICE);
    let first = Client::log_in("admin", "admin");
    let second = first.refreshed();
    log_in("whoever", "wrong");
    let stored = stored_texts(&database);
    for token in [&first.refresh_token, &second.refresh_token] {
        // Older revisions, which do not know families, also find a token by its digest.
        assert!(stored.contains(&model::digest(token)));
        let origin = Origin::of(token).unwrap();
        let secret = token.rsplit('.').next().unwrap();
        for part in [token.as_str(), origin.family, secret] {
            assert!(!stored.contains(part), "{part}");
        }
    }
    assert!(!stored.contains("whoever"));
}

#[test]
fn verify_returns_the_username_and_the_expiry() {
    install(&SERVICE);
    let client = Client::log_in("admin", "admin");
    let answer = verify(&client.access_token);
    let expected = json!({ "username": "admin", "expires_at": 1_700_003_600 });
    assert_eq!((answer.status, &answer.body["data"]), (200, &expected));
}

#[test]
fn logging_out_ends_the_callers_own_session() {
    install(&SERVICE);
    for body in [None, Some(json!({})), Some(json!({ "refresh_token": null })), Some(json!([]))] {
        let other = Client::log_in("admin", "admin");
        let client = Client::log_in("admin", "admin");
        let answer = client.log_out(body);
        assert_eq!((answer.status, answer.body.get("data")), (200, None), "{}", answer.text);
        assert!(answer.body["message"].is_string());
        assert!(!client.has_access());
        assert_eq!(refresh(&client.refresh_token).outcome(), (401, "INVALID_TOKEN"));
        assert!(other.refreshed().has_access());
    }
}

#[test]
fn logging_out_with_a_refresh_token_ends_its_session() {
    install(&SERVICE);
    let here = Client::log_in("admin", "admin");
    let there = Client::log_in("admin", "admin");
    let used = there.refresh_token.clone();
    let there = there.refreshed();
    assert_eq!(here.log_out(Some(json!({ "refresh_token": used }))).status, 200);
    assert!(!there.has_access());
    assert!(here.has_access());
    assert_eq!(here.log_out(Some(json!({ "refresh_token": here.refresh_token }))).status, 200);
    assert!(!here.has_access());
}

#[test]
fn logging_out_with_a_foreign_token_ends_nothing() {
    install(&SERVICE);
    register("bob");
    let bob = Client::log_in("bob", PASSWORD);
    let admin = Client::log_in("admin", "admin");
    for token in ["unknown", &admin.refresh_token] {
        assert_eq!(bob.log_out(Some(json!({ "refresh_token": token }))).status, 200);
    }
    assert!(bob.has_access() && admin.refreshed().has_access());
}

#[test]
fn a_logout_fails_if_the_host_cannot_record_it() {
    install(&SERVICE);
    let client = Client::log_in("admin", "admin");
    tokens_are_unavailable(true);
    assert_eq!(client.log_out(None).outcome(), (503, "SERVICE_BUSY"));
    tokens_are_unavailable(false);
    assert_eq!(client.log_out(None).status, 200);
    assert!(!client.has_access());
}

/// Rewrites a session as older versions stored it: without a family, with a row for each used token.
///
/// Returns the first used token and the newest token.
fn without_family(database: &Connection, client: &Client, used: i64) -> (String, String) {
    let session = client.session();
    let (first, newest) = ("A".repeat(43), "B".repeat(43));
    database.execute("DELETE FROM refresh_tokens WHERE session_id = ?1", [session]).unwrap();
    database.execute("UPDATE sessions SET family = NULL, generation = ?2 + 1 WHERE id = ?1", (session, used)).unwrap();
    let line = "INSERT INTO refresh_tokens (digest, session_id, generation, issued_at, expires_at, used_at)
                WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i <= ?2)
                SELECT CASE i WHEN 1 THEN ?3 WHEN ?2 + 1 THEN ?4 ELSE printf('%s %020d', ?1, i) END, ?1, i, 1700000000000,
                       1702592000000, CASE WHEN i <= ?2 THEN 1700000000000 END
                FROM n";
    database.execute(line, (session, used, model::digest(&first), model::digest(&newest))).unwrap();
    (first, newest)
}

#[test]
fn a_session_stores_two_tokens_and_an_older_one_ends_it() {
    let database = install(&SERVICE);
    let first = Client::log_in("admin", "admin");
    let mut newest = first.clone();
    for _ in 0..500 {
        newest = newest.refreshed();
        assert!(count(&database, "refresh_tokens") <= 2);
    }
    assert!(newest.has_access());
    assert_eq!(refresh(&first.refresh_token).outcome(), (401, "INVALID_TOKEN"));
    assert_eq!(refresh(&newest.refresh_token).outcome(), (401, "INVALID_TOKEN"));
    assert!(!newest.has_access());
    assert_eq!((count(&database, "sessions"), count(&database, "refresh_tokens")), (0, 0));
}

#[test]
fn a_session_id_alone_does_not_end_the_session() {
    install(&SERVICE);
    let client = Client::log_in("admin", "admin");
    let other = Client::log_in("admin", "admin");
    let family = Origin::of(&other.refresh_token).unwrap().family;
    for origin in [Origin { session: client.session(), family: "x" }, Origin { session: client.session(), family }] {
        assert_eq!(refresh(&origin.token("x")).outcome(), (401, "INVALID_TOKEN"));
    }
    assert!(client.refreshed().has_access());
}

#[test]
fn an_old_token_without_family_works_once() {
    let database = install(&SERVICE);
    for reused_is_first in [true, false] {
        let client = Client::log_in("admin", "admin");
        let (first, newest) = without_family(&database, &client, 3);
        let refreshed = Client { refresh_token: newest.clone(), ..client }.refreshed().refreshed();
        assert!(Origin::of(&refreshed.refresh_token).is_some());
        let reused = if reused_is_first { first } else { newest };
        assert_eq!(refresh(&reused).outcome(), (401, "INVALID_TOKEN"));
        assert!(!refreshed.has_access());
        assert_eq!(count(&database, "sessions"), 0);
    }
}

#[test]
fn a_logout_ends_a_session_with_100_000_tokens() {
    let database = install(&SERVICE);
    let client = Client::log_in("admin", "admin");
    without_family(&database, &client, 100_000);
    assert_eq!(client.log_out(None).status, 200);
    assert!(!client.has_access());
    assert_eq!((count(&database, "sessions"), count(&database, "refresh_tokens")), (0, 0));
}

#[test]
fn later_requests_delete_the_remaining_rows() {
    let database = install(&SERVICE);
    let other = Client::log_in("admin", "admin");
    let client = Client::log_in("admin", "admin");
    let (_, newest) = without_family(&database, &client, 200_050);
    assert_eq!(client.log_out(None).status, 200);
    assert!(!client.has_access());
    assert_eq!(count(&database, "refresh_tokens"), 1 + 51);
    assert_eq!(refresh(&newest).outcome(), (401, "INVALID_TOKEN"));
    other.refreshed();
    assert_eq!((count(&database, "sessions"), count(&database, "refresh_tokens")), (1, 2));
}

#[test]
fn two_requests_delete_a_login_with_200_000_tokens() {
    let database = install(&SERVICE);
    register("bob");
    without_family(&database, &Client::log_in("bob", PASSWORD), 200_050);
    let bob = Client::log_in("bob", PASSWORD);
    assert_eq!(end_login("bob").outcome(), (503, "SERVICE_BUSY"));
    assert!(!bob.has_access(), "its sessions have ended nevertheless");
    assert_eq!(end_login("bob").status, 200);
    assert_eq!((count(&database, "logins"), count(&database, "refresh_tokens")), (1, 0));
}

fn open_session(body: JsonValue) -> TestResponse {
    post("/internal/sessions", body).by_service("front").send()
}

#[test]
fn front_opens_renews_and_ends_the_session_of_a_browser() {
    install(&SERVICE);
    let credentials = json!({ "username": "admin", "password": "admin", "client_address": "192.0.2.1" });
    assert_eq!(post("/internal/sessions", credentials.clone()).send().outcome(), (404, "NOT_FOUND"), "no client may");
    let opened = open_session(credentials);
    assert_eq!(opened.status, 200, "{}", opened.text);
    let client = Client::from(&opened);
    let token = |client: &Client| json!({ "refresh_token": client.refresh_token });
    let renewed = Client::from(&put("/internal/sessions", token(&client)).by_service("front").send());
    assert!(renewed.has_access() && renewed.session() == client.session());
    let close = |client: &Client| {
        delete("/internal/sessions")
            .by_service("front")
            .with_body("application/json", token(client).to_string().as_bytes())
            .send()
    };
    assert_eq!(close(&renewed).status, 200);
    assert!(!renewed.has_access());
    assert_eq!(close(&renewed).status, 200, "there is no such session");
    assert_eq!(put("/internal/sessions", token(&renewed)).by_service("front").send().outcome(), (401, "INVALID_TOKEN"));
}

#[test]
fn failed_logins_through_front_count_against_the_network_of_the_browser() {
    install(&SERVICE);
    let attempt = |number: u32| {
        let name = format!("nobody{number}");
        open_session(json!({ "username": name, "password": "wrong", "client_address": "192.0.2.1" }))
    };
    let refused = (0..200).map(attempt).find(|answer| answer.status != 401).unwrap();
    assert_eq!(refused.outcome(), (429, "TOO_MANY_ATTEMPTS"));
    let elsewhere = json!({ "username": "nobody", "password": "wrong", "client_address": "198.51.100.1" });
    assert_eq!(open_session(elsewhere).outcome(), (401, "INVALID_CREDENTIALS"));
    assert_eq!(open_session(json!({ "username": "admin" })).outcome(), (400, "MISSING_CREDENTIALS"));
}
