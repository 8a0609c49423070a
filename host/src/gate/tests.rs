#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use hyper::Request;
use hyper::header::{HeaderName, HeaderValue};

use super::*;
use crate::body::RequestBody;
use crate::clock::Clock;
use crate::head::{CALLER, CLIENT_ADDRESS, REQUEST_ID, SESSION_ID, TRACE_PARENT, USER_ID};

fn gate() -> (tempfile::TempDir, Arc<Tokens>, Gate) {
    let folder = tempfile::tempdir().unwrap();
    let tokens = Arc::new(Tokens::open(folder.path(), Clock::default()).unwrap());
    let admin_token = AdminToken::open(&folder.path().join("admin.token")).unwrap();
    let audit = Audit::open(folder.path(), Clock::default(), u64::MAX).unwrap();
    (folder, tokens.clone(), Gate::new(tokens, Arc::new(admin_token), audit))
}

fn route(access: Access) -> Arc<Route> {
    let (service, method, pattern) = ("orders".into(), Some(Method::GET), "/orders".into());
    Arc::new(Route { service, method, pattern, strip: None, access, headers: None, passes_credentials: false })
}

fn head(headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::get("/orders");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

/// The head that the guest sees of a request without a body.
fn guest_head(pending: Pending) -> Parts {
    GuestRequest::from(pending.with_body(RequestBody::default()).unwrap()).into_parts().0
}

/// The result of `with_body` for an empty body.
fn body_arrives(pending: Pending) -> Result<Admitted, Refusal> {
    pending.with_body(RequestBody::default())
}

fn origin() -> Origin<'static> {
    static ID: LazyLock<Arc<str>> = LazyLock::new(|| "id".into());
    Origin { client: None, request_id: &ID, trace_parent: None, shows_session: false, secure: false }
}

#[test]
fn each_access_admits_the_right_callers() {
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
        let admitted = gate.admit(&route(access), head(sent), origin());
        let user = admitted.map(|pending| guest_head(pending).headers.get(USER_ID).cloned());
        let user =
            user.as_ref().map(|user| user.as_ref().map(|user| user.to_str().unwrap())).map_err(|refusal| *refusal);
        assert_eq!(user, expected, "{access:?} with {authorization:?}");
    }
}

#[test]
fn the_scheme_is_case_insensitive_and_two_credentials_are_refused() {
    let (_folder, tokens, gate) = gate();
    let token = tokens.issue("alice", "user", "s1").unwrap().token;
    let lower = format!("bearer {token}");
    assert!(gate.admit(&route(Access::User), head(&[("authorization", &lower)]), origin()).is_ok());
    let twice = head(&[("authorization", &lower), ("authorization", &lower)]);
    assert_eq!(gate.admit(&route(Access::User), twice, origin()).unwrap_err(), Refusal::InvalidToken);
}

#[test]
fn reserved_headers_and_the_credential_do_not_reach_the_guest() {
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
        ("traceparent", "no valid one"),
        ("authorization", &token),
        ("accept", "*/*"),
    ]);
    let headers = guest_head(gate.admit(&route(Access::User), forged, origin()).unwrap()).headers;
    let mut left: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    left.sort();
    assert_eq!(left, ["accept: */*", "x-request-id: id", "x-user-id: alice", "x-user-role: user"]);
}

#[test]
fn a_unicode_username_and_the_session_reach_a_service_that_may_see_them() {
    let (_folder, tokens, gate) = gate();
    let token = format!("Bearer {}", tokens.issue("Łukasz", "user", "s1").unwrap().token);
    let origin = Origin { client: Some("::ffff:10.0.0.1".parse().unwrap()), shows_session: true, ..origin() };
    let head = head(&[("authorization", &token)]);
    let headers = guest_head(gate.admit(&route(Access::User), head, origin).unwrap()).headers;
    assert_eq!(headers[USER_ID].as_bytes(), "Łukasz".as_bytes());
    assert_eq!(headers[SESSION_ID], "s1");
    assert_eq!(headers[CLIENT_ADDRESS], "10.0.0.1");
}

#[tokio::test]
async fn a_session_that_ends_before_the_body_arrives_is_refused_or_anonymous() {
    let (_folder, tokens, gate) = gate();
    let token = format!("Bearer {}", tokens.issue("alice", "user", "s1").unwrap().token);
    let origin = Origin { shows_session: true, ..origin() };
    let admit = |access| gate.admit(&route(access), head(&[("authorization", &token)]), origin).unwrap();
    let (lives, public, user) = (admit(Access::User), admit(Access::Public), admit(Access::User));
    let lives = body_arrives(lives).unwrap();
    assert!(!lives.session().unwrap().has_ended());
    tokens.revoke("s1").await.unwrap();
    assert!(lives.session().unwrap().has_ended(), "an admitted request still sees that its session ended");
    assert_eq!(body_arrives(user).unwrap_err(), Refusal::InvalidToken);
    let public = body_arrives(public).unwrap();
    assert!(public.session().is_none());
    assert!(public.head().headers.keys().all(|name| *name == REQUEST_ID));
    let nobody = gate.admit(&route(Access::Public), head(&[]), origin).unwrap();
    assert!(body_arrives(nobody).unwrap().session().is_none());
}

#[tokio::test]
async fn a_key_disabled_before_the_body_arrives_makes_its_token_refused_or_anonymous() {
    let (_folder, tokens, gate) = gate();
    let admit = |access, token: &str| {
        let token = format!("Bearer {token}");
        gate.admit(&route(access), head(&[("authorization", &token)]), origin()).unwrap()
    };
    let issue = || tokens.issue("alice", "user", "s1").unwrap().token;
    let leaked = issue();
    let (user, public) = (admit(Access::User, &leaked), admit(Access::Public, &leaked));
    tokens.rotate_keys().await.unwrap();
    let (after, rotated) = (admit(Access::User, &issue()), admit(Access::User, &leaked));
    assert!(body_arrives(rotated).is_ok(), "a rotation ends nothing");
    tokens.disable_key(&tokens.keys()[1].id).await.unwrap();
    assert_eq!(body_arrives(user).unwrap_err(), Refusal::InvalidToken);
    let public = body_arrives(public).unwrap();
    assert!(public.session().is_none() && !public.head().headers.contains_key(USER_ID));
    assert!(body_arrives(after).is_ok(), "the same session under the other key");
}

#[test]
fn a_call_reaches_only_internal_routes_and_carries_its_callers_name() {
    let (_folder, _tokens, gate) = gate();
    for access in [Access::Public, Access::User, Access::Admin] {
        let refusal = gate.admit_call(&route(access), "user", head(&[]), origin()).unwrap_err();
        assert_eq!(refusal, Refusal::Forbidden);
    }
    let forged = head(&[("x-comptoir-caller", "host"), ("x-user-id", "admin")]);
    let headers = guest_head(gate.admit_call(&route(Access::Internal), "user", forged, origin()).unwrap()).headers;
    assert_eq!(headers[CALLER], "user");
    assert!(!headers.contains_key(USER_ID));
}

fn reading(method: Method, names: &[&'static str]) -> Arc<Route> {
    let names = names.iter().map(|name| HeaderName::from_static(name)).collect();
    Arc::new(Route { method: Some(method), headers: Some(names), ..Route::clone(&route(Access::Public)) })
}

/// The headers that reach a guest of a request that has all of them.
fn headers_for(method: Method, names: &[&'static str]) -> Vec<String> {
    let (_folder, tokens, gate) = gate();
    let token = format!("Bearer {}", tokens.issue("alice", "user", "s1").unwrap().token);
    let mut sent = head(&[
        ("authorization", &token),
        ("x-user-id", "admin"),
        ("x-request-id", "forged"),
        ("traceparent", "no valid one"),
        ("x-client-address", "::1"),
        ("accept", "text/html"),
        ("accept", "*/*"),
        ("cookie", "a=b"),
        ("content-type", "text/plain"),
        ("content-length", "0"),
        ("if-none-match", "\"x\""),
    ]);
    (sent.method, sent.uri) = (method.clone(), "http://shop.example/orders?page=2".parse().unwrap());
    let origin = Origin { client: Some("10.0.0.1".parse().unwrap()), ..origin() };
    let admitted = body_arrives(gate.admit(&reading(method, names), sent, origin).unwrap()).unwrap();
    assert_eq!(admitted.if_none_match().unwrap(), "\"x\"");
    let head = admitted.head();
    assert_eq!(head.uri, "/orders?page=2");
    head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
}

#[test]
fn the_trace_reaches_only_routes_that_read_it() {
    let (_folder, _tokens, gate) = gate();
    let read = HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    for (route, trace_parent, expected) in [
        (route(Access::Public), Some(&read), Some(&read)),
        (route(Access::Public), None, None),
        (reading(Method::GET, &["traceparent"]), Some(&read), Some(&read)),
        (reading(Method::GET, &["traceparent"]), None, None),
        (reading(Method::GET, &["accept"]), Some(&read), None),
    ] {
        let pending = gate.admit(&route, head(&[("traceparent", "sent")]), Origin { trace_parent, ..origin() });
        assert_eq!(guest_head(pending.unwrap()).headers.get(TRACE_PARENT), expected, "{route:?}");
    }
}

#[test]
fn a_route_that_lists_its_headers_gets_no_others() {
    let caller = ["x-user-id: alice", "x-user-role: user"];
    assert_eq!(headers_for(Method::GET, &[]), caller);
    assert_eq!(headers_for(Method::POST, &[]), ["content-type: text/plain", "content-length: 0", caller[0], caller[1]]);
    assert_eq!(headers_for(Method::GET, &["accept"]), ["accept: text/html", "accept: */*", caller[0], caller[1]]);
    assert_eq!(headers_for(Method::GET, &["host"]), ["host: shop.example", caller[0], caller[1]]);
    let hosts_own = headers_for(Method::GET, &["x-request-id", "x-client-address"]);
    assert_eq!(hosts_own, ["x-client-address: 10.0.0.1", "x-request-id: id", caller[0], caller[1]]);
}

/// A public route on the mount `/shop`, which the guest does not see.
fn stripped(names: Option<&[&'static str]>) -> Arc<Route> {
    let headers = names.map(|names| names.iter().map(|name| HeaderName::from_static(name)).collect());
    Arc::new(Route { strip: Some("/shop".into()), headers, ..Route::clone(&route(Access::Public)) })
}

#[test]
fn the_mount_is_removed_from_the_path_and_named_in_a_header() {
    let (_folder, _tokens, gate) = gate();
    let seen = |route: &Arc<Route>, target: &str| {
        let mut sent = head(&[("x-forwarded-prefix", "/forged")]);
        sent.uri = target.parse().unwrap();
        let admitted = body_arrives(gate.admit(route, sent, origin()).unwrap()).unwrap();
        let prefixes: Vec<_> = admitted.head().headers.get_all("x-forwarded-prefix").iter().cloned().collect();
        (admitted.head().uri.to_string(), prefixes, admitted.summary().uri.to_string())
    };
    let prefix = vec![HeaderValue::from_static("/shop")];
    for (target, expected) in [
        ("/shop", "/"),
        ("/shop/", "/"),
        ("/shop?a=/shop", "/?a=/shop"),
        ("/shop/a%2Fb?c", "/a%2Fb?c"),
        ("/shop/shop/x", "/shop/x"),
        ("/shop/x//y/", "/x//y/"),
    ] {
        let expected = (expected.to_owned(), prefix.clone(), target.to_owned());
        assert_eq!(seen(&stripped(None), target), expected);
        assert_eq!(seen(&stripped(Some(&["x-forwarded-prefix"])), target), expected);
    }
    let (uri, prefixes, _) = seen(&stripped(Some(&[])), "http://shop.example/shop/x?y");
    assert_eq!((uri.as_str(), prefixes.len()), ("/x?y", 0), "a route that does not read the header");
    let (uri, prefixes, _) = seen(&stripped(None), "http://shop.example/shop/x?y");
    assert_eq!((uri.as_str(), prefixes), ("http://shop.example/x?y", prefix));
    let (uri, prefixes, _) = seen(&route(Access::Public), "/shop/x");
    assert_eq!((uri.as_str(), prefixes.len()), ("/shop/x", 0), "a service that keeps its mount");
}

/// A public route whose guest gets credentials.
fn guarded(names: Option<&[&'static str]>) -> Arc<Route> {
    Arc::new(Route { strip: None, passes_credentials: true, ..Route::clone(&stripped(names)) })
}

#[test]
fn a_guest_that_guards_itself_gets_every_credential_but_the_hosts_own() {
    let (folder, tokens, gate) = gate();
    let valid = format!("Bearer {}", tokens.issue("alice", "user", "s1").unwrap().token);
    let lower = valid.replace("Bearer", "bearer");
    let operators = std::fs::read_to_string(folder.path().join("admin.token")).unwrap();
    let operators = format!("Bearer {}", operators.trim());
    for route in [guarded(None), guarded(Some(&["authorization"]))] {
        let seen = |credentials: &[&str]| {
            let sent: Vec<_> = credentials.iter().map(|credential| ("authorization", *credential)).collect();
            let headers = guest_head(gate.admit(&route, head(&sent), origin()).unwrap()).headers;
            assert_eq!(headers.contains_key(USER_ID), credentials.len() == 1 && credentials[0].ends_with(&valid[7..]));
            assert!(!format!("{headers:?}").contains("c2VjcmV0"), "debug output");
            headers.get_all(AUTHORIZATION).iter().map(|value| value.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for passed in ["Basic c2VjcmV0", "Bearer of-another-issuer", "Digest a=b", "Bearer"] {
            assert_eq!(seen(&[passed]), [passed]);
        }
        for kept in
            [&[valid.as_str()][..], &[&lower], &[&operators], &["Basic c2VjcmV0", &valid], &["Basic a", "Basic a"], &[]]
        {
            assert_eq!(seen(kept), [""; 0], "{kept:?}");
        }
    }
    for route in [route(Access::Public), reading(Method::GET, &["authorization"])] {
        let sent = head(&[("authorization", "Basic c2VjcmV0")]);
        assert!(!guest_head(gate.admit(&route, sent, origin()).unwrap()).headers.contains_key(AUTHORIZATION));
    }
}
