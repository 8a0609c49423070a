//! GET and DELETE /auth/sessions

use super::*;
use crate::test_host::{tokens_are_unavailable, wait_ms};

impl Client {
    fn call(&self, call: kit::native::TestRequest) -> TestResponse {
        call.by(&self.username, "user").with_header("x-session-id", self.session()).send()
    }

    /// The ids of the client's sessions, each with whether it is the current one.
    fn sessions(&self) -> Vec<(String, bool)> {
        let answer = self.call(get("/auth/sessions"));
        let sessions = answer.body["data"].as_array().unwrap();
        assert_eq!((answer.status, &answer.body["count"]), (200, &sessions.len().into()), "{}", answer.text);
        let read = |session: &JsonValue| (session["id"].as_str().unwrap().to_owned(), session["current"] == true);
        sessions.iter().map(read).collect()
    }

    fn end(&self, id: &str) -> TestResponse {
        self.call(delete(&format!("/auth/sessions/{}", kit::encode(id))))
    }

    fn end_all(&self, query: &str) -> TestResponse {
        self.call(delete(&format!("/auth/sessions{query}")))
    }
}

/// Logs in several times, with a second in between.
fn log_in_often<const TIMES: usize>(username: &str, password: &str) -> [Client; TIMES] {
    std::array::from_fn(|_| {
        wait_ms(1000);
        Client::log_in(username, password)
    })
}

#[test]
fn sessions_are_listed_newest_first_with_their_dates() {
    install(&SERVICE);
    register("bob");
    Client::log_in("bob", PASSWORD);
    let [first, second] = log_in_often("admin", "admin");
    wait_ms(60_000);
    let first = first.refreshed();
    let listed = [(second.session().to_owned(), false), (first.session().to_owned(), true)];
    assert_eq!(first.sessions(), listed);
    let answer = first.call(get("/auth/sessions"));
    let expected = json!({
        "id": first.session(),
        "date_creation": "2023-11-14 22:13:21",
        "date_last_use": "2023-11-14 22:14:22",
        "date_expiry": "2023-12-14 22:14:22",
        "current": true,
    });
    assert_eq!(answer.body["data"][1], expected);
}

#[test]
fn an_expired_session_is_not_listed() {
    install(&SERVICE);
    let [_, second] = log_in_often("admin", "admin");
    wait_ms(30 * 24 * 3_600_000 - 1);
    assert_eq!(second.sessions(), [(second.session().to_owned(), true)]);
}

#[test]
fn ending_one_session_leaves_the_others_open() {
    install(&SERVICE);
    let [first, second, third] = log_in_often("admin", "admin");
    let answer = first.end(second.session());
    assert_eq!((answer.status, answer.body.get("data")), (200, None), "{}", answer.text);
    assert!(!second.has_access());
    assert_eq!(refresh(&second.refresh_token).outcome(), (401, "INVALID_TOKEN"));
    assert!(first.refreshed().has_access() && third.refreshed().has_access());
    assert_eq!(first.end(second.session()).outcome(), (404, "SESSION_NOT_FOUND"), "the second time");
    assert_eq!(first.end(first.session()).status, 200);
    assert!(!first.has_access() && third.has_access());
}

#[test]
fn another_users_session_is_not_found_and_stays_open() {
    install(&SERVICE);
    register("bob");
    let (bob, admin) = (Client::log_in("bob", PASSWORD), Client::log_in("admin", "admin"));
    for (caller, id) in [(&bob, admin.session()), (&admin, bob.session()), (&bob, "unknown"), (&bob, "%ff")] {
        assert_eq!(caller.end(id).outcome(), (404, "SESSION_NOT_FOUND"), "{id}");
    }
    assert!(bob.has_access() && admin.has_access());
}

#[test]
fn each_scope_ends_only_its_sessions() {
    install(&SERVICE);
    register("bob");
    let bob = Client::log_in("bob", PASSWORD);
    for (query, own_ends, others_end) in
        [("?scope=local", true, false), ("?scope=others", false, true), ("?scope=global", true, true), ("", true, true)]
    {
        let [first, second, third] = log_in_often("admin", "admin");
        let answer = second.end_all(query);
        assert_eq!((answer.status, answer.body.get("data")), (200, None), "{}", answer.text);
        assert_eq!(
            [second.has_access(), first.has_access(), third.has_access()],
            [!own_ends, !others_end, !others_end],
            "{query}"
        );
        assert!(bob.has_access());
    }
}

#[test]
fn an_unknown_scope_ends_nothing() {
    install(&SERVICE);
    let [first, second] = log_in_often("admin", "admin");
    for scope in ["", "all", "GLOBAL", "%ff", "local%20"] {
        assert_eq!(first.end_all(&format!("?scope={scope}")).outcome(), (400, "INVALID_SCOPE"), "{scope:?}");
    }
    assert!(first.has_access() && second.has_access());
}

#[test]
fn a_failed_end_is_reported_and_can_be_repeated() {
    install(&SERVICE);
    let [first, second] = log_in_often("admin", "admin");
    tokens_are_unavailable(true);
    assert_eq!(first.end(second.session()).outcome(), (503, "SERVICE_BUSY"));
    assert_eq!(first.end_all("").outcome(), (503, "SERVICE_BUSY"));
    tokens_are_unavailable(false);
    assert_eq!(first.end_all("").status, 200);
    assert!(!first.has_access() && !second.has_access());
}
