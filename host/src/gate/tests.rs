#![allow(clippy::unwrap_used)]

use hyper::{Method, Request};

use super::*;
use crate::clock::Clock;

fn gate() -> (tempfile::TempDir, Arc<Tokens>, Gate) {
    let folder = tempfile::tempdir().unwrap();
    let tokens = Arc::new(Tokens::open(folder.path(), Clock::default()).unwrap());
    let admin_token = AdminToken::open(&folder.path().join("admin.token")).unwrap();
    (folder, tokens.clone(), Gate::new(tokens, Arc::new(admin_token)))
}

fn route(access: Access) -> Arc<Route> {
    Arc::new(Route { service: "orders".into(), method: Some(Method::GET), pattern: "/orders".into(), access })
}

fn head(headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::get("/orders");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

const ORIGIN: Origin<'static> = Origin { client: None, request_id: "id", shows_session: false };

#[test]
fn each_access_lets_pass_whom_it_should() {
    let (_folder, tokens, gate) = gate();
    let bearer = |role| format!("Bearer {}", tokens.issue("alice", role, "s1").unwrap().token);
    let (user, admin) = (bearer("user"), bearer("admin"));
    let table = [
        (Access::Public, "", Ok(None)),
        (Access::Public, "Bearer nonsense", Ok(None)),
        (Access::Public, &user, Ok(Some("alice"))),
        (Access::User, "", Err(Refusal::MissingToken)),
        (Access::User, "Basic YWxpY2U6", Err(Refusal::MissingToken)),
        (Access::User, "Bearer", Err(Refusal::MissingToken)),
        (Access::User, "Bearer   ", Err(Refusal::MissingToken)),
        (Access::User, "Bearer nonsense", Err(Refusal::InvalidToken)),
        (Access::User, &user, Ok(Some("alice"))),
        (Access::Admin, "", Err(Refusal::MissingToken)),
        (Access::Admin, &user, Err(Refusal::Forbidden)),
        (Access::Admin, &admin, Ok(Some("alice"))),
        (Access::Internal, &admin, Err(Refusal::Forbidden)),
    ];
    for (access, authorization, expected) in table {
        let sent: &[_] = if authorization.is_empty() { &[] } else { &[("authorization", authorization)] };
        let admitted = gate.admit(&route(access), head(sent), ORIGIN);
        let user = admitted.map(|admitted| admitted.into_head().headers.get(USER_ID).cloned());
        let user =
            user.as_ref().map(|user| user.as_ref().map(|user| user.to_str().unwrap())).map_err(|refusal| *refusal);
        assert_eq!(user, expected, "{access:?} with {authorization:?}");
    }
}

#[test]
fn the_scheme_is_read_in_any_case_and_two_credentials_are_none() {
    let (_folder, tokens, gate) = gate();
    let token = tokens.issue("alice", "user", "s1").unwrap().token;
    let lower = format!("bearer {token}");
    assert!(gate.admit(&route(Access::User), head(&[("authorization", &lower)]), ORIGIN).is_ok());
    let twice = head(&[("authorization", &lower), ("authorization", &lower)]);
    assert_eq!(gate.admit(&route(Access::User), twice, ORIGIN).unwrap_err(), Refusal::InvalidToken);
}

#[test]
fn what_a_client_may_not_say_and_its_credential_do_not_pass() {
    let (_folder, tokens, gate) = gate();
    let token = format!("Bearer {}", tokens.issue("alice", "user", "s1").unwrap().token);
    let forged = head(&[
        ("x-user-id", "admin"),
        ("x-user-role", "admin"),
        ("x-user-anything", "admin"),
        ("x-session-id", "s2"),
        ("x-client-address", "::1"),
        ("x-comptoir-caller", "host"),
        ("x-request-id", "forged"),
        ("authorization", &token),
        ("accept", "*/*"),
    ]);
    let headers = gate.admit(&route(Access::User), forged, ORIGIN).unwrap().into_head().headers;
    let mut left: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    left.sort();
    assert_eq!(left, ["accept: */*", "x-request-id: id", "x-user-id: alice", "x-user-role: user"]);
}

#[test]
fn a_name_of_any_letters_and_the_session_reach_a_service_that_may_know_it() {
    let (_folder, tokens, gate) = gate();
    let token = format!("Bearer {}", tokens.issue("Łukasz", "user", "s1").unwrap().token);
    let origin = Origin { client: Some("::ffff:10.0.0.1".parse().unwrap()), shows_session: true, ..ORIGIN };
    let head = head(&[("authorization", &token)]);
    let headers = gate.admit(&route(Access::User), head, origin).unwrap().into_head().headers;
    assert_eq!(headers[USER_ID].as_bytes(), "Łukasz".as_bytes());
    assert_eq!(headers[SESSION_ID], "s1");
    assert_eq!(headers[CLIENT_ADDRESS], "10.0.0.1");
}

#[test]
fn a_call_passes_to_internal_routes_alone_and_carries_the_callers_name() {
    let (_folder, _tokens, gate) = gate();
    for access in [Access::Public, Access::User, Access::Admin] {
        let refusal = gate.admit_call(&route(access), "user", head(&[]), ORIGIN).unwrap_err();
        assert_eq!(refusal, Refusal::Forbidden);
    }
    let forged = head(&[("x-comptoir-caller", "host"), ("x-user-id", "admin")]);
    let headers = gate.admit_call(&route(Access::Internal), "user", forged, ORIGIN).unwrap().into_head().headers;
    assert_eq!(headers[CALLER], "user");
    assert!(!headers.contains_key(USER_ID));
}
