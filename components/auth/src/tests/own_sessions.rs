//! GET and DELETE /auth/sessions: where somebody is logged in, and the end of it.

use super::*;
use crate::stand_in::{tokens_are_unavailable, wait_ms};

impl Client {
    fn call(&self, call: kit::native::Call) -> Answer {
        call.by(&self.username, "user").with_header("x-session-id", self.session()).send()
    }

    /// The ids of the client's sessions, and which of them is the current one.
    fn sessions(&self) -> Vec<(String, bool)> {
        let answer = self.call(get("/auth/sessions"));
        let sessions = answer.body["data"].as_array().unwrap();
        assert_eq!((answer.status, &answer.body["count"]), (200, &sessions.len().into()), "{}", answer.text);
        let read = |session: &JsonValue| (session["id"].as_str().unwrap().to_owned(), session["current"] == true);
        sessions.iter().map(read).collect()
    }

    fn end(&self, id: &str) -> Answer {
        self.call(delete(&format!("/auth/sessions/{}", kit::encode(id))))
    }

    fn end_all(&self, query: &str) -> Answer {
        self.call(delete(&format!("/auth/sessions{query}")))
    }
}

/// So many sessions of one login, a second after the other.
fn log_in_often<const TIMES: usize>(username: &str, password: &str) -> [Client; TIMES] {
    std::array::from_fn(|_| {
        wait_ms(1000);
        Client::log_in(username, password)
    })
}

#[test]
fn the_callers_sessions_are_listed_newest_first_with_their_moments() {
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
fn a_session_that_expired_is_not_listed() {
    install(&SERVICE);
    let [_, second] = log_in_often("admin", "admin");
    wait_ms(30 * 24 * 3_600_000 - 1);
    assert_eq!(second.sessions(), [(second.session().to_owned(), true)]);
}

#[test]
fn of_three_sessions_one_is_ended_and_the_others_live() {
    install(&SERVICE);
    let [first, second, third] = log_in_often("admin", "admin");
    let answer = first.end(second.session());
    assert_eq!((answer.status, answer.body.get("data")), (200, None), "{}", answer.text);
    assert!(!second.is_in());
    assert_eq!(refresh(&second.refresh_token).outcome(), (401, "INVALID_TOKEN"));
    assert!(first.refreshed().is_in() && third.refreshed().is_in());
    assert_eq!(first.end(second.session()).outcome(), (404, "SESSION_NOT_FOUND"), "a second time");
    assert_eq!(first.end(first.session()).status, 200);
    assert!(!first.is_in() && third.is_in());
}

#[test]
fn a_session_of_somebody_else_is_not_found_and_lives() {
    install(&SERVICE);
    register("bob");
    let (bob, admin) = (Client::log_in("bob", PASSWORD), Client::log_in("admin", "admin"));
    for (caller, id) in [(&bob, admin.session()), (&admin, bob.session()), (&bob, "unknown"), (&bob, "%ff")] {
        assert_eq!(caller.end(id).outcome(), (404, "SESSION_NOT_FOUND"), "{id}");
    }
    assert!(bob.is_in() && admin.is_in());
}

#[test]
fn each_scope_ends_its_sessions_and_nobody_elses() {
    install(&SERVICE);
    register("bob");
    let bob = Client::log_in("bob", PASSWORD);
    for (query, own_ends, others_end) in
        [("?scope=local", true, false), ("?scope=others", false, true), ("?scope=global", true, true), ("", true, true)]
    {
        let [first, second, third] = log_in_often("admin", "admin");
        let answer = second.end_all(query);
        assert_eq!((answer.status, answer.body.get("data")), (200, None), "{}", answer.text);
        assert_eq!([second.is_in(), first.is_in(), third.is_in()], [!own_ends, !others_end, !others_end], "{query}");
        assert!(bob.is_in());
    }
}

#[test]
fn another_scope_ends_nothing() {
    install(&SERVICE);
    let [first, second] = log_in_often("admin", "admin");
    for scope in ["", "all", "GLOBAL", "%ff", "local%20"] {
        assert_eq!(first.end_all(&format!("?scope={scope}")).outcome(), (400, "INVALID_SCOPE"), "{scope:?}");
    }
    assert!(first.is_in() && second.is_in());
}

#[test]
fn sessions_that_the_host_cannot_end_are_no_success_and_can_be_ended_later() {
    install(&SERVICE);
    let [first, second] = log_in_often("admin", "admin");
    tokens_are_unavailable(true);
    assert_eq!(first.end(second.session()).outcome(), (503, "SERVICE_BUSY"));
    assert_eq!(first.end_all("").outcome(), (503, "SERVICE_BUSY"));
    tokens_are_unavailable(false);
    assert_eq!(first.end_all("").status, 200);
    assert!(!first.is_in() && !second.is_in());
}
