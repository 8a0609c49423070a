//! Tests of the whole service, from request to row: with a database in memory and scripted auth and orders.

mod pages_and_conditions;

use std::cell::RefCell;
use std::collections::HashMap;

use kit::JsonValue;
use kit::native::{PeerCall, TestRequest, TestResponse, delete, get, install, on_peer, post, put};
use serde_json::json;

use crate::SERVICE;

thread_local! {
    static RESPONSES: RefCell<HashMap<&'static str, (u16, JsonValue)>> = RefCell::default();
    static RECEIVED: RefCell<Vec<PeerCall>> = const { RefCell::new(Vec::new()) };
}

/// Sets a service's response to all further calls. Without one, the service cannot be reached.
fn set_response(service: &'static str, status: u16, body: JsonValue) {
    RESPONSES.with_borrow_mut(|responses| responses.insert(service, (status, body)));
    on_peer(|call| {
        RECEIVED.with_borrow_mut(|received| received.push(call.clone()));
        RESPONSES.with_borrow(|responses| responses.get(&*call.service).cloned())
    });
}

/// The calls to auth and orders so far.
fn received_calls() -> Vec<PeerCall> {
    RECEIVED.with_borrow(Clone::clone)
}

/// Method, service and path of a call.
fn target(call: &PeerCall) -> String {
    format!("{:?} {} {}", call.method, call.service, call.path)
}

fn as_admin(request: TestRequest) -> TestResponse {
    request.by("admin", "admin").send()
}

/// Creates a profile without a login and returns its id.
fn make(username: &str) -> i64 {
    let answer = as_admin(post("/users", json!({ "username": username })));
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.body["data"]["id"].as_i64().unwrap()
}

fn registered(registration: &str, username: &str, email: &str) -> TestResponse {
    let body = json!({ "registration": registration, "username": username, "email": email });
    post("/internal/profiles", body).by_service("auth").send()
}

#[test]
fn the_seeded_administrator_has_a_profile() {
    install(&SERVICE);
    let answer = as_admin(get("/users/profile"));
    let expected = json!({
        "id": 1,
        "username": "admin",
        "email": "admin@example.com",
        "first_name": "Admin",
        "last_name": "User",
        "phone": null,
        "address": null,
        "date_creation": "2025-01-01 00:00:00",
        "date_update": "2025-01-01 00:00:00",
    });
    assert_eq!((answer.status, &answer.body["data"]), (200, &expected));
}

#[test]
fn the_list_is_sorted_by_id_and_has_a_count() {
    install(&SERVICE);
    make("zoe");
    make("bob");
    let answer = as_admin(get("/users"));
    let names: Vec<&str> =
        answer.body["data"].as_array().unwrap().iter().map(|profile| profile["username"].as_str().unwrap()).collect();
    assert_eq!(names, ["admin", "zoe", "bob"]);
    assert_eq!(answer.body["count"], 3);
}

#[test]
fn a_long_list_contains_each_profile_once() {
    install(&SERVICE);
    for number in 2..=400 {
        make(&format!("user {number}"));
    }
    for expected in [400, 401] {
        let answer = as_admin(get("/users"));
        let ids: Vec<i64> =
            answer.body["data"].as_array().unwrap().iter().map(|profile| profile["id"].as_i64().unwrap()).collect();
        assert_eq!(ids, (1..=expected).collect::<Vec<i64>>());
        assert_eq!(answer.body["count"], expected);
        make(&format!("user {}", expected + 1));
    }
}

#[test]
fn a_new_profile_has_all_given_fields() {
    install(&SERVICE);
    let body = json!({
        "username": "Zoë", "email": "zoe@example.com", "first_name": "Zoë", "last_name": "", "phone": null, "id": 99,
    });
    let answer = as_admin(post("/users", body));
    let data = &answer.body["data"];
    assert_eq!((answer.status, &data["id"]), (201, &2.into()));
    assert_eq!((&data["username"], &data["last_name"]), (&"Zoë".into(), &"".into()));
    assert_eq!((&data["phone"], &data["address"]), (&JsonValue::Null, &JsonValue::Null));
    assert_eq!(data["date_creation"], data["date_update"]);
    assert_eq!(data["date_creation"].as_str().unwrap().len(), 19);
    assert!(answer.body["message"].is_string());
    assert!(received_calls().is_empty(), "a profile without a password needs no login");
}

#[test]
fn a_new_profile_needs_a_username() {
    install(&SERVICE);
    for body in [json!({}), json!({ "username": "" }), json!({ "username": "  " }), json!({ "username": 7 }), json!([])]
    {
        assert_eq!(as_admin(post("/users", body)).outcome(), (400, "MISSING_USERNAME"));
    }
    let wrong_too = as_admin(post("/users", json!({ "email": "nowhere", "username": " " })));
    assert_eq!(wrong_too.outcome(), (400, "MISSING_USERNAME"), "it is reported before a wrong field");
    let no_json = as_admin(post("/users", json!({})).with_body("text/plain", b"username=bob"));
    assert_eq!(no_json.outcome(), (400, "MISSING_USERNAME"));
}

#[test]
fn invalid_fields_create_no_profile() {
    install(&SERVICE);
    for body in [
        json!({ "username": "x".repeat(151) }),
        json!({ "username": "bo\nb" }),
        json!({ "username": " bob" }),
        json!({ "username": "b\u{43e}b" }),
        json!({ "username": "bob", "email": 7 }),
        json!({ "username": "bob", "email": "nowhere" }),
        json!({ "username": "bob", "email": "nowhere", "password": "a good one" }),
        json!({ "username": "bob", "address": "x".repeat(1001) }),
        json!({ "username": "bob", "password": 12_345_678 }),
    ] {
        assert_eq!(as_admin(post("/users", body)).outcome(), (400, "CREATION_FAILED"));
    }
    assert_eq!(as_admin(get("/users")).body["count"], 1);
}

#[test]
fn names_that_look_alike_are_taken() {
    install(&SERVICE);
    make("Zoë");
    for name in ["Zoë", "ZOE\u{308}", "zoë", "Ａdmin"] {
        let answer = as_admin(post("/users", json!({ "username": name })));
        assert_eq!(answer.outcome(), (400, "CREATION_FAILED"), "{name}");
    }
}

#[test]
fn with_a_password_auth_creates_login_and_profile() {
    install(&SERVICE);
    let made = json!({ "id": 2, "username": "bob" });
    set_response("auth", 201, json!({ "success": true, "data": made }));
    let body = json!({ "username": "bob", "password": "a good one", "phone": "1", "registration": "mine" });
    let answer = as_admin(post("/users", body));
    assert_eq!((answer.status, &answer.body["data"]), (201, &made));
    let [call] = &received_calls()[..] else { panic!("auth is called once") };
    assert_eq!(target(call), "Method::Post auth /internal/logins");
    assert_eq!((&call.body["username"], &call.body["password"]), (&"bob".into(), &"a good one".into()));
    assert_eq!(call.body["profile"]["phone"], "1");
    for name in ["password", "username", "registration"] {
        assert!(call.body["profile"].get(name).is_none(), "{name} is no field of a profile");
    }
}

#[test]
fn a_refusal_by_auth_is_passed_on() {
    install(&SERVICE);
    set_response(
        "auth",
        400,
        json!({ "success": false, "error": { "code": "CREATION_FAILED", "message": "Too short." } }),
    );
    let answer = as_admin(post("/users", json!({ "username": "bob", "password": "" })));
    assert_eq!(answer.outcome(), (400, "CREATION_FAILED"));
    assert_eq!(answer.body["error"]["message"], "Too short.");
    set_response("auth", 503, json!({ "success": false, "error": { "code": "SERVICE_BUSY", "message": "Later." } }));
    let answer = as_admin(post("/users", json!({ "username": "bob", "password": "a good one" })));
    assert_eq!(answer.outcome(), (503, "SERVICE_BUSY"));
}

#[test]
fn only_owner_and_administrators_see_a_profile() {
    install(&SERVICE);
    let bob = make("bob");
    let path = format!("/users/{bob}");
    assert_eq!(get(&path).by("bob", "user").send().status, 200);
    assert_eq!(as_admin(get(&path)).status, 200);
    assert_eq!(get(&path).by("eve", "user").send().outcome(), (403, "FORBIDDEN"));
    assert_eq!(get("/users/1").by("bob", "user").send().outcome(), (403, "FORBIDDEN"));
}

#[test]
fn an_unknown_id_is_not_found_for_any_caller() {
    install(&SERVICE);
    for id in ["2", "0", "-1", "abc", "1.0", "9223372036854775808", "%31x", "%ff"] {
        let path = format!("/users/{id}");
        for (name, role) in [("admin", "admin"), ("eve", "user")] {
            let not_found = (404, "USER_NOT_FOUND");
            assert_eq!(get(&path).by(name, role).send().outcome(), not_found, "GET {id} by {name}");
            let change = put(&path, json!({ "phone": "1" })).by(name, role).send();
            assert_eq!(change.outcome(), not_found, "PUT {id} by {name}");
        }
        assert_eq!(as_admin(delete(&path)).outcome(), (404, "USER_NOT_FOUND"), "DELETE {id}");
    }
    assert!(received_calls().is_empty());
}

#[test]
fn a_change_keeps_other_fields_and_the_username() {
    let database = install(&SERVICE);
    let bob = make("bob");
    let path = format!("/users/{bob}");
    database
        .execute(
            "UPDATE profiles SET date_creation = '2020-01-01 00:00:00', date_update = date_creation, phone = '1'",
            [],
        )
        .unwrap();
    let body = json!({ "email": "bob@example.com", "first_name": "", "phone": null, "username": "eve", "colour": 1 });
    let answer = put(&path, body).by("bob", "user").send();
    assert_eq!(answer.status, 200, "{}", answer.text);
    let data = &answer.body["data"];
    assert_eq!((&data["username"], &data["email"]), (&"bob".into(), &"bob@example.com".into()));
    assert_eq!((&data["first_name"], &data["phone"]), (&"".into(), &"1".into()));
    assert_eq!(data["date_creation"], "2020-01-01 00:00:00");
    assert!(data["date_update"].as_str() > data["date_creation"].as_str());
    assert!(answer.body["message"].is_string());
    assert_eq!(&as_admin(get(&path)).body["data"], data);
}

#[test]
fn a_change_without_a_field_fails_before_reading_the_row() {
    install(&SERVICE);
    for body in [json!({}), json!({ "email": null }), json!({ "username": "eve" }), json!({ "phone": 7 }), json!([])] {
        for path in ["/users/1", "/users/99", "/users/abc"] {
            let answer = put(path, body.clone()).by("eve", "user").send();
            assert_eq!(answer.outcome(), (400, "UPDATE_FAILED"), "{body} to {path}");
        }
    }
    for email in ["", "nowhere", "bob@example..com", &format!("{}@example.com", "x".repeat(250))] {
        let answer = as_admin(put("/users/1", json!({ "email": email })));
        assert_eq!(answer.outcome(), (400, "UPDATE_FAILED"), "{email:?}");
    }
    assert_eq!(as_admin(get("/users/1")).body["data"]["email"], "admin@example.com");
}

#[test]
fn nobody_changes_another_users_profile() {
    install(&SERVICE);
    let answer = put("/users/1", json!({ "email": "eve@example.com" })).by("eve", "user").send();
    assert_eq!(answer.outcome(), (403, "FORBIDDEN"));
    assert_eq!(as_admin(get("/users/1")).body["data"]["email"], "admin@example.com");
}

/// Lets all calls to auth and orders succeed.
fn peers_respond() {
    for service in ["auth", "orders"] {
        set_response(service, 200, json!({ "success": true }));
    }
}

#[test]
fn a_deletion_calls_auth_then_orders() {
    install(&SERVICE);
    let bob = make("Bob/é ?");
    peers_respond();
    let path = format!("/users/{bob}");
    let answer = as_admin(delete(&path));
    assert_eq!((answer.status, answer.body.get("data")), (200, None));
    assert!(answer.body["message"].is_string());
    let in_order = [
        "Method::Delete auth /internal/logins/Bob%2F%C3%A9%20%3F",
        "Method::Delete orders /internal/buyers/Bob%2F%C3%A9%20%3F",
    ];
    assert_eq!(received_calls().iter().map(target).collect::<Vec<_>>(), in_order);
    assert_eq!(as_admin(delete(&path)).outcome(), (404, "USER_NOT_FOUND"));
    assert_eq!(received_calls().len(), 2);
}

#[test]
fn without_auth_nothing_is_deleted() {
    install(&SERVICE);
    let path = format!("/users/{}", make("bob"));
    assert_eq!(as_admin(delete(&path)).status, 503);
    set_response("auth", 500, JsonValue::Null);
    assert_eq!(as_admin(delete(&path)).outcome(), (503, "SERVICE_BUSY"));
    assert_eq!(as_admin(get(&path)).status, 200);
}

#[test]
fn an_interrupted_deletion_can_be_completed() {
    install(&SERVICE);
    let path = format!("/users/{}", make("bob"));
    set_response("auth", 200, JsonValue::Null);
    assert_eq!(as_admin(delete(&path)).outcome(), (503, "PEER_UNAVAILABLE"));
    set_response("orders", 500, JsonValue::Null);
    assert_eq!(as_admin(delete(&path)).outcome(), (503, "SERVICE_BUSY"));
    assert_eq!(as_admin(post("/users", json!({ "username": "bob" }))).outcome(), (400, "CREATION_FAILED"));
    assert_eq!(registered("r1", "bob", "eve@example.com").outcome(), (409, "USERNAME_TAKEN"));
    peers_respond();
    assert_eq!(as_admin(delete(&path)).status, 200);
    make("bob");
}

#[test]
fn ids_are_never_reused() {
    install(&SERVICE);
    let first = make("bob");
    peers_respond();
    assert_eq!(as_admin(delete(&format!("/users/{first}"))).status, 200);
    assert_eq!(make("bob"), first + 1);
}

#[test]
fn a_repeated_registration_creates_one_profile() {
    install(&SERVICE);
    let first = registered("r1", "bob", "old@example.com");
    assert_eq!((first.status, &first.body["data"]["username"]), (201, &"bob".into()));
    let again = registered("r1", "BOB", "new@example.com");
    let data = &again.body["data"];
    assert_eq!((again.status, &data["id"]), (201, &first.body["data"]["id"]));
    assert_eq!((&data["username"], &data["email"]), (&"BOB".into(), &"new@example.com".into()));
    assert_eq!(as_admin(get("/users")).body["count"], 2);
}

#[test]
fn a_taken_name_is_a_conflict() {
    install(&SERVICE);
    make("carol");
    registered("r1", "bob", "bob@example.com");
    for name in ["bob", "Bob", "carol", "CAROL", "admin"] {
        assert_eq!(registered("r2", name, "eve@example.com").outcome(), (409, "USERNAME_TAKEN"), "{name}");
    }
}

#[test]
fn a_registration_with_a_bad_field_creates_nothing() {
    install(&SERVICE);
    for body in [
        json!({ "username": "bob" }),
        json!({ "registration": "", "username": "bob" }),
        json!({ "registration": "r1" }),
        json!({ "registration": "r1", "username": "bob", "email": 1 }),
    ] {
        let answer = post("/internal/profiles", body).by_service("auth").send();
        assert_eq!(answer.outcome(), (400, "CREATION_FAILED"));
    }
}

#[test]
fn a_caller_without_a_profile_gets_404() {
    install(&SERVICE);
    assert_eq!(get("/users/profile").by("ghost", "user").send().outcome(), (404, "USER_NOT_FOUND"));
}

#[test]
fn sql_in_a_text_stays_text() {
    install(&SERVICE);
    let name = "'; DROP TABLE profiles; --";
    let id = make(name);
    assert_eq!(as_admin(get(&format!("/users/{id}"))).body["data"]["username"], name);
}

#[test]
fn the_last_administrator_cannot_be_deleted() {
    install(&SERVICE);
    let last = json!({ "success": false, "error": { "code": "LAST_ADMIN", "message": "The last one." } });
    set_response("auth", 409, last);
    let answer = as_admin(delete("/users/1"));
    assert_eq!((answer.outcome(), &answer.body["error"]["message"]), ((409, "LAST_ADMIN"), &"The last one.".into()));
    assert_eq!(as_admin(get("/users/1")).status, 200);
    assert!(received_calls().iter().all(|call| call.service != "orders"), "the orders keep their buyer");
}

#[test]
fn the_operators_profile_is_restored_if_it_is_missing() {
    let database = install(&SERVICE);
    let restore = || put("/internal/operator", JsonValue::Null).with_body("", b"").by_service("auth").send();
    let seeded = as_admin(get("/users/1")).body["data"].clone();
    let kept = restore();
    assert_eq!((kept.status, &kept.body["data"]), (200, &seeded));
    database.execute("DELETE FROM profiles", []).unwrap();
    let restored = restore();
    assert_eq!(restored.status, 201);
    for member in ["username", "email", "first_name", "last_name", "phone", "address"] {
        assert_eq!(restored.body["data"][member], seeded[member], "{member}");
    }
    database.execute("DELETE FROM profiles", []).unwrap();
    make("Admin");
    assert_eq!(restore().outcome(), (409, "USERNAME_TAKEN"));
}
